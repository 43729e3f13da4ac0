"""Layers of a core as models of their own, whose neurons are the channels at the middle of the screen."""

import dataclasses

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout, output_shape
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.gru import GruCore
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.modules.readouts.readout import Readout, Row


class MiddleReadout(Readout):
    """Readout whose responses are the feature maps themselves, at the pixel in the middle."""

    def __init__(self, channels: int):
        self.n_neurons = channels

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Read ``width`` channels from ``first`` on, see ``Readout``."""
        del key
        middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
        return jax.lax.dynamic_slice_in_dim(middle, first, self.n_neurons if width is None else width, axis=-1)


def layer_model(model: Model, layer: int) -> CoreReadout:
    """Make a model of the first layers of a core, so that every experiment on neurons runs on channels too.

    Its only session is "layer_<number>", whose neurons are the channels. Where the core depends on the session, what
    all sessions share is used.

    Args:
        model: a core + readout model.
        layer: number of the layer, from 0 on.

    Raises:
        UserError: the model has no core of layers, or no such layer.
    """
    core = model.core if isinstance(model, CoreReadout) else None
    if not isinstance(core, SimpleCore):
        raise UserError(
            f"{type(model).__name__} has no core of layers; give the checkpoint of a single model whose core is "
            '"simple" or "gru"'
        )
    if not 0 <= layer < len(core.layers):
        raise UserError(f"layer is {layer}, but the core has layers 0 to {len(core.layers) - 1}")
    first: SimpleCore = nnx.clone(core)
    first.layers = nnx.List(first.layers[: layer + 1])
    first.per_session = False
    if isinstance(first, GruCore):
        first.gru = None
    channels = output_shape(first, model.data_info.input_shape)[-1]
    name = f"layer_{layer}"
    info = dataclasses.replace(
        model.data_info, sessions={name: channels}, neurons={}, mean_activity={name: [1.0] * channels}
    )
    return CoreReadout(first, MiddleReadout(channels), {**model.options, "layer": layer}, info)
