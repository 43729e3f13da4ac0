"""The contract of readouts, and what they share: rows of a table, and sums over the rows of each session."""

import abc
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key

from openretina_jax.data.sta import LinearFilters
from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.kernels.tiles import transform
from openretina_jax.modules.layers import inverse_nonlinearity
from openretina_jax.modules.regularizers import LAPLACE_EPSILON, laplace_energy
from openretina_jax.modules.shifters import moved
from openretina_jax.runtime.devices import precision

Row = Int[Array, ""] | int
LEAST_STRENGTH = 1e-2


class Grid(NamedTuple):
    """Places at which a neuron may begin, for fits that need a start near the best place.

    There its response is ``nonlinearity(sum over features of features * (mask · map) + bias)``, with the readout's
    parameters ``features`` and, where it is trained, ``bias``; a gain (``scale``) is 1.

    Attributes:
        masks: weights of the pixels at each place.
        parameters: what the readout's parameters are at each place, by their paths such as "means.positions".
        nonlinearity: that of the output.
        positive: whether features are at least 0.
    """

    masks: Float[Array, "place height width"]
    parameters: Mapping[str, Float[Array, "place *number"]]
    nonlinearity: Callable[[Array], Array]
    positive: bool


class Readout(nnx.Module):
    """Base of readouts: tables with one row per neuron of all sessions, which turn feature maps into responses.

    A subclass sets ``n_neurons`` and writes ``__call__``; its trained numbers with a row per neuron are
    ``NeuronParam``. A call reads a slice of rows, as wide as the caller likes and from any row on, so that one compiled
    program serves sessions of any size. ``penalty``, ``project``, ``masks`` and ``feature_weights`` are overridden
    where the readout has such; those inherited do nothing. Its constructor takes what it needs of ``in_shape``,
    ``n_neurons``, ``n_sessions``, ``session_sizes``, ``mean_activity``, ``rf_location``, ``map_location`` and ``rngs``
    by these names, which the data fill in; all its other arguments are options of a configuration. Weights of penalties
    are attributes ``gamma...``, so that members of a population can differ in them.

    Attributes:
        n_neurons: rows of the table.
        frames: successive maps that a response depends on.
        start_at_sta: whether an untrained model calls ``start_at`` with the filters of its data.
    """

    n_neurons: int
    frames: int = 1
    start_at_sta: bool = False

    @abc.abstractmethod
    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Compute the responses of ``width`` neurons from row ``first`` on.

        Args:
            maps: output of the core.
            first: first row.
            width: number of rows (None: the whole table, with ``first`` 0).
            key: random key in training, for readouts that sample (None: nothing is random).
        """

    def shifted(
        self,
        maps: Float[Array, "batch time height width feature"],
        shift: Float[Array, "batch time 2"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Compute responses if all neurons look elsewhere at every frame: here the maps are moved under them.

        Args:
            maps, first, width, key: as for a call.
            shift: along height and width, in pixels of the maps.
        """
        return self(moved(maps, shift), first, width, key=key)

    def masks(self) -> Float32[Array, "neuron height width"] | None:
        """Weight of every pixel of the feature maps for every neuron; None where the readout has no such weights."""
        return None

    def feature_weights(self) -> Float32[Array, "neuron feature"] | None:
        """Weight of every feature for every neuron, as it is used; None where the readout has no such weights."""
        return None

    def centre(self) -> None:
        """Move every neuron to the middle of the maps, where neurons of one type can be compared.

        Raises:
            UserError: the neurons of this readout have no positions.
        """
        raise UserError(f"neurons of a {type(self).__name__} have no positions that could be moved to the middle")

    def start_at(self, filters: LinearFilters, rows: Int[np.ndarray, " row"]) -> None:
        """Let some rows begin at their filters of the movie, for readouts that see it; nothing unless overridden."""
        del filters, rows

    def grid(self) -> Grid | None:
        """Places at which a neuron may begin; None where features are not weighed behind a mask."""
        return None

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Weighted penalty of a slice of rows, summed over the sessions in it; 0 unless overridden.

        Args:
            first: first row of the slice.
            session: number of the session of each row of the slice; rows with the number ``n_sessions`` do not count.
            n_sessions: number of sessions.
        """
        del first, session, n_sessions
        return jnp.zeros(())

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Move the parameters of these rows into their constraints, which every step does before it uses them."""
        del rows


def pixel_grid(height: int, width: int, most: int = 100) -> Float[np.ndarray, "place 2"]:
    """Row and column of pixels on a grid over the maps: of all, or of every so many that there are at most ``most``."""
    step = math.ceil(math.sqrt(height * width / most))
    rows, columns = (np.arange((size - 1) % step // 2, size, step, dtype=np.float32) for size in (height, width))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def weigh_maps(
    maps: Float[Array, "batch time height width feature"], weights: Float[Array, "*neuron height width feature"]
) -> Float32[Array, "batch time *neuron"]:
    """Weighted sums over pixels and features for all neurons, as one matrix product.

    Weights take the type of the maps; the sum is float32, and on no device less precise than the maps.
    """
    maps = maps.transpose(2, 3, 4, 1, 0)  # close to the memory order of the core's output, see ``CoreLayer``
    if all(isinstance(size, int) for size in maps.shape):
        rows = weights.reshape(-1, math.prod(maps.shape[:3]))
        drive = transform(rows, maps.reshape(rows.shape[1], -1), out=jnp.float32)
        drive = drive.reshape(*weights.shape[:-3], *maps.shape[3:])
    else:  # exported for movies of any length: symbolic sizes cannot be multiplied into one axis
        drive = jnp.tensordot(
            weights.astype(maps.dtype),
            maps,
            axes=((-3, -2, -1), (0, 1, 2)),
            precision=precision(),
            preferred_element_type=jnp.float32,
        )
    return drive.transpose(-1, -2, *range(drive.ndim - 2))


def rows_of(variable: nnx.Variable, first: Row, width: int) -> Array:
    """A slice of rows of a variable whose first axis is the neuron."""
    if width == variable.shape[0]:  # the whole table: a slice would gather the rows of all devices on each
        return variable[...]
    return jax.lax.dynamic_slice_in_dim(variable[...], first, width)


def where_rows(chosen: Bool[Array, " neuron"], new: Array, old: Array) -> Array:
    """``new`` in the chosen rows, ``old`` in the others."""
    return jnp.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def session_sums(
    values: Float[Array, " row"], session: Int[Array, " row"], n_sessions: int
) -> Float[Array, " session"]:
    """Sum over the rows of every session; 0 for a session without rows."""
    return jax.ops.segment_sum(values, session, n_sessions)


def session_means(
    values: Float[Array, " row"], session: Int[Array, " row"], n_sessions: int
) -> Float[Array, " session"]:
    """Mean over the rows of every session; 0 for a session without rows."""
    count = session_sums(jnp.ones_like(values), session, n_sessions)
    return session_sums(values, session, n_sessions) / jnp.maximum(count, 1)


def session_laplace(
    kernels: Float[Array, "row *channel height width"],
    session: Int[Array, " row"],
    n_sessions: int,
    padding: int | None = 0,
    away_from_centre: bool = False,
) -> Float[Array, " session"]:
    """Roughness of every session: the Laplace energy of all its kernels over their squared norm.

    ``padding`` and ``away_from_centre`` are those of ``regularizers.laplace_energy``.
    """
    axes = tuple(range(1, kernels.ndim))
    energy = laplace_energy(kernels, padding, away_from_centre).sum(axis=axes[:-2])
    norm = jnp.square(kernels).sum(axis=axes)
    return session_sums(energy, session, n_sessions) / (session_sums(norm, session, n_sessions) + LAPLACE_EPSILON)


def straight_through(value: Float[Array, "*shape"], parameter: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return ``value``, and pass its gradient to ``parameter`` unchanged (straight-through estimator).

    The reference overwrites its parameters with constrained ones, so gradients are taken at the constrained value.
    """
    return jax.lax.stop_gradient(value) + (parameter - jax.lax.stop_gradient(parameter))


def clip(x: Float[Array, "*shape"], low: float | None, high: float) -> Float[Array, "*shape"]:
    """Clip with gradient 1 at the bounds, as in torch; ``jnp.clip`` splits it between ``x`` and the bound."""
    inside = x <= high if low is None else (x >= low) & (x <= high)
    return jnp.where(inside, x, jax.lax.stop_gradient(jnp.clip(x, low, high)))


def neuron_bias(
    cls: type[Any], n_neurons: int, mean_activity: Float[Array, " neuron"] | None, through: str | None = None
) -> Any:
    """Make offsets of variable type ``cls``.

    Args:
        cls: type of variable.
        n_neurons: number of offsets.
        mean_activity: mean responses, at which the offsets start (None: at 0).
        through: name of a nonlinearity; the offsets start where it gives the mean responses.

    Raises:
        UserError: the inverse of the nonlinearity is not known.
    """
    if mean_activity is None:
        return cls(initial.full(n_neurons, 0.0))
    start = jnp.asarray(mean_activity, jnp.float32)
    return cls(start if through is None else inverse_nonlinearity(through, start))


def strengths(
    nonlinearity: Callable[[Array], Array], drive: Float[Array, " neuron"], slope: Float[Array, " neuron"]
) -> Float[Array, " neuron"]:
    """Weights of filters with which responses around a drive change by ``slope`` with the filtered movie.

    At least ``LEAST_STRENGTH``, since a filter without weight does not learn.
    """
    derivative = jax.vmap(jax.grad(nonlinearity))(drive)
    return jnp.maximum(slope / jnp.maximum(derivative, LEAST_STRENGTH), LEAST_STRENGTH)
