"""Draw the weights of a trained model: filters of the core, and what chosen neurons look at.

openretina-jax visualize --checkpoint=runs/hoefling_low_res [--folder=DIR] [--session=NAME [--neurons=0,3,7]]
openretina-jax visualize --checkpoint=hoefling_2024_low_res --folder=DIR

writes PNG files: the core's pictures, and one per neuron in a folder of its session. Without a session, 24 neurons of
all sessions are drawn.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_CHECKPOINT = flags.DEFINE_multi_string(
    "checkpoint",
    None,
    "Folder of a run, of a checkpoint or of a saved model; or a name, path or address of openretina's. Several are "
    "drawn as members of an ensemble.",
    required=True,
)
_FOLDER = flags.DEFINE_string(
    "folder", None, "Where to write; made if missing. Default: pictures/ in the (first) folder."
)
_SESSION = flags.DEFINE_string("session", None, "Draw the neurons of this session.")
_NEURONS = flags.DEFINE_list("neurons", None, "Numbers of neurons in that session. Default: all.")
flags.DEFINE_alias("run", "checkpoint")
flags.DEFINE_alias("out", "folder")

flags.register_validator("neurons", lambda value: all(map(str.isdecimal, value or [])), "must be like 0,3,7")
flags.register_multi_flags_validator(
    ["session", "neurons"], lambda given: given["session"] or not given["neurons"], "--neurons needs --session"
)


def main() -> None:
    """Draw, and say where the files are."""
    from openretina_jax.experiment.pictures import draw_weights  # takes seconds: flags are checked before

    numbers = None if _NEURONS.value is None else [int(number) for number in _NEURONS.value]
    folder = None if _FOLDER.value is None else Path(_FOLDER.value)
    files = draw_weights(_CHECKPOINT.value, folder, _SESSION.value, numbers)
    for file in files:
        command_line.console.print(file, soft_wrap=True)


if __name__ == "__main__":
    command_line.run(main)
