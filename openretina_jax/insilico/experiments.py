"""Experiments with optimised stimuli, each a few lines over ``optimize_stimuli``."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.insilico.blocks import Chosen
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.objectives import TEMPERATURE, decrease, discriminative, increase
from openretina_jax.insilico.optimize import optimize_stimuli
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import Targets, as_targets, neuron_names, rows_of, session_of_rows
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.core import ReceptiveField

NATURAL_WINDOWS = 480
MASK_SHARE = 0.8  # share of a stimulus' power that makes up its centre


def most_exciting(model: Model, chosen: Chosen = "all", **options: Any) -> Stimuli:
    """Find the stimulus that excites every neuron most.

    Args:
        model: a trained model.
        chosen: neurons, see ``targets.neurons``, or targets.
        options: further options of ``optimize_stimuli``.
    """
    return optimize_stimuli(model, as_targets(model, chosen), increase, **options)


def most_suppressive(model: Model, chosen: Chosen = "all", **options: Any) -> Stimuli:
    """Find the stimulus that suppresses every neuron most; arguments as for ``most_exciting``."""
    return optimize_stimuli(model, as_targets(model, chosen), decrease, **options)


def selective(model: Model, chosen: str | Sequence[int] = "all", *, others: float = 1.0) -> Targets:
    """Make targets whose mean is a neuron's response less that of all other neurons of its session.

    Args:
        model: a trained model.
        chosen: neurons, see ``targets.neurons``.
        others: weight of the mean response of the others.
    """
    sessions, names = session_of_rows(model), neuron_names(model)
    rows = [[row, *np.flatnonzero(sessions == sessions[row]).tolist()] for row in rows_of(model, chosen)]
    rows = [[one[0], *(row for row in one[1:] if row != one[0])] for one in rows]
    targets = Targets.of(model, rows, [names[one[0]] for one in rows])
    weights = np.zeros_like(targets.weights)
    for number, one in enumerate(rows):
        weights[number, 1 : len(one)] = -others / max(len(one) - 1, 1)
        weights[number, 0] = 1
    return dataclasses.replace(targets, weights=weights)


def clusters(
    model: Model, groups: Mapping[str, Sequence[int]], on: Sequence[str] | None = None, *, normalise: bool = True
) -> Targets:
    """Make targets for ``objectives.discriminative``: one group of neurons against all others.

    Args:
        model: a trained model.
        groups: rows of the neurons of every group.
        on: groups that are to respond, a target each (None: every group in turn).
        normalise: whether the response of a neuron is divided by its mean response in training, so that those of a
            large gain do not decide.

    Raises:
        UserError: there are fewer than two groups, or one that is to respond is not among them.
    """
    wanted = list(groups) if on is None else list(on)
    unknown = [name for name in wanted if name not in groups]
    if len(groups) < 2 or unknown:
        raise UserError(
            f"discriminative stimuli need two groups of neurons or more, but there are {', '.join(groups) or 'none'}"
            + (f"; {unknown[0]} is not among them" if unknown else "")
        )
    rows = [row for members in groups.values() for row in members]
    gain = 1 / np.maximum(mean_activity(model)[rows], 1e-3) if normalise else np.ones(len(rows))
    of_neuron = np.repeat(np.arange(len(groups)), [len(members) for members in groups.values()])
    share = 1 / np.bincount(of_neuron)[of_neuron]
    # the group that is to respond is number 0 of its target
    numbers = [list(groups).index(name) for name in wanted]
    group = np.stack([np.where(of_neuron == n, 0, np.where(of_neuron < n, of_neuron + 1, of_neuron)) for n in numbers])
    targets = Targets.of(model, [rows] * len(wanted), wanted)
    return dataclasses.replace(
        targets,
        weights=np.tile((gain * share).astype(np.float32), (len(wanted), 1)),
        group=group.astype(np.int32),
        n_groups=len(groups),
    )


def mean_activity(model: Model) -> Float[np.ndarray, " neuron"]:
    """Mean training response of every row of the model's table."""
    info = model.data_info
    return np.array([rate for name in info.sessions for rate in info.mean_activity[name]])


def most_discriminative(
    model: Model,
    groups: Mapping[str, Sequence[int]],
    on: Sequence[str] | None = None,
    *,
    temperature: float = TEMPERATURE,
    normalise: bool = True,
    **options: Any,
) -> Stimuli:
    """Find for groups of neurons the stimuli that excite them, and no other group (Burg et al. 2024).

    Args:
        model: a trained model.
        groups, on, normalise: see ``clusters``.
        temperature: temperature of the softmax over groups.
        options: further options of ``optimize_stimuli``.
    """
    objective = functools.partial(discriminative, temperature=temperature)
    return optimize_stimuli(model, clusters(model, groups, on, normalise=normalise), objective, **options)


@dataclasses.dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of neurons that discriminative stimuli tell apart.

    Attributes:
        rows: rows of the neurons.
        cluster: number of the cluster of each.
        stimuli: the discriminative stimulus of every cluster.
        selectivity: normalised response of every neuron to every stimulus.
        moved: neurons that changed their cluster in each iteration.
    """

    rows: Int[np.ndarray, " neuron"]
    cluster: Int[np.ndarray, " neuron"]
    stimuli: Stimuli
    selectivity: Float[np.ndarray, "neuron cluster"]
    moved: tuple[int, ...]


def cluster_by_stimuli(
    model: Model,
    chosen: str | Sequence[int] = "all",
    *,
    count: int,
    iterations: int = 10,
    start: Sequence[int] | None = None,
    seed: int = 0,
    **options: Any,
) -> Clustering:
    """Find clusters and their discriminative stimuli in turns (Burg et al. 2024).

    Each cluster gets the stimulus that excites it alone, and every neuron joins the cluster whose stimulus excites it
    most, until none moves. A cluster that becomes empty is given the neuron that fits its own worst.

    Args:
        model: a trained model.
        chosen: neurons, see ``targets.neurons``.
        count: number of clusters.
        iterations: largest number of turns.
        start: cluster of every neuron in the beginning (None: drawn).
        seed: seed of the draw.
        options: further options of ``optimize_stimuli``.
    """
    rows = np.array(rows_of(model, chosen))
    if not 2 <= count <= len(rows):
        raise UserError(f"the number of clusters is {count}; it must be 2 to {len(rows)}, the number of neurons")
    drawn = np.random.default_rng(seed).permutation(np.arange(len(rows)) % count)
    cluster = drawn if start is None else np.asarray(start)
    if len(cluster) != len(rows) or set(cluster.tolist()) != set(range(count)):
        raise UserError(f"the start must give each of {len(rows)} neurons a cluster from 0 to {count - 1}, all of them")
    moved: list[int] = []
    everyone = Targets.of(model, [[int(row)] for row in rows], [""] * len(rows))
    everyone = jax.tree.map(jnp.asarray, dataclasses.replace(everyone, names=()))
    scale = 1 / np.maximum(mean_activity(model)[rows], 1e-3)
    while True:
        groups = {str(number): rows[cluster == number].tolist() for number in range(count)}
        stimuli = most_discriminative(model, groups, seed=seed, **options)
        window = stimuli.config["window"]
        responses = _respond_alike(*nnx.split(model), everyone, jnp.asarray(stimuli.best))[:, :, -window:, 0].mean(
            axis=2
        )
        selectivity = np.asarray(responses).T * scale[:, None]
        if len(moved) >= iterations:
            break
        new = _never_empty(selectivity.argmax(axis=1), selectivity, count)
        moved.append(int((new != cluster).sum()))
        if moved[-1] == 0:
            break
        cluster = new
    return Clustering(rows, cluster, stimuli, selectivity, tuple(moved))


def _never_empty(cluster: np.ndarray, selectivity: np.ndarray, count: int) -> np.ndarray:
    """Clusters in which every empty one has got the neuron that fits its own worst."""
    cluster = cluster.copy()
    for number in range(count):
        if not (cluster == number).any():
            sizes = np.bincount(cluster, minlength=count)
            own = selectivity[np.arange(len(cluster)), cluster] - selectivity[:, number]
            cluster[np.where(sizes[cluster] > 1, own, np.inf).argmin()] = number
    return cluster


@functools.partial(jax.jit, static_argnums=0)
def _respond_alike(
    graph: Any, state: nnx.State, targets: Targets, stimulus: Array
) -> Float[Array, "batch target new_time member"]:
    return targets.respond_alike(nnx.merge(graph, state, copy=True), stimulus)


def contextual(model: Model, stimuli: Stimuli, chosen: Chosen, *, sign: int = 1, **options: Any) -> Stimuli:
    """Find the surround that enhances or suppresses the response to a stimulus in the centre.

    The centre is where the stimulus has most of its power, and stays as it is. The surround gets a norm of its own,
    that of the whole stimulus. The objective without any surround is ``grey`` of the result.

    Args:
        model: the model.
        stimuli: such as those of ``most_exciting``, for the same neurons.
        chosen: the neurons.
        sign: 1: enhance; -1: suppress.
        options: further options of ``optimize_stimuli``.
    """
    centre = centre_mask(stimuli.best)[:, None, :, :, None]
    movies = stimuli.best
    free = np.broadcast_to(~centre, movies.shape)
    constraint = Constraint.of(movies.shape[-1], norm=stimuli.norm, low=stimuli.low, high=stimuli.high).replace(
        free=jnp.asarray(free), background=jnp.asarray(np.where(free, 0, movies))
    )
    objective = increase if sign > 0 else decrease
    options = {"window": stimuli.config["window"], "frames": movies.shape[1], "constraint": constraint, **options}
    return optimize_stimuli(model, as_targets(model, chosen), objective, **options)


def centre_mask(
    movies: Float32[np.ndarray, "target time height width channel"], share: float = MASK_SHARE
) -> Bool[np.ndarray, "target height width"]:
    """Find the pixels that hold a share of a stimulus' power: the fewest that do, after a blur of one pixel."""
    from scipy.ndimage import gaussian_filter  # takes a second to import

    power = gaussian_filter(np.square(movies).sum(axis=(1, 4)), sigma=(0, 1, 1))
    flat = power.reshape(len(power), -1)
    order = np.argsort(-flat, axis=1)
    total = np.cumsum(np.take_along_axis(flat, order, axis=1), axis=1)
    needed = (total < share * total[:, -1:]).sum(axis=1) + 1
    rank = np.argsort(order, axis=1)
    return (rank < needed[:, None]).reshape(power.shape)


class Difference(Model):
    """Response of one member of an ensemble less that of another; what excites it are controversial stimuli."""

    def __init__(self, ensemble: Ensemble, first: int = 0, second: int = 1):
        super().__init__({"difference": [first, second], **ensemble.options}, ensemble.data_info)
        if first == second or not {first, second} <= set(range(ensemble.n_members)):
            raise UserError(f"members {first} and {second} must be two of 0 to {ensemble.n_members - 1}")
        self.ensemble, self.first, self.second = ensemble, first, second

    @property
    def per_session(self) -> bool:
        """Whether the members depend on the session beyond the rows of its neurons."""
        return self.ensemble.per_session

    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a difference depends on, see ``Model``."""
        return self.ensemble.receptive_field()

    def respond(self, *arguments: Any, train: bool = False, key: Any = None, **named: Any) -> Array:
        """Compute the difference for a slice of neurons, see ``Model``."""
        del train, key
        each = self.ensemble.each(*arguments, **named)
        return each[self.first] - each[self.second]

    def respond_rows(
        self,
        stimulus: Float[Array, "target time height width channel"],
        rows: Int[Array, "target neuron"],
        session: Int[Array, " target"] | None = None,
    ) -> Float[Array, "target new_time neuron"]:
        """Compute the difference for chosen neurons, see ``Model``."""
        each = self.ensemble.each_rows(stimulus, rows, session)
        return each[self.first] - each[self.second]


def controversial(
    ensemble: Ensemble, chosen: str | Sequence[int] = "all", *, first: int = 0, second: int = 1, **options: Any
) -> Stimuli:
    """Find stimuli to which two members of an ensemble respond most differently.

    Args:
        ensemble: models of one structure, see ``openretina_jax.load``.
        chosen: neurons, see ``targets.neurons``.
        first, second: the member that is to respond, and the one that is not.
        options: further options of ``optimize_stimuli``.
    """
    return most_exciting(Difference(ensemble, first, second), chosen, **options)


def centred(model: Model) -> Model:
    """Copy a model and move all its neurons to the middle of the screen, so that neurons of a type share a stimulus.

    Raises:
        UserError: its neurons have no positions.
    """
    if isinstance(model, Ensemble):
        return Ensemble([centred(member) for member in model.unstacked()])
    if not isinstance(model, CoreReadout):
        raise UserError(f"{type(model).__name__} has no positions of neurons; take a core + readout model")
    copy = nnx.clone(model)
    copy.readout.centre()
    return copy


def natural_windows(
    dataset: Dataset, frames: int, count: int = NATURAL_WINDOWS, *, seed: int = 0
) -> Float32[np.ndarray, "window time height width channel"]:
    """Draw windows of the training movies, within clips where these are long enough, in the units of a model.

    Args:
        dataset: the movies.
        frames: length of a window.
        count: number of windows.
        seed: seed of the draw.

    Raises:
        UserError: no training movie is that long.
    """
    rng = np.random.default_rng(seed)
    names = sorted({session.stimulus for session in dataset.sessions})
    movies = [dataset.stimuli[name] for name in names if len(dataset.stimuli[name].frames) >= frames]
    if not movies:
        raise UserError(f"no training movie has {frames} frames; give natural windows, or a shorter stimulus")
    share = np.array([len(movie.frames) for movie in movies], float)
    drawn = []
    for number in rng.choice(len(movies), size=count, p=share / share.sum()):
        movie = movies[number]
        clip = dataset.clip_length if dataset.clip_length >= frames else len(movie.frames)
        first = int(rng.integers(len(movie.frames) // clip)) * clip
        start = first + int(rng.integers(clip - frames + 1))
        drawn.append(np.asarray(movie.normalized(slice(start, start + frames)), np.float32))
    return np.stack(drawn)
