"""Write a simulated data set in the format of Höfling et al. 2024, to try everything without a download.

    python scripts/simulate.py --folder=data/simulated --sessions=8 --neurons=40

writes the zipped stimulus, the zipped responses, and truth.h5 with the responses without noise.
"""

import sys
from pathlib import Path

from absl import app, flags

from openretina_jax.data.sources.simulated import SimulationConfig, write_simulated_hoefling
from openretina_jax.errors import UserError

_FOLDER = flags.DEFINE_string("folder", None, "where to write; made if missing", required=True)
_SESSIONS = flags.DEFINE_integer("sessions", 8, "number of recording sessions")
_NEURONS = flags.DEFINE_integer("neurons", 40, "neurons recorded per session; about three quarters pass quality checks")
_SEED = flags.DEFINE_integer("seed", 0, "the files are a function of the seed")
_FIELD_NAMES = flags.DEFINE_enum(
    "field_names", "old", ["old", "new"], "names of the arrays: as published, or later ones"
)


def _show_progress(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}", end="" if done < total else "\n", flush=True)


def main(argv: list[str]) -> None:
    """Simulate and say where the files are."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument: {argv[1]}")
    try:
        config = SimulationConfig(_SESSIONS.value, _NEURONS.value, _SEED.value, _FIELD_NAMES.value)
        stimulus, responses = write_simulated_hoefling(Path(_FOLDER.value), config, _show_progress)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"stimulus:  {stimulus}\nresponses: {responses}")


if __name__ == "__main__":
    app.run(main)
