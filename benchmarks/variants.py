"""Variants of a configuration, so that one command measures every core and readout."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from openretina_jax.errors import UserError

# settings by their dotted names, before kinds are chosen
VARIANTS: dict[str, dict[str, Any]] = {
    "configured": {},
    "custom_separable": {"model.core.simple.convolution": "custom_separable"},
    "separable": {"model.core.simple.convolution": "separable"},
    # these have no temporal kernels to smooth
    "full": {"model.core.simple.convolution": "full", "model.core.simple.gamma_temporal": 0.0},
    "time_independent": {"model.core.simple.convolution": "time_independent", "model.core.simple.gamma_temporal": 0.0},
    # openretina never pads the second layer of this core
    "gru": {"model.core.kind": "gru", "model.core.gru.hidden_padding": 0},
    "factorized": {"model.readout.kind": "factorized"},
    "point_gaussian": {"model.readout.kind": "point_gaussian"},
    "lnp": {
        "model.core.kind": "identity",
        "model.core.identity.cut_first_frames": 30,  # as many as the convolutions take
        "model.readout.kind": "lnp",
    },
}


def chosen(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of some variants of a configuration.

    Args:
        settings: of the configuration, with all kinds that it knows.
        names: of the variants; "all" stands for all but the configuration as it is.

    Raises:
        UserError: there is no such variant, or the configuration lacks a setting that it changes.
    """
    everything = [name for name in VARIANTS if VARIANTS[name]]
    return {name: _varied(settings, name) for given in names for name in (everything if given == "all" else [given])}


def _varied(settings: Mapping[str, Any], variant: str) -> dict[str, Any]:
    if variant not in VARIANTS:
        raise UserError(f'variant "{variant}" is unknown; choose among {", ".join(VARIANTS)}, or all')
    result = copy.deepcopy(dict(settings))
    for name, value in VARIANTS[variant].items():
        *outer, last = name.split(".")
        part: Any = result
        for key in outer:
            part = part.get(key, {})
        if last not in part:
            raise UserError(f'the configuration has no {name}, which variant "{variant}" sets; take another variant')
        part[last] = value
    return result
