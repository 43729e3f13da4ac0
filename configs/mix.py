"""The model of one configuration on the data of another.

    python scripts/train.py --config=configs/mix.py:model=hoefling_low_res,data=karamanlis_2024_core_readout,simulated
    python scripts/train.py --config=configs/mix.py:model=vystrcilova_2024_nm_cnn,data=hoefling_low_res,simulated,quick

"model=" and "data=" name files beside this one. Everything but ``config.data`` comes from the file of the model: loss,
optimiser, and windows, which are as long as this model needs. Whether windows stay within clips comes from the file of
the data. Other words go to both files, or to the one that knows them. We have not looked for good settings: kernels may
be too large for the frames, which is an error, and numbers of channels and weights of penalties were chosen for other
neurons.

In a file of your own one line is enough: ``config.model = hoefling_low_res.get_config("gru").model``, after
``from configs import hoefling_low_res``.
"""

import importlib
from pathlib import Path
from types import ModuleType

import ml_collections

from configs import common, common_sridhar_2025
from openretina_jax.data.windows import SAMPLERS
from openretina_jax.errors import UserError, nearest


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds "model=name", "data=name" and words, separated by commas."""
    given = list(filter(None, (arg or "").split(",")))
    names = dict(word.split("=", 1) for word in given if "=" in word)
    words = {word for word in given if "=" not in word}
    if names.keys() != {"model", "data"}:
        raise UserError(
            "configs/mix.py needs the names of two configurations after a colon, such as "
            "model=hoefling_low_res,data=karamanlis_2024_core_readout"
        )
    presets = [preset(names["model"]), preset(names["data"])]
    common.words(",".join(words), tuple(word for one in presets for word in one.WORDS))
    config, other = (one.get_config(",".join(words.intersection(one.WORDS))) for one in presets)
    check_pair(names, config, other)
    within = other.train.windows[other.train.order].within_clips
    for order in SAMPLERS.kinds():
        # see common.choose_hoefling for the GRU
        config.train.windows[order].within_clips = within or (order == "shared" and config.model.core.kind == "gru")
    config.data = other.data
    if config.data.source == "sridhar_2025":
        config.model.readout.spatial_contrast.flip_sta = common_sridhar_2025.flips_sta(config.data.stimulus)
    return config


def preset(name: str) -> ModuleType:
    """A configuration beside this one.

    Raises:
        UserError: there is none of that name.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    known = [file.stem for file in files if "\nWORDS = " in file.read_text(encoding="utf-8")]
    if name not in known:
        raise UserError(f'there is no configuration "{name}"; {nearest(name, known)}')
    return importlib.import_module(f"configs.{name}")


def check_pair(names: dict[str, str], config: ml_collections.ConfigDict, other: ml_collections.ConfigDict) -> None:
    """Refuse data that lack what a model needs.

    Args:
        names: of both configurations.
        config: of the model.
        other: of the data.

    Raises:
        UserError: says what the data lack.
    """
    readout, both = config.model.readout.kind, f"model={names['model']} does not go with data={names['data']}"
    located = config.data.source == "sridhar_2025" and readout in ("separable_lnp", "spatial_contrast")
    if located and other.data.source != "sridhar_2025":
        raise UserError(
            f'{both}: "{readout}" looks where spike-triggered averages say, which come with the data of Sridhar et al. '
            "2025 alone; take another model"
        )
    frames, images = (one.train.windows[one.train.order].window_frames for one in (config, other))
    if images == 1 and frames > 1:
        raise UserError(f"{both}: those are single images, but the model looks back in time; take one that does not")
