"""Configurations that come with the package: where they are, and how other configurations import them."""

import importlib
import sys
import types
from pathlib import Path

from openretina_jax.errors import UserError, nearest

PACKAGE = "configs"  # as configurations import one another: from configs import common


def folder() -> Path:
    """Folder of the configurations: in the package where it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / PACKAGE
    return installed if installed.is_dir() else package.parent / PACKAGE


def file_of(name: str, part: str = "") -> str:
    """Path of a file that is given by its path, or by the name of one that comes with the package.

    Args:
        name: "hoefling_low_res", or a path; what holds a slash or ends in ".py" is a path. The path of one of ours in a
            checkout, such as "configs/hoefling_low_res.py", is found from other folders too.
        part: folder within that of the configurations, such as "spaces".

    Raises:
        UserError: there is none of that name.
    """
    if name.endswith(".py") or "/" in name or "\\" in name:
        path, ours = Path(name), folder().parent / name
        return str(ours) if path.parts[:1] == (PACKAGE,) and not path.exists() and ours.is_file() else name
    if name not in names(part):
        raise UserError(f'there is no configuration "{name}"; {nearest(name, names(part))}, or give the path of a file')
    return str(folder() / part / f"{name}.py")


def names(part: str = "") -> list[str]:
    """Names of the files that come with the package, but for those that others are made of; see ``file_of``."""
    return sorted(file.stem for file in (folder() / part).glob("*.py") if "\ndef get_" in file.read_text("utf-8"))


def make_importable(file: str) -> None:
    """Let Python find ``configs.common`` and others: those beside a file in a folder "configs", and then ours."""
    beside = Path(file).resolve().parent
    places = [str(place) for place in (beside, beside.parent) if place.name == PACKAGE] + [str(folder())]
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        package = types.ModuleType(PACKAGE)
        sys.modules[PACKAGE] = package
    there = list(getattr(package, "__path__", ()))
    # a list of its own: that of a namespace package is made anew whenever sys.path changes
    package.__path__ = there + [place for place in places if place not in there]
