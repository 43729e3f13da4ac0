"""Constraints of optimised stimuli: a norm and a range that hold exactly, and pixels that stay as they are."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError

TOLERANCE = 1e-6  # relative tolerance of the norm
_MOST_PASSES = 40  # passes of Newton's method; three to six are usual
_HALVINGS = 32
_LARGEST_SQUARE = 1e30  # square of the largest scale: all that is not 0 is clipped long before
_SHARE = 0.2


class Constraint(struct.PyTreeNode):
    """Norm and range of a stimulus, in the units of a model.

    Attributes:
        norm: Euclidean norm over all free pixels, frames and channels: one for all targets, or one for each (None:
            any).
        low, high: least and largest value of every channel; 0, the mean of the training movies, lies between them.
            Infinite where there is no bound.
        free: pixels that may change, without a target axis or with one (None: all).
        background: values of the others, of the same shape (None: 0).
    """

    norm: Float[Array, ""] | Float[Array, " target"] | None
    low: Float[Array, " channel"]
    high: Float[Array, " channel"]
    free: Bool[Array, "*target time height width channel"] | None = None
    background: Float[Array, "*target time height width channel"] | None = None

    @classmethod
    def of(
        cls,
        channels: int,
        *,
        norm: float | np.number | np.ndarray | None = None,
        low: float | list[float] | np.ndarray | None = None,
        high: float | list[float] | np.ndarray | None = None,
    ) -> "Constraint":
        """Make a constraint from plain numbers; None leaves a side open.

        Raises:
            UserError: the range does not hold 0, or the norm is not above 0.
        """
        bounds = [
            np.broadcast_to(np.asarray(default if value is None else value, np.float32), (channels,))
            for value, default in ((low, -np.inf), (high, np.inf))
        ]
        if not (bounds[0] <= 0).all() or not (bounds[1] >= 0).all() or not (bounds[0] < bounds[1]).all():
            raise UserError(
                f"the range of a stimulus is {_listed(bounds[0])} to {_listed(bounds[1])} by channel; it must hold 0, "
                "the mean of the training movie"
            )
        if norm is not None and not (np.asarray(norm) > 0).all():
            raise UserError(f"the norm of a stimulus is {norm}; it must be above 0")
        return cls(None if norm is None else jnp.asarray(norm, jnp.float32), *map(jnp.asarray, bounds))

    def check(self, shape: tuple[int, int, int, int]) -> None:
        """Refuse a norm that the range cannot hold.

        Args:
            shape: (time, height, width, channel) of a stimulus.

        Raises:
            UserError: says the largest norm that it can.
        """
        if self.norm is None:
            return
        largest = np.maximum(np.square(self.low), np.square(self.high))
        free = np.ones(shape, bool) if self.free is None else np.asarray(self.free)
        most = np.sqrt(np.where(free, largest, 0).sum(axis=(-4, -3, -2, -1)))
        if (np.asarray(self.norm) > most * (1 + TOLERANCE)).any():
            raise UserError(
                f"the norm {float(np.max(self.norm)):g} cannot be reached within the range {_listed(self.low)} to "
                f"{_listed(self.high)} of {math.prod(shape)} pixels, whose largest is {float(np.min(most)):g}"
            )

    def apply(
        self, x: Float[Array, "target time height width channel"]
    ) -> Float[Array, "target time height width channel"]:
        """Move stimuli into the constraint; what fulfils it already stays, up to rounding."""
        return self.scaled(x)[0]

    def scaled(
        self, x: Float[Array, "target time height width channel"]
    ) -> tuple[Float[Array, "target time height width channel"], Float[Array, " target"]]:
        """Move stimuli into the constraint, and say by what each was multiplied before it was clipped."""
        free = x if self.free is None else jnp.where(self.free, x, 0)
        if self.norm is None:
            scale, y = jnp.ones(len(x), x.dtype), jnp.clip(free, self.low, self.high)
        else:
            y, scale = to_norm_in_range(free, jnp.broadcast_to(self.norm, (len(x),)), self.low, self.high, self.free)
        if self.free is not None:
            y = jnp.where(self.free, y, 0 if self.background is None else self.background)
        return y, scale

    def grey(self, shape: tuple[int, int, int, int, int]) -> Float[Array, "target time height width channel"]:
        """Stimuli that are 0, but for the held pixels."""
        grey = jnp.zeros(shape)
        return grey if self.free is None or self.background is None else jnp.where(self.free, grey, self.background)

    def of_free(
        self, slope: Float[Array, "target time height width channel"]
    ) -> Float[Array, "target time height width channel"]:
        """Remove from a gradient what belongs to held pixels."""
        return slope if self.free is None else jnp.where(self.free, slope, 0)

    def of_targets(self, chosen: Any) -> "Constraint":
        """Choose the targets of what has a target axis."""

        def cut(value: Any, axes: int) -> Any:
            return value if value is None or jnp.ndim(value) == axes else value[chosen]

        return self.replace(norm=cut(self.norm, 0), free=cut(self.free, 4), background=cut(self.background, 4))


def of_training(info: DataInfo, frames: int, *, share: float = _SHARE) -> Constraint:
    """Range of the training movies, and a share of the norm of their windows.

    A window as strong as the movie would be clipped nearly everywhere, since a neuron looks at a small part of it. A
    fifth is the norm of 30 that Höfling et al. 2024 gave their stimuli.

    Args:
        info: facts about the data of a model.
        frames: length of the stimulus.
        share: norm relative to the root mean square of the norm of training windows of that length.

    Raises:
        UserError: the model does not know its training movies.
    """
    if info.pixel_low is None or info.pixel_high is None or info.frame_norm is None:
        raise UserError(
            "the model does not know the range of its training movies (it was trained or saved by an earlier version, "
            "or by openretina); give norm, low and high"
        )
    norm = share * info.frame_norm * math.sqrt(frames)
    return Constraint.of(info.input_shape[2], norm=norm, low=info.pixel_low, high=info.pixel_high)


def to_norm_in_range(
    x: Float[Array, "target time height width channel"],
    norm: Float[Array, " target"],
    low: Float[Array, " channel"],
    high: Float[Array, " channel"],
    free: Bool[Array, "*target time height width channel"] | None = None,
) -> tuple[Float[Array, "target time height width channel"], Float[Array, " target"]]:
    """Scale stimuli and clip them, so that the norm after clipping is the wanted one.

    The squared norm of ``clip(s x)`` is a concave, piecewise linear function of ``s**2``: its slope is the power of the
    pixels that are not clipped. Newton's method from the left therefore never oversteps, and ends exactly after
    finitely many passes. Where all pixels are clipped before the norm is reached, those with the smallest values go to
    the larger bound, which among all stimuli of this norm and range is the one that has the largest product with ``x``.

    Args:
        x: stimuli; held pixels are 0.
        norm: wanted norm of each.
        low, high: bounds of every channel, with 0 between them.
        free: pixels that count (None: all).

    Returns:
        The stimuli, and their scales ``s``.
    """
    axes = (1, 2, 3, 4)
    wanted = jnp.square(norm)
    # squares of tiny or huge numbers are not numbers: everything is relative to x of norm 1
    largest = jnp.abs(x).max(axes)
    unit = x / _per_target(jnp.where(largest > 0, largest, 1))
    length = jnp.sqrt(jnp.square(unit).sum(axes))
    unit = unit / _per_target(jnp.where(largest > 0, length, 1))

    def passes(carry: tuple[Array, Array, Array]) -> Array:
        _, missing, number = carry
        return (number < _MOST_PASSES) & (missing > TOLERANCE * wanted).any()

    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        square, _, number = carry
        scaled = _per_target(jnp.sqrt(square)) * unit
        inside = (scaled > low) & (scaled < high)
        slope = jnp.where(inside, jnp.square(unit), 0).sum(axes)
        missing = wanted - jnp.square(jnp.clip(scaled, low, high)).sum(axes)
        open_ = (slope > 0) & (missing > TOLERANCE * wanted)
        step = jnp.where(open_, missing / jnp.where(open_, slope, 1), 0)
        return jnp.minimum(square + step, _LARGEST_SQUARE), jnp.where(open_, missing, 0), number + 1

    square, _, _ = jax.lax.while_loop(passes, newton, (wanted, wanted, jnp.zeros((), jnp.int32)))
    y = jnp.clip(_per_target(jnp.sqrt(square)) * unit, low, high)
    scale = jnp.sqrt(square) / jnp.where(largest > 0, largest * length, 1)
    missing = wanted - jnp.square(y).sum(axes)
    # a pixel on its nearer bound can only cross to the other side: rounding alone must not move it there
    short = missing > 50 * TOLERANCE * wanted
    y = jax.lax.cond(
        short.any(),
        lambda y: _filled(unit, y, jnp.where(short, missing, 0), low, high, free),
        lambda y: y,
        y,
    )
    return y, scale


def _filled(x: Array, y: Array, missing: Array, low: Array, high: Array, free: Array | None) -> Array:
    """Move pixels of clipped stimuli to their larger bound, the smallest of ``x`` first, until no power is missing."""
    axes = (1, 2, 3, 4)
    further = jnp.where(-low > high, low, high)
    gain = jnp.square(further) - jnp.square(y)
    gain = gain if free is None else jnp.where(free, gain, 0)
    size = jnp.abs(x)

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:  # a sort takes ten times as long
        below, above = bounds
        middle = (below + above) / 2
        enough = jnp.where(size <= _per_target(middle), gain, 0).sum(axes) >= missing
        return jnp.where(enough, below, middle), jnp.where(enough, middle, above)

    # the threshold lies above ``below``, of which the power is not enough; -1 is below all sizes
    below, above = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.full(len(x), -1.0, x.dtype), size.max(axes)))
    whole = size <= _per_target(below)
    last = (size <= _per_target(above)) & ~whole
    left = missing - jnp.where(whole, gain, 0).sum(axes)
    share = left / jnp.maximum(jnp.where(last, gain, 0).sum(axes), jnp.finfo(x.dtype).tiny)
    taken = gain * jnp.where(whole, 1, jnp.where(last, jnp.clip(_per_target(share), 0, 1), 0))
    moved = jnp.where(taken > 0, jnp.sign(further) * jnp.sqrt(jnp.square(y) + taken), y)
    # the root of a bound's square may lie above the bound
    return jnp.where(_per_target(missing > 0), jnp.clip(moved, low, high), y)


def _per_target(value: Array) -> Array:
    return value[:, None, None, None, None]


def _listed(values: Any) -> str:
    return ", ".join(f"{float(value):g}" for value in np.asarray(values))
