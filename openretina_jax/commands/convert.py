"""Convert a trained model of openretina to one of ours, or one of ours to a file for openretina.

openretina-jax convert --checkpoint=hoefling_2024_low_res --folder=models/low_res
openretina-jax convert --checkpoint=runs/mine --out=mine.npz
openretina-jax convert --checkpoint=runs/mine --program=mine.zip
openretina-jax convert --checkpoint=runs/mine --stream=mine.zip --session=session_1

The first writes a folder that openretina_jax.load, --config.start_from and the other scripts take; nothing in the
checkpoint is run. The second writes parameters and arguments for openretina, the third a program that needs
nothing but JAX, the last one that predicts frame by frame; see docs/published_models.md.
"""

import json
from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Published name, .ckpt file or its address; or a folder of ours.", required=True
)
_FOLDER = flags.DEFINE_string("folder", None, "Write a saved model of ours; an earlier one is replaced.")
_OUT = flags.DEFINE_string("out", None, "Write an .npz file for openretina.")
_PROGRAM = flags.DEFINE_string("program", None, "Write the model as a program for JAX alone, a .zip file.")
_STREAM = flags.DEFINE_string("stream", None, "Write its predictions frame by frame as such a program, a .zip file.")
_SESSION = flags.DEFINE_string("session", None, "Session whose neurons --stream predicts (not given: all).")
_ARGUMENTS = flags.DEFINE_string(
    "arguments",
    "{}",
    "Arguments of the model that the checkpoint does not say, as JSON: '{\"in_shape\": [1, 30, 36, 36]}'.",
)

flags.register_multi_flags_validator(
    ["folder", "out", "program", "stream"],
    lambda given: any(given.values()),
    "give --folder, --out, --program or --stream",
)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


flags.register_validator("arguments", _is_object, 'must be JSON like {"name": value}')


def main() -> None:
    """Convert, and print where the result is."""
    from openretina_jax.interop import export, export_stream, to_openretina  # takes seconds: flags are checked before
    from openretina_jax.interop.loading import load
    from openretina_jax.models.saving import save_model

    model = load(_CHECKPOINT.value, **json.loads(_ARGUMENTS.value))
    if _FOLDER.value:
        save_model(model, _FOLDER.value)
    if _OUT.value:
        to_openretina(model, Path(_OUT.value))
    if _PROGRAM.value:
        export(model, _PROGRAM.value)
    if _STREAM.value:
        export_stream(model, _STREAM.value, _SESSION.value)
    info = model.data_info
    command_line.console.print(f"{info.n_neurons} neurons in {len(info.sessions)} sessions", soft_wrap=True)
    for place in filter(None, (_FOLDER.value, _OUT.value, _PROGRAM.value, _STREAM.value)):
        command_line.console.print(place, soft_wrap=True)


if __name__ == "__main__":
    command_line.run(main)
