"""Parts of a recipe as pytrees, whose numbers may differ between the members of a population."""

import dataclasses
import typing
from typing import Any, TypeVar, dataclass_transform

import jax

from openretina_jax.modules.layers import Number

_Class = TypeVar("_Class", bound=type[Any])


@dataclass_transform(frozen_default=True)
def hyperparameters(cls: _Class) -> _Class:
    """Make a class a frozen dataclass and a pytree: fields of type ``Number`` are leaves, all others are static."""
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    types = typing.get_type_hints(made)
    names = {field.name: types[field.name] in (Number, Number | None) for field in dataclasses.fields(made)}
    return jax.tree_util.register_dataclass(
        made,
        data_fields=[name for name, is_leaf in names.items() if is_leaf],
        meta_fields=[name for name, is_leaf in names.items() if not is_leaf],
    )
