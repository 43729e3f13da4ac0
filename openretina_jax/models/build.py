"""Models from plain options, as configuration files and checkpoints hold them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.autoencoder import AutoencoderModel, SparseAutoencoder
from openretina_jax.models.core_readout import CoreReadout, output_shape
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.cores.core import Core
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.shifters import SHIFTERS, Shifter
from openretina_jax.runtime.devices import own_numbers
from openretina_jax.runtime.registry import construct

MORE_PIXELS = 64  # along each side: a multiple of what strides and poolings of cores are


def make_model(options: Mapping[str, Any], info: DataInfo, seed: int = 0) -> Model:
    """Build a model with fresh parameters.

    Args:
        options: ``{"core": {"kind": ..., option: value}, "readout": {"kind": ..., option: value}}``, with a "shifter"
            beside them if behaviour moves the readout, or
            ``{"base": options of such a model, "autoencoder": {option: value}}``, or ``{"members": (options, ...)}``;
            lists stand for tuples, so that options may come from JSON.
        info: facts about the data that the model is for.
        seed: seed of the initial parameters.

    Raises:
        UserError: an unknown part, kind or option (with the nearest name), a value of a wrong type, or options that
            contradict each other.
    """
    parts = set(options)
    if parts - {"shifter"} == {"core", "readout"}:
        return make_core_readout(options, info, seed)
    if parts == {"base", "autoencoder"}:
        base = make_core_readout(options["base"], info, seed)
        return AutoencoderModel(base, make_autoencoder(options["autoencoder"], info, seed), complete_options(options))
    if parts == {"members"}:
        return Ensemble([make_model(member, info, seed + n) for n, member in enumerate(options["members"])])
    raise UserError(
        'a model has the parts "core" and "readout" (and "shifter"), "base" and "autoencoder", or "members", not '
        f"{sorted(parts)}"
    )


def complete_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the options of a model the defaults of all others, so that it stays what it is if defaults change.

    Args:
        options: see ``make_model``.

    Raises:
        UserError: an unknown kind.
    """
    if "members" in options:
        return {"members": [complete_options(member) for member in options["members"]]}
    if "base" in options:
        return {"base": complete_options(options["base"]), "autoencoder": dict(options["autoencoder"])}
    complete = {"core": CORES.complete(options["core"]), "readout": READOUTS.complete(options["readout"])}
    return complete | ({"shifter": SHIFTERS.complete(options["shifter"])} if "shifter" in options else {})


@own_numbers()
def make_core_readout(options: Mapping[str, Mapping[str, Any]], info: DataInfo, seed: int = 0) -> CoreReadout:
    """Build a core + readout model with fresh parameters, see ``make_model``."""
    options = complete_options(options)
    rngs = nnx.Rngs(seed)
    common = {"n_sessions": len(info.sessions), "rngs": rngs}
    conditions = [info.conditions.get(name, []) for name in info.sessions]
    core = CORES.make(
        options["core"],
        common
        | {
            "in_channels": info.input_shape[2],
            "conditions": np.asarray(conditions, np.float32) if any(conditions) else None,
        },
    )
    _, *in_shape = output_shape(core, info.input_shape)
    mean_activity = [rate for name in info.sessions for rate in info.mean_activity[name]]
    location = info.neuron_column("rf_location")
    readout = READOUTS.make(
        options["readout"],
        common
        | {
            "in_shape": tuple(in_shape),
            "n_neurons": info.n_neurons,
            "session_sizes": tuple(info.sessions.values()),
            "mean_activity": jax.device_put(np.asarray(mean_activity, np.float32)),
            "rf_location": None if location is None else jax.device_put(np.asarray(location)),
            "map_location": locations_on_maps(core, info) if starts_at_location(options["readout"]) else None,
        },
    )
    shifter = _make_shifter(options["shifter"], info, rngs) if "shifter" in options else None
    return CoreReadout(core, readout, options, info, shifter)


def _make_shifter(options: Mapping[str, Any], info: DataInfo, rngs: nnx.Rngs) -> Shifter:
    if missing := [name for name in info.sessions if name not in info.behaviour]:
        raise UserError(
            f"the model has a shifter (config.model.shifter), but {missing[0]} has no behaviour; give it with the "
            "recording, or set config.model.shifter.kind to None"
        )
    channels = {name: len(info.behaviour[name]["mean"]) for name in info.sessions}
    if len(set(channels.values())) > 1:
        raise UserError(f"all sessions of a model with a shifter need as many channels of behaviour, not {channels}")
    given: dict[str, Any] = {
        name: jax.device_put(np.asarray([info.behaviour[session][name] for session in info.sessions], np.float32))
        for name in ("mean", "deviation")
    }
    return SHIFTERS.make(options, given | {"rngs": rngs})


def starts_at_location(readout: Mapping[str, Any]) -> bool:
    """Whether a readout, or the one that it is a clone of, begins where receptive fields are."""
    return bool(readout.get("start_at_location")) or ("source" in readout and starts_at_location(readout["source"]))


def locations_on_maps(core: Core, info: DataInfo) -> Float[Array, "neuron 2"]:
    """Find the receptive fields of all neurons on the feature maps, see ``on_maps``; NaN where they are not known."""
    unknown = [(np.nan, np.nan)]
    of_sessions = [info.neurons.get(name, {}).get("rf_location", unknown * n) for name, n in info.sessions.items()]
    return on_maps(core, info.input_shape, np.concatenate([np.asarray(one, np.float64) for one in of_sessions]))


def on_maps(
    core: Core, input_shape: tuple[int, int, int], location: Num[np.ndarray, "neuron 2"]
) -> Float[Array, "neuron 2"]:
    """Find the rows and columns of the feature maps that look at pixels of the stimulus; they may lie outside.

    The middle of the maps looks at the middle of the stimulus. How many pixels lie between two points of the maps is
    seen from how much they grow with the stimulus.

    Args:
        core: core that makes the maps.
        input_shape: (height, width, channel) of the stimulus.
        location: rows and columns of the stimulus.
    """
    size, channels = np.array(input_shape[:2]), input_shape[2]
    height, width = (size + MORE_PIXELS).tolist()
    maps, larger = (np.array(output_shape(core, shape)[1:3]) for shape in (input_shape, (height, width, channels)))
    pixels = MORE_PIXELS / (larger - maps)
    return jax.device_put(((location - (size - 1) / 2) / pixels + (maps - 1) / 2).astype(np.float32))


@own_numbers()
def make_autoencoder(options: Mapping[str, Any], info: DataInfo, seed: int = 0) -> SparseAutoencoder:
    """Build a sparse autoencoder of the responses of all neurons, with fresh parameters."""
    given = {"n_inputs": info.n_neurons, "rngs": nnx.Rngs(seed)}
    return construct(SparseAutoencoder, "autoencoder", options, given)
