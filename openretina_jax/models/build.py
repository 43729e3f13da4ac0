"""Models from plain options, as configuration files and checkpoints hold them."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from openretina_jax.data.dataset import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout, output_shape
from openretina_jax.modules.cores import IdentityCore, SimpleCore
from openretina_jax.modules.readouts import GaussianMaskReadout

CORES: dict[str, type[Any]] = {"simple": SimpleCore, "identity": IdentityCore}
READOUTS: dict[str, type[Any]] = {"gaussian_mask": GaussianMaskReadout}


def make_core_readout(options: Mapping[str, Mapping[str, Any]], info: DataInfo, seed: int = 0) -> CoreReadout:
    """A model with fresh parameters.

    Args:
        options: ``{"core": {"kind": ..., option: value}, "readout": {"kind": ..., option: value}}``; lists stand for
            tuples, so that options may come from JSON.
        info: of the data that the model is for.
        seed: of the initial parameters.

    Raises:
        UserError: an unknown kind or option (with the nearest name), or options that contradict each other.
    """
    rngs = nnx.Rngs(seed)
    core = _make("core", CORES, options["core"], {"in_channels": info.input_shape[2], "rngs": rngs})
    _, *in_shape = output_shape(core, info.input_shape)
    mean_activity = jnp.asarray([rate for name in info.sessions for rate in info.mean_activity[name]], jnp.float32)
    given = {
        "in_shape": tuple(in_shape),
        "n_neurons": info.n_neurons,
        "mean_activity": mean_activity,
        "rngs": rngs,
    }
    return CoreReadout(core, _make("readout", READOUTS, options["readout"], given), info)


def _make(part: str, kinds: Mapping[str, type[Any]], options: Mapping[str, Any], given: dict[str, Any]) -> Any:
    """Call the constructor that ``options["kind"]`` names with the other options and what it takes of ``given``."""
    options = dict(options)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise UserError(f"{part} kind {kind!r} is unknown; choose among {', '.join(kinds)}")
    parameters = dict(inspect.signature(kinds[kind].__init__).parameters)
    del parameters["self"]
    given = {name: value for name, value in given.items() if name in parameters}
    choices = [name for name in parameters if name not in given]
    for name in options:
        if name not in choices:
            nearest = difflib.get_close_matches(name, choices, 1, 0.5)
            hint = f'did you mean "{nearest[0]}"?' if nearest else f"it has {', '.join(choices)}"
            raise UserError(f'{part} "{kind}" has no option "{name}"; {hint}')
    required = [name for name in choices if parameters[name].default is inspect.Parameter.empty]
    missing = [name for name in required if name not in options]
    if missing:
        raise UserError(f'{part} "{kind}" needs {", ".join(missing)}')
    return kinds[kind](**given, **{name: _tuples(value) for name, value in options.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
