"""Write a simulated data set in the format of Höfling et al. 2024, to try everything without a download.

python scripts/simulate.py --folder=data/simulated [--sessions=8] [--neurons=40] [--seed=0] [--field_names=old]

writes the zipped stimulus, the zipped responses, and truth.h5 with the responses without noise.
"""

from pathlib import Path

from absl import flags

from openretina_jax import command_line

_FOLDER = flags.DEFINE_string("folder", None, "Where to write; made if missing.", required=True)
_SESSIONS = flags.DEFINE_integer("sessions", 8, "Number of recording sessions.")
_NEURONS = flags.DEFINE_integer("neurons", 40, "Neurons recorded per session; about three quarters pass the checks.")
_SEED = flags.DEFINE_integer("seed", 0, "The files are a function of the seed.")
_FIELD_NAMES = flags.DEFINE_enum(
    "field_names", "old", ["old", "new"], "Names of the arrays: as published, or later ones."
)


def main() -> None:
    """Simulate, and say where the files are."""
    from openretina_jax.data.sources.simulated import SimulationConfig, write_simulated_hoefling

    config = SimulationConfig(_SESSIONS.value, _NEURONS.value, _SEED.value, _FIELD_NAMES.value)
    for file in write_simulated_hoefling(Path(_FOLDER.value), config, command_line.show_progress):
        command_line.console.print(file)


if __name__ == "__main__":
    command_line.run(main)
