"""Draw the weights of a trained model: filters of the core, and what chosen neurons look at.

python scripts/visualize.py --run=runs/hoefling_low_res [--out=DIR] [--session=NAME [--neurons=0,3,7]]

writes PNG files: the core's pictures, and one per neuron in a folder of its session. Without a session, 24 neurons of
all sessions are drawn.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_RUN = flags.DEFINE_string("run", None, "Folder of a run, of a checkpoint, or of a saved model.", required=True)
_OUT = flags.DEFINE_string("out", None, "Where to write; made if missing. Default: pictures/ in the run's folder.")
_SESSION = flags.DEFINE_string("session", None, "Draw the neurons of this session.")
_NEURONS = flags.DEFINE_list("neurons", None, "Numbers of neurons in that session. Default: all.")

flags.register_validator("neurons", lambda value: all(map(str.isdecimal, value or [])), "must be like 0,3,7")
flags.register_multi_flags_validator(
    ["session", "neurons"], lambda given: given["session"] or not given["neurons"], "--neurons needs --session"
)


def main() -> None:
    """Draw, and say where the files are."""
    from openretina_jax.models.saving import load_model  # takes seconds: flags are checked before
    from openretina_jax.visualize.weights import save_weights, session_neurons

    model = load_model(_RUN.value)
    numbers = None if _NEURONS.value is None else [int(number) for number in _NEURONS.value]
    neurons = None if _SESSION.value is None else session_neurons(model, _SESSION.value, numbers)
    folder = Path(_OUT.value or Path(_RUN.value) / "pictures")
    files = save_weights(model, folder, neurons)
    for file in files:
        command_line.console.print(file, soft_wrap=True)


if __name__ == "__main__":
    command_line.run(main)
