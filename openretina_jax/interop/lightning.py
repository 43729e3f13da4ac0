"""Checkpoints of Lightning: the parameters and the arguments of a model, as plain values."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.interop.torch_files import Record, read_torch_file


@dataclasses.dataclass(frozen=True, eq=False)
class LightningCheckpoint:
    """What a model needs of a checkpoint.

    Attributes:
        state: parameters and buffers by their names.
        hyper_parameters: arguments of the model's constructor; empty if the model did not save them. Objects of
            unknown classes are ``Record``.
    """

    state: Mapping[str, np.ndarray]
    hyper_parameters: Mapping[str, Any]


def read_lightning_checkpoint(path: str | Path) -> LightningCheckpoint:
    """A checkpoint that ``ModelCheckpoint`` or ``Trainer.save_checkpoint`` wrote.

    Raises:
        UserError: the file is none, or is damaged; nothing was run.
    """
    path = Path(path)
    content = read_torch_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{path}: is a file of PyTorch but no checkpoint of Lightning, which has a state_dict inside")
    state = dict(content["state_dict"])
    others = [str(name) for name, value in state.items() if not isinstance(value, np.ndarray)]
    if others:
        raise UserError(f"{path}: its state_dict holds {', '.join(others)}, which are no tensors")
    try:
        hyper_parameters = plain(content.get("hyper_parameters") or {})
    except (KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: its hyper-parameters cannot be understood ({error})") from error
    if not isinstance(hyper_parameters, dict):
        raise UserError(f"{path}: its hyper-parameters are {hyper_parameters!r}, but must be a dictionary")
    return LightningCheckpoint(state, hyper_parameters)


def plain(value: Any) -> Any:
    """Configurations of OmegaConf, numpy scalars and containers as plain values.

    Interpolations such as ``${model.learning_rate}`` are followed where the configuration is there as a whole. Tensors
    and arrays stay, as do objects of other classes; a class or function is its name.

    Raises:
        KeyError: an interpolation leads nowhere.
    """
    if isinstance(value, type) and issubclass(value, Record):
        return value.origin
    if isinstance(value, Record) and value.origin.startswith("omegaconf."):
        return _configured(value)
    if isinstance(value, Record) and value.origin.endswith(".AttributeDict"):
        return plain(value.items)
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(plain(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def _configured(node: Record) -> Any:
    """The value of a node of OmegaConf: a container has ``_content``, a leaf ``_val``; a string may be a reference."""
    value = node.state["_content"] if "_content" in node.state else node.state["_val"]
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        return plain(_followed(node, value[2:-1]))
    return plain(value)


def _followed(node: Record, reference: str) -> Any:
    """The node that an interpolation means: a path from the root, or with dots in front from a parent."""
    place = node
    rest = reference.lstrip(".")
    upwards = len(reference) - len(rest)
    while place.state.get("_parent") is not None and upwards != 1:
        place, upwards = place.state["_parent"], upwards - 1
    if upwards == 1:
        place = place.state["_parent"]
    for key in rest.split("."):
        content = place.state["_content"]
        if not isinstance(content, dict) or key not in content:
            raise KeyError(f"${{{reference}}} leads nowhere")
        place = content[key]
    return place
