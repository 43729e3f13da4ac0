"""Small layers: nonlinearities, batch normalisation, gains and offsets, modulation, dropout of channels, pooling."""

import functools
import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, DTypeLike, Float, Key

from openretina_jax.errors import UserError
from openretina_jax.modules.initial import full
from openretina_jax.runtime import devices


class NeuronParam(nnx.Param):
    """A trained parameter with one row per neuron: axis 0 is the neuron."""


class SessionParam(nnx.Param):
    """A trained parameter with one row per session: axis 0 is the session."""


class Constant(nnx.Variable):
    """An array of the model that is not trained."""


class NeuronConstant(Constant):
    """A constant with one row per neuron: axis 0 is the neuron."""


class SessionConstant(Constant):
    """A constant with one row per session: axis 0 is the session."""


class SessionNumber(NeuronConstant):
    """Number of every neuron's session; renumbered when sessions are added or reordered."""


class ReferenceSession(SessionConstant):
    """True in the row of the session to which the parameters of all others are relative; travels with that session."""


Maps = Float[Array, "*batch channel"]
Values = Float[Array, "*shape"]
Number = Float[Array, ""] | float  # an array where it is trained, or differs between the members of a population


@jax.custom_jvp
def elu(x: Values) -> Values:
    """Exponential linear unit: ``x`` where it is positive, else ``exp(x) - 1``.

    The derivative is computed from ``x`` alone. That of ``jax.nn.elu`` stores ``exp(x) - 1`` as well, in training one
    more array of the size of a layer's maps. In single precision ``exp(x) - 1`` loses digits near 0 alone, where a few
    terms of its series are as exact and, on CPUs, much faster than ``expm1``.
    """
    if jnp.finfo(x.dtype).bits > 32:
        return jax.nn.elu(x)
    below = jnp.minimum(x, 0)
    series = below * jnp.polyval(jnp.asarray(_SERIES_OF_EXP, x.dtype), below)
    return jnp.where(x > 0, x, jnp.where(below > _NEAR_0, series, jnp.exp(below) - 1))


_NEAR_0 = -0.35  # from here on the series is exact to single precision
_SERIES_OF_EXP = [1 / math.factorial(n) for n in range(7, 0, -1)]  # (exp(x) - 1) / x
elu.defjvps(lambda change, y, x: change * jnp.exp(jnp.where(x > 0, 0, x)))


@jax.custom_jvp
def softplus(x: Values) -> Values:
    """``log(1 + exp(x))``, in single precision without ``log1p``, which is slow on CPUs, and as exact.

    The logarithm is ``log(1 + u) = 2 artanh(u / (2 + u))`` with ``u = exp(-|x|)`` of at most 1, so that the series of
    the inverse hyperbolic tangent converges to single precision in seven terms.
    """
    if jnp.finfo(x.dtype).bits > 32:
        return jax.nn.softplus(x)
    u = jnp.exp(-jnp.abs(x))
    ratio = u / (2 + u)
    terms = jnp.polyval(jnp.asarray([2 / n for n in range(13, 0, -2)], x.dtype), ratio * ratio)
    return jnp.maximum(x, 0) + ratio * terms


softplus.defjvps(lambda change, y, x: change * jax.nn.sigmoid(x))


@jax.custom_jvp
def exponential(x: Values) -> Values:
    """Exponential whose derivative is finite even where ``exp(x)`` overflows.

    The gradient at masked entries is 0 times the derivative: 0 times infinity would be NaN.
    """
    return jnp.exp(x)


exponential.defjvps(lambda change, y, x: change * jnp.minimum(y, jnp.finfo(y.dtype).max))


LEAST_RESPONSE = 1e-6  # whose drive is still far from infinite

# as in torch.nn.functional, defaults included
NONLINEARITIES: dict[str, Callable[[Array], Array]] = {
    "softplus": softplus,
    "elu": elu,
    "exp": exponential,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "leaky_relu": jax.nn.leaky_relu,
    "relu6": jax.nn.relu6,
    "celu": jax.nn.celu,
    "selu": jax.nn.selu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "mish": jax.nn.mish,
    "softsign": jax.nn.soft_sign,
    "logsigmoid": jax.nn.log_sigmoid,
    "hardtanh": jax.nn.hard_tanh,
    "hardsigmoid": jax.nn.hard_sigmoid,
    "hardswish": jax.nn.hard_swish,
    "identity": lambda x: x,
}


def inverse_nonlinearity(name: str, response: Values) -> Values:
    """Compute the drive that a nonlinearity turns into positive responses; smaller ones count as ``LEAST_RESPONSE``.

    Raises:
        UserError: it is not known for this nonlinearity.
    """
    if name == "identity":
        return response
    response = jnp.maximum(response, LEAST_RESPONSE)
    if name == "exp":
        return jnp.log(response)
    if name == "softplus":
        return response + jnp.log(-jnp.expm1(-response))
    if name in ("relu", "elu", "leaky_relu"):
        return response
    raise UserError(f'the drive for a response of "{name}" is not known; take softplus, exp, relu, elu or identity')


def fixed_nonlinearity(name: str) -> Callable[[Array], Array]:
    """Look up a nonlinearity without parameters.

    Raises:
        UserError: there is none of that name.
    """
    if name not in NONLINEARITIES:
        raise _unknown_nonlinearity(name, NONLINEARITIES)
    return NONLINEARITIES[name]


def make_nonlinearity(name: str) -> Callable[[Array], Array]:
    """Look up a nonlinearity: a function, or a new module if it has parameters.

    Raises:
        UserError: there is none of that name.
    """
    if name in PARAMETRIZED:
        return PARAMETRIZED[name]()
    if name not in NONLINEARITIES:
        raise _unknown_nonlinearity(name, (*NONLINEARITIES, *PARAMETRIZED))
    return NONLINEARITIES[name]


def _unknown_nonlinearity(name: str, choices: Iterable[str]) -> UserError:
    return UserError(f'nonlinearity "{name}" is unknown; choose among {", ".join(choices)}')


def parametrized_elu(x: Values, a: Number, b: Number, c: Number) -> Values:
    """``c x`` above 0, ``a (exp(x / b) - 1)`` below.

    The exponential linear unit (Clevert et al. 2016, https://arxiv.org/abs/1511.07289) of free depth, width and slope.
    """
    below = jnp.where(x > 0, 0, x)  # exp would overflow for large x, and its gradient be NaN although not selected
    return jnp.where(x > 0, c * x, a * jnp.expm1(below / b))


def parametrized_softplus(x: Values, a: Number, b: Number, w: Number) -> Values:
    """``w log(1 + exp(a x + b))``, the output nonlinearity of linear-nonlinear models."""
    return w * softplus(a * x + b)


class ParametrizedElu(nnx.Module):
    """``parametrized_elu`` with trained ``a``, ``b`` and ``c``."""

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 1.0):
        self.a, self.b, self.c = (nnx.Param(jnp.float32(number)) for number in (a, b, c))

    def __call__(self, x: Values) -> Values:
        """Apply the nonlinearity."""
        return parametrized_elu(x, *(number[...].astype(x.dtype) for number in (self.a, self.b, self.c)))


class ParametrizedSoftplus(nnx.Module):
    """``parametrized_softplus`` with trained ``b`` and ``w``, and ``a`` if ``learn_a``."""

    def __init__(self, a: float = 1.0, b: float = 0.0, w: float = 1.0, *, learn_a: bool = False):
        self.a = (nnx.Param if learn_a else Constant)(jnp.float32(a))
        self.b, self.w = nnx.Param(jnp.float32(b)), nnx.Param(jnp.float32(w))

    def __call__(self, x: Values) -> Values:
        """Apply the nonlinearity."""
        return parametrized_softplus(x, *(number[...].astype(x.dtype) for number in (self.a, self.b, self.w)))


PARAMETRIZED: dict[str, Callable[[], Callable[[Array], Array]]] = {
    "parametrized_elu": ParametrizedElu,
    "parametrized_softplus": ParametrizedSoftplus,
}


def per_channel(axis: int, values: Float[Array, " channel"], dtype: DTypeLike) -> Float[Array, "channel *ones"]:
    """Reshape one number per channel so that it broadcasts along an axis, which is counted from the end."""
    return values.astype(dtype).reshape(-1, *(1,) * (-axis - 1))


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the channels', as in torch.

    The batch is normalised by its biased variance, the running variance averages the unbiased one; statistics are
    float32 whatever the input's type. Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.

    Attributes:
        scale, bias: ``(channel,)`` parameters, or None.
        mean, variance: ``(channel,)`` running statistics, used outside training.
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5, affine: bool = True):
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = nnx.Param(full(channels, 1.0)) if affine else None
        self.bias = nnx.Param(full(channels, 0.0)) if affine else None
        self.mean = nnx.BatchStat(full(channels, 0.0))
        self.variance = nnx.BatchStat(full(channels, 1.0))

    def __call__(self, x: Values, *, train: bool = False, axis: int = -1) -> Values:
        """Normalise by the running statistics, in training by those of the batch, which also update the running ones.

        Args:
            x: values of any shape.
            train: whether this is training.
            axis: axis of the channels, counted from the end.
        """
        if train:
            axes = tuple(n for n in range(x.ndim) if n != x.ndim + axis)
            wide = x.astype(jnp.float32)  # sums over a batch would lose digits in bfloat16
            mean, variance, count = devices.batch_moments(wide, axes)
            for running, new in ((self.mean, mean), (self.variance, variance * count / max(count - 1, 1))):
                running[...] = running[...] + self.momentum * (jax.lax.stop_gradient(new) - running[...])
        else:
            mean, variance = self.mean[...], self.variance[...]
        gain = jax.lax.rsqrt(variance + self.epsilon)
        if self.scale is not None:
            gain = self.scale[...] * gain
        offset = -mean * gain if self.bias is None else self.bias[...] - mean * gain
        # one multiply-add per value: normalisation, gain and offset are folded into two numbers per channel
        return x * per_channel(axis, gain, x.dtype) + per_channel(axis, offset, x.dtype)


class Scale(nnx.Module):
    """Multiplies every channel by a trained number.

    Attributes:
        scale: ``(channel,)``.
    """

    def __init__(self, channels: int, initial: float = 1.0):
        self.scale = nnx.Param(full(channels, initial))

    def __call__(self, x: Values, *, axis: int = -1) -> Values:
        """Scale along the axis of channels, which is counted from the end."""
        return x * per_channel(axis, self.scale[...], x.dtype)


class Bias(nnx.Module):
    """Adds a trained number to every channel.

    Attributes:
        bias: ``(channel,)``.
    """

    def __init__(self, channels: int, initial: float = 0.0):
        self.bias = nnx.Param(full(channels, initial))

    def __call__(self, x: Values, *, axis: int = -1) -> Values:
        """Shift along the axis of channels, which is counted from the end."""
        return x + per_channel(axis, self.bias[...], x.dtype)


class FiLM(nnx.Module):
    """Feature-wise linear modulation: a gain and an offset of every feature, linear in a condition.

    It begins near the identity. Source: Perez et al. 2018, https://arxiv.org/abs/1709.07871.

    Attributes:
        gamma, beta: gain and offset; each has ``kernel (condition, feature)`` and ``bias (feature,)``.
    """

    def __init__(self, features: int, condition_size: int, *, rngs: nnx.Rngs):
        small = nnx.initializers.normal(0.01)
        ones = nnx.initializers.ones_init()
        self.gamma = nnx.Linear(condition_size, features, kernel_init=small, bias_init=ones, rngs=rngs)
        self.beta = nnx.Linear(condition_size, features, kernel_init=small, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch *size feature"], condition: Float[Array, "batch condition"]
    ) -> Float[Array, "batch *size feature"]:
        """Modulate each part of the batch by its condition."""
        inner = tuple(range(1, x.ndim - 1))
        gain, offset = (jnp.expand_dims(f(condition), inner).astype(x.dtype) for f in (self.gamma, self.beta))
        return gain * x + offset


class WeightedChannelSum(nnx.Module):
    """Weighted sum over channels, such as the grey value of a colour; a single channel passes unchanged.

    Attributes:
        weights: ``(channel,)``, trained or constant.
    """

    def __init__(self, weights: Float[Array, " channel"], *, trainable: bool = False):
        self.weights = (nnx.Param if trainable else Constant)(weights)

    def __call__(self, x: Maps) -> Float[Array, "*batch 1"]:
        """Sum over the last axis."""
        if x.shape[-1] == 1:
            return x
        return (x * self.weights[...].astype(x.dtype)).sum(axis=-1, keepdims=True)


def dropout_channels(
    x: Float[Array, "height width channel time batch"], rate: float, key: Key[Array, ""]
) -> Float[Array, "height width channel time batch"]:
    """Set whole channels of a window to zero with probability ``rate`` and divide the others by ``1 - rate``."""
    keep = devices.local_slice(lambda n: jax.random.bernoulli(key, 1 - rate, (n, x.shape[2])), x.shape[4])
    keep = keep.T[:, None]
    return jnp.where(keep, x / (1 - rate), 0)


def max_pool(x: Float[Array, "height width *rest"]) -> Float[Array, "half_height half_width *rest"]:
    """Maximum over 2x2 pixels; an odd last row or column is dropped.

    Of equal pixels the first alone gets the gradient, as in torch.
    """
    for axis in (1, 0):
        end = x.shape[axis] // 2 * 2
        first, second = (lax.slice_in_dim(x, min(n, end), end, 2, axis) for n in (0, 1))
        x = jnp.where(first >= second, first, second)
    return x


def average_pool(
    x: Float[Array, "batch time height width channel"], size: tuple[int, int, int]
) -> Float[Array, "batch new_time new_height new_width channel"]:
    """Mean over blocks of (time, height, width); incomplete blocks at the end are dropped."""
    return nnx.pool(x, 0.0, lax.add, size, size, "VALID") / math.prod(size)
