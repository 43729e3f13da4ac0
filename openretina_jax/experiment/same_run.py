"""Whether a workdir holds the run that is to go on there."""

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from openretina_jax.errors import UserError
from openretina_jax.experiment.provenance import CONTENT
from openretina_jax.models.build import complete_options
from openretina_jax.models.saving import DamagedError, read_about
from openretina_jax.training.population import WHOLE

_log = logging.getLogger(__name__)

# a resumed run may train longer, be shown elsewhere or have other devices; everything else is part of what it is
MAY_CHANGE = (
    "train.epochs",
    "train.picture_every",
    "train.frames_on_device",
    "population.ensemble",
    "callbacks",
    "mesh",
    "logging",
)
ADDED = {"stopping.score": "correlation"}  # settings that older runs did not have
# facts of the data that say whether they are the same but for rounding
FACTS = ("mean_activity", "norm_mean", "norm_std", "pixel_low", "pixel_high", "frame_norm")


def read_newest(checkpoints: Sequence[Path]) -> dict[str, Any]:
    """The description of the newest checkpoint whose description is whole.

    Raises:
        UserError: there is none.
    """
    newest_first = sorted(checkpoints, key=lambda folder: int(folder.name), reverse=True)
    for folder in newest_first:
        with contextlib.suppress(DamagedError):
            return read_about(folder)
    return read_about(newest_first[0])


def check_same_run(workdir: Path, about: Mapping[str, Any]) -> None:
    """A workdir with checkpoints must hold the same run, or one that was told to train longer.

    Raises:
        UserError: lists the settings that differ.
    """
    folders = [folder for part in ("checkpoints", WHOLE) for folder in (workdir / part).glob("*")]
    folders = [folder for folder in folders if folder.name.isdigit()]
    if not folders:
        return
    saved = read_newest(folders)
    # a run that kept only the options that were given had the others' defaults
    model = json.loads(json.dumps(complete_options(saved["config"]["model"])))
    then = ADDED | flatten_dict(saved["config"] | {"model": model}, sep=".")
    now = flatten_dict(about["config"], sep=".")
    # the length of a cycle is that of the run
    may_change = set(MAY_CHANGE) - ({"train.epochs"} if now["schedule.kind"] == "one_cycle" else set())
    different = [
        f"config.{name} is {now.get(name)!r} now and {then.get(name)!r} there"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and not {name, name.partition(".")[0]} & may_change
    ]
    before, here = saved["data_info"], about["data_info"]
    if list(before["sessions"].items()) != list(here["sessions"].items()):
        same = before["sessions"] == here["sessions"]
        what = "come in another order" if same else "or their numbers of neurons are others"
        different.append(
            f"the sessions {what} ({', '.join(here['sessions'])} now, {', '.join(before['sessions'])} there)"
        )
    elif changed := [name for name in FACTS if not agree(before.get(name), here.get(name))]:
        different.append(f"the recordings or their split have changed ({', '.join(changed)} differ)")
    if different:
        raise UserError(f"{workdir} holds another run: {'; '.join(different)}; give another --workdir")
    if saved.get(CONTENT) not in (None, about.get(CONTENT)):
        _log.warning(
            "%s: the data are not to the bit those that the run began with: rounding on another machine, or a change; "
            "it goes on with what is here",
            workdir,
        )


def agree(before: Any, here: Any) -> bool:
    """Whether facts of data are equal but for rounding; one that an earlier version did not keep agrees."""
    if isinstance(before, dict) and isinstance(here, dict):
        return before.keys() == here.keys() and all(agree(before[name], here[name]) for name in before)
    if before is None or here is None:
        return before is None
    one, other = np.asarray(before, np.float64), np.asarray(here, np.float64)
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
