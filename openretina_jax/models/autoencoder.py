"""Sparse autoencoder of a model's responses: a dictionary of response patterns.

Source: Bricken et al. 2023, https://transformer-circuits.pub/2023/monosemantic-features.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.modules import initial
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.runtime.devices import precision


class SparseAutoencoder(nnx.Module):
    """Autoencoder that writes responses as sums of few patterns of norm 1.

    ``hidden = relu((x - bias) @ encoder + encoder_bias)``, ``x = hidden @ decoder + bias``.

    Attributes:
        bias: ``(neuron,)`` offset of responses.
        encoder, encoder_bias: ``(neuron, hidden)`` and ``(hidden,)``.
        decoder: ``(hidden, neuron)``; every row is a pattern.

    Args:
        n_inputs: number of neurons.
        hidden: number of patterns.
        rngs: random streams; weights are uniform within 1/sqrt(inputs of a unit), torch's default.
    """

    def __init__(self, n_inputs: int, *, hidden: int, rngs: nnx.Rngs):
        def uniform(shape: tuple[int, ...], fan_in: int) -> nnx.Param:
            return nnx.Param(initial.uniform(rngs, shape, fan_in**-0.5))

        self.bias = nnx.Param(initial.full(n_inputs, 0.0))
        self.encoder, self.encoder_bias = uniform((n_inputs, hidden), n_inputs), uniform((hidden,), n_inputs)
        self.decoder = uniform((hidden, n_inputs), hidden)

    def encode(self, x: Float[Array, "*batch neuron"]) -> Float[Array, "*batch hidden"]:
        """Compute how much of each pattern the responses hold."""
        product = jnp.matmul(x - self.bias[...], self.encoder[...], precision=precision())
        return jax.nn.relu(product + self.encoder_bias[...])

    def decode(self, hidden: Float[Array, "*batch hidden"]) -> Float[Array, "*batch neuron"]:
        """Add up the patterns to responses."""
        return jnp.matmul(hidden, self.decoder[...], precision=precision()) + self.bias[...]

    def __call__(self, x: Float[Array, "*batch neuron"]) -> Float[Array, "*batch neuron"]:
        """Encode and decode."""
        return self.decode(self.encode(x))

    def patterns(self) -> Float[Array, "hidden neuron"]:
        """Patterns, scaled to norm 1."""
        decoder = self.decoder[...]
        return decoder / jnp.linalg.norm(decoder, axis=1, keepdims=True)


class AutoencoderModel(Model):
    """A trained model whose responses pass through a sparse autoencoder; only the autoencoder is trained.

    Attributes:
        base: the trained model.
        autoencoder: autoencoder of the responses of all neurons.

    Raises:
        UserError: the base reads behaviour.
    """

    trains = ("autoencoder",)

    def __init__(self, base: CoreReadout, autoencoder: SparseAutoencoder, options: Mapping[str, Any]):
        super().__init__(options, base.data_info)
        if base.reads_behaviour:
            raise UserError(
                "an autoencoder cannot follow a model with a shifter, which reads behaviour; train one without"
            )
        self.base, self.autoencoder = base, autoencoder

    @property
    def per_session(self) -> bool:
        """Whether the base depends on the session beyond the rows of its neurons."""
        return self.base.per_session

    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a prediction depends on, see ``Model``."""
        return self.base.receptive_field()

    def activations(
        self,
        stimulus: Float[Array, "part batch time height width channel"],
        session: Int[Array, " part"] | None = None,
        *,
        condition: Float[Array, "windows condition"] | None = None,
    ) -> Float[Array, "part batch new_time neuron"]:
        """Compute the responses of all neurons of the base."""
        first = jnp.zeros(len(stimulus), jnp.int32)
        return self.base.respond(stimulus, first, self.data_info.n_neurons, session, condition=condition)

    def respond(
        self,
        stimulus: Float[Array, "part batch time height width channel"],
        first: Int[Array, " part"],
        width: int,
        session: Int[Array, " part"] | None = None,
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        condition: Float[Array, "windows condition"] | None = None,
    ) -> Float[Array, "part batch new_time neuron"]:
        """Compute the responses of a slice of neurons as the autoencoder reconstructs them, see ``Model``."""
        del train, key
        responses = self.autoencoder(self.activations(stimulus, session, condition=condition))
        padding = max(width - responses.shape[-1], 0)  # rows without a neuron, which make the devices' shares equal
        responses = jnp.pad(responses, ((0, 0),) * 3 + ((0, padding),))
        return jax.vmap(lambda part, row: jax.lax.dynamic_slice_in_dim(part, row, width, axis=-1))(responses, first)

    def begin(self) -> Any:
        """Make the base's history before the first frame."""
        return self.base.begin()

    def advance(
        self,
        history: Any,
        frame: Float[Array, "1 1 height width channel"],
        first: Int[Array, "1"],
        width: int,
        session: Int[Array, "1"] | None = None,
    ) -> tuple[Float[Array, " neuron"], Any]:
        """Compute the reconstructed responses to one more frame, see ``Model``."""
        everybody = jnp.zeros(1, jnp.int32)
        responses, history = self.base.advance(history, frame, everybody, self.data_info.n_neurons, session)
        return jax.lax.dynamic_slice_in_dim(self.autoencoder(responses), first[0], width), history

    def encode(
        self,
        stimulus: Float[Array, "batch time height width channel"]
        | Float[np.ndarray, "batch time height width channel"],
    ) -> Float[Array, "batch new_time hidden"]:
        """Compute how much of each pattern the responses to a normalised stimulus hold.

        Raises:
            UserError: the stimulus has other pixels or channels than the model's.
        """
        self.check_stimulus(stimulus)
        return self.autoencoder.encode(self.activations(jnp.asarray(stimulus)[None])[0])

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Scale the patterns to norm 1."""
        del rows
        self.autoencoder.decoder[...] = self.autoencoder.patterns()

    def project_gradient(self, gradient: nnx.State) -> nnx.State:
        """Remove from the gradient of every pattern the component along it, which would change its norm."""
        trained: Any = gradient.get("autoencoder", {})
        if "decoder" not in trained:
            return gradient
        pattern, slope = self.autoencoder.patterns(), trained["decoder"]
        along = (slope[...] * pattern).sum(axis=1, keepdims=True) * pattern
        slope[...] = slope[...] - along
        return gradient
