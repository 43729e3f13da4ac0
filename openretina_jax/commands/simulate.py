"""Write a simulated data set in the format of a publication, to try everything without a download.

openretina-jax simulate --folder=data/simulated [--format=hoefling_2024] [--sessions=8] [--neurons=40] [--seed=0]
    [--set=field_names=new]

writes files of the published layout, and prints the settings of config.data that lead to them. The other formats, and
what --set changes of each, are the modules of openretina_jax/simulation/publications. Files of Höfling et al. 2024, of
Sridhar et al. 2025 and of the format hdf5 come with truth.h5, from which openretina_jax.insilico.truth makes a model of
the neurons themselves.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_FOLDER = flags.DEFINE_string("folder", None, "Where to write; made if missing.", required=True)
_FORMAT = flags.DEFINE_string("format", "hoefling_2024", "Publication whose format it is.")
_SESSIONS = flags.DEFINE_integer("sessions", None, "Number of recording sessions.")
_NEURONS = flags.DEFINE_integer("neurons", None, "Neurons recorded per session.")
_SEED = flags.DEFINE_integer("seed", 0, "The files are a function of the seed.")
_SET = flags.DEFINE_multi_string("set", [], "Another number or word of the simulation, as name=value.")


def main() -> None:
    """Simulate, and say where the files are."""
    from openretina_jax.simulation.cache import simulate

    named = {"n_sessions": _SESSIONS.value, "neurons_per_session": _NEURONS.value, "seed": _SEED.value}
    files = simulate(_FORMAT.value, Path(_FOLDER.value), named, _SET.value, command_line.show_progress)
    for setting, path in files.items():
        command_line.console.print(f"--config.data.{setting}={path}", soft_wrap=True)


if __name__ == "__main__":
    command_line.run(main)
