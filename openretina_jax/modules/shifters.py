"""Shifters: how far behaviour, such as the position of the eye, moves what all neurons of a session look at."""

import abc
import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.layers import Number, SessionConstant, SessionParam
from openretina_jax.runtime.devices import precision
from openretina_jax.runtime.registry import Registry

SHIFTERS = Registry("shifter", __name__, given=("mean", "deviation", "rngs"))


class Shifter(nnx.Module):
    """Base of shifters: networks that turn the behaviour at a frame into a shift of the readout at that frame.

    A subclass writes ``shift``; its trained numbers with a row per session are ``SessionParam``. Its constructor takes
    what it needs of ``mean``, ``deviation`` (of every channel in training, a row per session) and ``rngs`` by these
    names; all its other arguments are options of a configuration.

    Attributes:
        mean, deviation: ``(session, channel)`` statistics by which behaviour is standardised.
        gamma: weight of the mean squared shift, in square pixels, in the objective.

    Args:
        mean, deviation, gamma: see above.
    """

    def __init__(
        self, mean: Float[Array, "session channel"], deviation: Float[Array, "session channel"], gamma: Number = 0.0
    ):
        self.mean, self.deviation = SessionConstant(mean), SessionConstant(deviation)
        self.gamma = gamma

    @abc.abstractmethod
    def shift(
        self, behaviour: Float[Array, "*batch time channel"], session: Int[Array, ""]
    ) -> Float[Array, "*batch time 2"]:
        """Compute shifts along height and width, in pixels of the feature maps.

        Args:
            behaviour: standardised behaviour; 0 is the mean of the session.
            session: number of the session.
        """

    def __call__(
        self, behaviour: Float[Array, "*batch time channel"], session: Int[Array, ""]
    ) -> Float32[Array, "*batch time 2"]:
        """Compute shifts along height and width, in pixels of the feature maps, from behaviour as it was recorded.

        A channel that is NaN counts as its mean.
        """
        mean, deviation = self.mean[...][session], self.deviation[...][session]
        return self.shift((jnp.where(jnp.isfinite(behaviour), behaviour, mean) - mean) / deviation, session)


@SHIFTERS("mlp")
class MlpShifter(Shifter):
    """A small network with hyperbolic tangents for every session; its shift is bounded, and 0 at the mean behaviour.

    The shift is ``max_shift * tanh((h(x) - h(0)) W)`` with hidden units ``h`` of the standardised behaviour ``x``.
    Before training ``W`` is 0, and so is the shift. Subtracting ``h(0)`` leaves the mean position of a neuron to the
    readout. Source of shifters: Sinz et al. 2018, https://doi.org/10.1101/452672, and Walker et al. 2019,
    https://doi.org/10.1038/s41593-019-0517-x.

    Attributes:
        kernels, biases: of the hidden layers, ``(session, inputs, units)`` and ``(session, units)``.
        output: ``(session, units, 2)`` the matrix ``W``.

    Args:
        mean, deviation: see ``Shifter``.
        hidden: units of each hidden layer.
        max_shift: largest shift along each axis, in pixels of the feature maps.
        gamma: weight of the mean squared shift in the objective.
        rngs: random streams; kernels are drawn from N(0, 1 / inputs).

    Raises:
        UserError: there is no hidden layer.
    """

    def __init__(
        self,
        mean: Float[Array, "session channel"],
        deviation: Float[Array, "session channel"],
        *,
        hidden: tuple[int, ...] = (10,),
        max_shift: float = 10.0,
        gamma: float = 0.0,
        rngs: nnx.Rngs,
    ):
        super().__init__(mean, deviation, gamma)
        if not hidden:
            raise UserError("hidden of the shifter is empty; give the units of at least one layer, such as (10,)")
        self.max_shift = max_shift
        sessions, channels = mean.shape
        sizes = list(itertools.pairwise((channels, *hidden)))
        drawn = [initial.normal(rngs, (sessions, inputs, units), 0.0, inputs**-0.5) for inputs, units in sizes]
        self.kernels = nnx.List([SessionParam(kernel) for kernel in drawn])
        self.biases = nnx.List([SessionParam(initial.full((sessions, units), 0.0)) for _, units in sizes])
        self.output = SessionParam(initial.full((sessions, hidden[-1], 2), 0.0))

    def shift(
        self, behaviour: Float[Array, "*batch time channel"], session: Int[Array, ""]
    ) -> Float[Array, "*batch time 2"]:
        """Compute shifts, see ``Shifter``."""

        def hidden(x: Array) -> Array:
            for kernel, bias in zip(self.kernels, self.biases, strict=True):
                x = jnp.tanh(jnp.matmul(x, kernel[...][session], precision=precision()) + bias[...][session])
            return x

        units = hidden(behaviour) - hidden(jnp.zeros_like(behaviour[..., :1, :]))
        return self.max_shift * jnp.tanh(jnp.matmul(units, self.output[...][session], precision=precision()))


def moved(
    maps: Float[Array, "batch time height width feature"], shift: Float[Array, "batch time 2"]
) -> Float[Array, "batch time height width feature"]:
    """Move every map so that what was at pixel ``p + shift`` is at ``p``, by bilinear interpolation; 0 comes in.

    The gradient at a shift of whole pixels is that towards larger shifts.
    """

    def matrices(shift: Array, size: int) -> Array:
        """Weight of every pixel along an axis for every pixel there."""
        low = jnp.floor(shift)
        share = (shift - low)[..., None, None]
        pixel = jnp.arange(size)
        begins = low.astype(jnp.int32)[..., None, None] + pixel[:, None]
        weight = jnp.where(pixel == begins, 1 - share, 0) + jnp.where(pixel == begins + 1, share, 0)
        return weight.astype(maps.dtype)

    down, along = (matrices(shift[..., axis], maps.shape[2 + axis]) for axis in range(2))
    maps = jnp.einsum("bthj,btjwf->bthwf", down, maps, precision=precision())
    return jnp.einsum("btwj,bthjf->bthwf", along, maps, precision=precision())
