"""Measure how long recordings take to load, and how much memory, alone or beside openretina; prints one JSON line each.

python scripts/benchmark_loading.py --source=karamanlis_2024 [--sessions=1] [--neurons=50] [--set=n_blocks=90]
    [--reference_python=/path/to/python]

Simulates files of that source, and loads them twice in fresh processes: the first time movies are rendered or unpacked,
the second time they are on the disk.
"""

import json
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parent.parent))  # where benchmarks/ is

from openretina_jax.experiment import command_line

_SOURCE = flags.DEFINE_string("source", None, "hoefling_2024 (at 72 x 64 pixels) or karamanlis_2024.", required=True)
_SESSIONS = flags.DEFINE_integer("sessions", 1, "Sessions to simulate.", lower_bound=1)
_NEURONS = flags.DEFINE_integer("neurons", 50, "Neurons of each session.", lower_bound=1)
_SET = flags.DEFINE_multi_string("set", [], "Another number or word of the simulation, as name=value.")
_REFERENCE_PYTHON = flags.DEFINE_string(
    "reference_python", None, "The Python in which openretina is installed, to measure it too."
)
flags.DEFINE_alias("reference-python", "reference_python")


def main() -> None:
    """Print a line as soon as it is known."""
    from benchmarks.loading import measure_loading

    for line in measure_loading(
        _SOURCE.value,
        sessions=_SESSIONS.value,
        neurons=_NEURONS.value,
        options=_SET.value,
        reference_python=_REFERENCE_PYTHON.value,
        progress=command_line.show_progress,
    ):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    command_line.run(main)
