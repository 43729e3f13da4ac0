"""Measure the speed and memory of a model configuration, alone or beside openretina; prints one JSON line each.

python scripts/benchmark.py --config=configs/hoefling_low_res.py [--measure=train_step,epoch] [--threads=1,2]
    [--variant=all] [--lowering=dense,factored] [--table] [--against=openretina --reference_python=/path/to/python]

With --against=torch the reference is openretina's layers written in torch, for machines that have torch alone.
"""

import json
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parent.parent))  # where configurations find configs/common.py

from openretina_jax.experiment import command_line

command_line.define_config("Configuration file whose model is measured.")
_MEASURE = flags.DEFINE_list(
    "measure",
    ["forward", "train_step"],
    "What to measure: predictions (forward) and a training step (train_step) of the same windows; the evaluation of 15 "
    "clips (eval_step); an epoch with one session per step (epoch), or with all (epoch_shared); such an epoch "
    "of 8 models in one program, beside one model after the other (population); 100 frames, each predicted before the "
    "next one comes (stream).",
)
_THREADS = flags.DEFINE_list("threads", ["1"], "Numbers of cores to measure with.")
_VARIANT = flags.DEFINE_list(
    "variant", ["configured"], "Variants of the configuration, such as full, gru, factorized; or all."
)
_LOWERING = flags.DEFINE_list(
    "lowering", [], "Ways to compute the convolutions (auto, dense, basis, factored). Default: the configuration's."
)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Repeats of each measurement.", lower_bound=1)
_SESSIONS = flags.DEFINE_integer("sessions", 8, "Sessions of an epoch.", lower_bound=1)
_NEURONS = flags.DEFINE_integer("neurons", 60, "Neurons of each session.", lower_bound=1)
_WINDOWS = flags.DEFINE_integer("windows", 128, "Windows of a training step.", lower_bound=1)
_FRAMES = flags.DEFINE_integer("frames", 50, "Frames of such a window.", lower_bound=1)
command_line.define_shape()
_AGAINST = flags.DEFINE_enum(
    "against",
    None,
    ["openretina", "torch"],
    "Measure this too, in turns, and print the ratio; torch: the layers of openretina in torch alone.",
)
_REFERENCE_PYTHON = flags.DEFINE_string(
    "reference_python", sys.executable, "With --against: the Python in which that is installed."
)
flags.DEFINE_alias("reference-python", "reference_python")
_TABLE = flags.DEFINE_bool("table", False, "Print a table of all lines at the end, on standard error.")
command_line.require_config()
flags.register_validator(
    "threads", lambda numbers: all(number.isdigit() for number in numbers), "must be numbers of cores, such as 1,2"
)


def main() -> None:
    """Print a line as soon as it is known."""
    config, _ = command_line.configuration()

    # these take seconds: flags are checked before
    from benchmarks.run import benchmark
    from benchmarks.table import table
    from benchmarks.variants import chosen
    from openretina_jax.experiment.recipe import resolved

    settings = {name: resolved(variant) for name, variant in chosen(config.to_dict(), _VARIANT.value).items()}
    lines = []
    for line in benchmark(
        settings,
        measures=_MEASURE.value,
        threads=[int(number) for number in _THREADS.value],
        lowerings=_LOWERING.value,
        repeats=_REPEATS.value,
        sessions=_SESSIONS.value,
        neurons=_NEURONS.value,
        windows=_WINDOWS.value,
        frames=_FRAMES.value,
        input_shape=command_line.shape(),
        reference_python=_REFERENCE_PYTHON.value if _AGAINST.value else None,
        against=_AGAINST.value or "openretina",
    ):
        print(json.dumps(line), flush=True)
        lines.append(line)
    if _TABLE.value:
        print(table(lines), file=sys.stderr)


if __name__ == "__main__":
    command_line.run(main)
