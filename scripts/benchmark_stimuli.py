"""Measure how fast most exciting stimuli are found, alone or beside openretina; prints one JSON line each.

python scripts/benchmark_stimuli.py --checkpoint=runs/hoefling_low_res [--neurons=all] [--steps=100] [--seeds=1]
    [--norm=30 --low=-0.6 --high=6.2] [--threads=2] [--reference_python=/path/to/python]
"""

import json
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parent.parent))  # where benchmarks/ is

from openretina_jax.experiment import command_line

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Folder of a run, or a saved model.", required=True)
_NEURONS = flags.DEFINE_string("neurons", "all", "all, best:50, every:10, type:28, SESSION, or SESSION:0,3.")
_STEPS = flags.DEFINE_integer("steps", 100, "Gradients of every stimulus.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Starts of every stimulus here; the best one counts.", lower_bound=1)
_NORM = flags.DEFINE_float("norm", None, "Norm of stimuli. Default: a fifth of that of training windows.")
_LOW = flags.DEFINE_float("low", None, "Least value of a pixel. Default: that of the training movies.")
_HIGH = flags.DEFINE_float("high", None, "Largest value of a pixel. Default: that of the training movies.")
_THREADS = flags.DEFINE_integer("threads", None, "Cores of each process. Default: all.", lower_bound=1)
_REFERENCE_PYTHON = flags.DEFINE_string(
    "reference_python", None, "The Python in which openretina is installed, to measure it too."
)
_OF_REFERENCE = flags.DEFINE_string("reference_neurons", "every:16", "Neurons for openretina, one after the other.")
_REFERENCE_STEPS = flags.DEFINE_integer("reference_steps", 100, "Gradients of its stimuli.", lower_bound=1)
flags.DEFINE_alias("reference-python", "reference_python")


def main() -> None:
    """Print a line as soon as it is known."""
    from benchmarks.stimuli import measure_stimuli

    for line in measure_stimuli(
        _CHECKPOINT.value,
        chosen=_NEURONS.value,
        steps=_STEPS.value,
        seeds=_SEEDS.value,
        norm=_NORM.value,
        low=_LOW.value,
        high=_HIGH.value,
        threads=_THREADS.value,
        reference_python=_REFERENCE_PYTHON.value,
        of_reference=_OF_REFERENCE.value,
        reference_steps=_REFERENCE_STEPS.value,
    ):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    command_line.run(main)
