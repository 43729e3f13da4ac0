"""The linear-nonlinear-Poisson (LNP) readout: a kernel over all pixels for every neuron."""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Key

from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronParam, fixed_nonlinearity
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import (
    Readout,
    Row,
    neuron_bias,
    rows_of,
    session_laplace,
    session_means,
    weigh_maps,
)
from openretina_jax.modules.regularizers import absolute, is_active


@READOUTS("lnp")
class LnpReadout(Readout):
    """Every neuron weighs all pixels and channels of one frame; with the core "identity" an LNP model.

    Source: Chichilnisky 2001, https://doi.org/10.1080/713663221.

    Attributes:
        kernel: ``(neuron, feature, height, width)`` weights.
        bias: ``(neuron,)`` offset before the nonlinearity, or None.

    Args:
        in_shape: (height, width, feature) of the maps.
        n_neurons: rows of the table.
        nonlinearity: name of the output nonlinearity.
        bias: whether there is an offset.
        start_at_mean: whether offsets start where the nonlinearity gives the mean activities; else at these.
        gamma_smooth: weight of the penalty on the roughness of a session's kernels.
        smoothness: how roughness is measured: "laplace", or "gaussian_laplace", which is milder in the centre.
        laplace_padding: rows and columns of zeros around kernels when roughness is measured (None: 1).
        gamma_sparse: weight of the mean absolute weight of a session.
        mean_activity: ``(neuron,)`` initial offsets (None: 0).
        session_sizes: neurons of each session (None: one session).
        rngs: random streams; kernels are drawn from a normal distribution as for a convolution from features to the
            neurons of a session (Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html).
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        nonlinearity: str = "exp",
        bias: bool = False,
        start_at_mean: bool = False,
        gamma_smooth: float = 0.0,
        smoothness: Literal["laplace", "gaussian_laplace"] = "laplace",
        laplace_padding: int | None = None,
        gamma_sparse: float = 0.0,
        mean_activity: Float[Array, " neuron"] | None = None,
        session_sizes: tuple[int, ...] | None = None,
        rngs: nnx.Rngs,
    ):
        self.n_neurons, self.nonlinearity = n_neurons, fixed_nonlinearity(nonlinearity)
        self.gamma_smooth, self.gamma_sparse = gamma_smooth, gamma_sparse
        self.laplace_padding, self.away_from_centre = laplace_padding, smoothness == "gaussian_laplace"
        height, width, channels = in_shape
        sizes = (n_neurons,) if session_sizes is None else session_sizes
        kernels = [initial.truncated_glorot(rngs, (size, channels, height, width)) for size in sizes]
        self.kernel = NeuronParam(jnp.concatenate(kernels))
        self.bias = (
            neuron_bias(NeuronParam, n_neurons, mean_activity, nonlinearity if start_at_mean else None)
            if bias
            else None
        )

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch time neuron"]:
        """Responses of a slice of neurons."""
        del key
        width = self.n_neurons if width is None else width
        drive = weigh_maps(maps, rows_of(self.kernel, first, width).transpose(0, 2, 3, 1))
        return self.nonlinearity(drive if self.bias is None else drive + rows_of(self.bias, first, width))

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Norm over features of every neuron's kernel."""
        return jnp.linalg.norm(self.kernel[...], axis=1)

    def feature_weights(self) -> Float32[Array, "neuron feature"]:
        """Norm over pixels of every neuron's kernel."""
        return jnp.linalg.norm(self.kernel[...], axis=(2, 3))

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Roughness of kernels and mean absolute weight."""
        kernel = rows_of(self.kernel, first, len(session))
        size = absolute(kernel).mean(axis=(1, 2, 3))
        penalty = self.gamma_sparse * session_means(size, session, n_sessions).sum()
        if is_active(self.gamma_smooth):
            roughness = session_laplace(kernel, session, n_sessions, self.laplace_padding, self.away_from_centre)
            penalty += self.gamma_smooth * roughness.sum()
        return penalty
