"""Optimisation of stimuli: all targets in one compiled program, which climbs with a batch of them at a time.

A slot of the batch holds one target and seed. Every step computes the responses of all slots by one pass of the core,
and their gradients by one more; the gradient of a slot is brought to the size of its parameters, so that the gain of a
neuron does not decide its step. A slot whose target has ended is given the next one, between runs of a few steps.
"""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from openretina_jax.errors import UserError
from openretina_jax.insilico import ascent as programs
from openretina_jax.insilico.ascent import Ascent, Slots
from openretina_jax.insilico.blocks import history_frames
from openretina_jax.insilico.constraints import Constraint, of_training
from openretina_jax.insilico.objectives import Objective, increase
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import Targets
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.runtime.devices import own_numbers

Progress = Callable[[str, int, int], None]  # what, number done, number in all
Kept = MutableMapping[str, Mapping[str, np.ndarray]]  # arrays by the name of what was found

WINDOW = 10  # frames

_log = logging.getLogger(__name__)


@own_numbers()
def optimize_stimuli(
    model: Model,
    targets: Targets,
    objective: Objective = increase,
    *,
    constraint: Constraint | None = None,
    window: int = WINDOW,
    frames: int | None = None,
    start: str | Float[np.ndarray, "target time height width channel"] = "noise",
    natural: Float[np.ndarray, "window time height width channel"] | None = None,
    seeds: int = 1,
    seed: int = 0,
    ascent: Ascent | None = None,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> Stimuli:
    """Find for every target the stimulus of the highest objective, within a norm and a range.

    Args:
        model: any model.
        targets: neurons, groups of them, or channels of a layer.
        objective: takes the responses in the window and the targets, see ``objectives``.
        constraint: norm and range (None: those of the training movies, see ``constraints.of_training``).
        window: last frames of the response that the objective sees.
        frames: length of the stimulus (None: the shortest whose every frame the window depends on).
        start: "noise", "linear" (the gradient at grey), "natural" (the best of the natural windows), or stimuli.
        natural: windows of a natural movie of that length, for this start and as a baseline; they are given the norm
            of the constraint.
        seeds: stimuli for each target, from different noise.
        seed: of the noise.
        ascent: how the stimuli climb (None: with its defaults).
        progress: called with (what, number done, number in all).
        kept: gets every stimulus as soon as it is found; those that are in it already are not looked for again. It must
            be of a call with the same arguments that was interrupted.

    Raises:
        UserError: the window is longer than the responses, the norm cannot be reached within the range, or natural
            windows are missing or of another shape.
    """
    length = stimulus_frames(model, window) if frames is None else frames
    shape = (length, *model.data_info.input_shape)
    if not 0 < window <= length - model.lag:
        raise UserError(
            f"the window of {window} frames does not fit: a stimulus of {length} frames has {length - model.lag} "
            f"responses; give {model.lag + max(window, 1)} frames or more"
        )
    if seeds < 1:
        raise UserError(f"seeds is {seeds}; it must be 1 or more")
    constraint = of_training(model.data_info, length) if constraint is None else constraint
    if constraint.norm is None and not np.isfinite(np.concatenate([constraint.low, constraint.high])).all():
        raise UserError("a stimulus without a norm needs a range, or it grows for ever; give norm, or low and high")
    constraint.check(shape)
    if natural is not None and natural.shape[1:] != shape:
        raise UserError(f"natural windows have the shape {natural.shape[1:]}; the stimulus has {shape}")
    climb = _Climb(model, targets, objective, constraint, window, shape, ascent or Ascent())
    baseline, best_windows = climb.best_natural(natural, progress)
    linear = climb.linear(progress)
    starts = _starts(start, linear, best_windows, (len(targets), *shape))
    found = climb.run(starts, seeds, seed, progress, {} if kept is None else kept)
    return climb.result(found, linear, baseline, seed, start if isinstance(start, str) else "given", progress)


def stimulus_frames(model: Model, window: int) -> int:
    """Frames of the shortest stimulus whose last ``window`` responses depend on no frame before it."""
    return history_frames(model) + window


def _starts(start: Any, linear: np.ndarray, natural: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Stimuli that the ascent begins with; None: noise."""
    if not isinstance(start, str):
        if start.shape != shape:
            raise UserError(f"the stimuli to start from have the shape {start.shape}; {shape} is needed")
        return np.asarray(start, np.float32)
    if start == "natural" and natural is None:
        raise UserError('start is "natural", but there are no natural windows; give them, see natural_windows')
    known = {"noise": None, "linear": linear, "natural": natural}
    if start not in known:
        raise UserError(f'start is "{start}"; choose among {", ".join(known)}, or give stimuli')
    return known[start]


@dataclasses.dataclass(frozen=True)
class _Climb:
    """An optimisation that is under way: what every program of it needs."""

    model: Model
    targets: Targets
    objective: Objective
    constraint: Constraint
    window: int
    shape: tuple[int, int, int, int]
    ascent: Ascent

    @functools.cached_property
    def split(self) -> tuple[Any, nnx.State]:
        """The model as a structure and its arrays."""
        return nnx.split(self.model)

    @property
    def static(self) -> dict[str, Any]:
        """Arguments by which compiled programs are kept."""
        return {"objective": self.objective, "window": self.window}

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """Numbers of the targets of each block; the last one is filled with the last target."""
        size = min(self.ascent.block, count)
        for first in range(0, count, size):
            yield np.minimum(np.arange(first, first + size), count - 1)

    def of_block(self, chosen: np.ndarray) -> tuple[Targets, Constraint]:
        """Targets and constraints of a block, without the names, which would have a program compiled for each."""
        targets = jax.tree.map(jnp.asarray, dataclasses.replace(self.targets[chosen], names=()))
        return targets, self.constraint.of_targets(chosen)

    def grey(self) -> np.ndarray:
        """No stimulus, but for the held pixels of every target."""
        return np.array(self.constraint.grey((len(self.targets), *self.shape)))

    def linear(self, progress: Progress | None) -> np.ndarray:
        """The gradient at grey of every target, within the constraint: its best stimulus if the model were linear."""
        graph, state = self.split
        found = np.empty((len(self.targets), *self.shape), np.float32)
        for chosen in self.blocks(len(found)):
            targets, constraint = self.of_block(chosen)
            found[chosen] = programs.linear(graph, state, targets, constraint, shape=self.shape, **self.static)
            _tell(progress, "gradients at grey", int(chosen[-1]) + 1, len(found))
        return found

    def best_natural(
        self, natural: np.ndarray | None, progress: Progress | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Objective of the best natural window of every target, and the windows; None where there are none."""
        if natural is None:
            return None, None
        graph, state = self.split
        targets = jax.tree.map(jnp.asarray, dataclasses.replace(self.targets, names=()))
        if self.constraint.free is not None or (self.constraint.norm is not None and self.constraint.norm.ndim):
            raise UserError("natural windows need one norm for all targets, and no held pixels")
        size = min(self.ascent.block, len(natural))
        values, windows = [], []
        for first in range(0, len(natural), size):
            chosen = np.minimum(np.arange(first, first + size), len(natural) - 1)
            moved, value = programs.score_natural(
                graph, state, targets, jnp.asarray(natural[chosen]), self.constraint, **self.static
            )
            values.append(np.asarray(value)[: len(natural) - first])
            windows.append(np.asarray(moved)[: len(natural) - first])
            _tell(progress, "natural windows", min(first + size, len(natural)), len(natural))
        value = np.concatenate(values)
        return value.max(axis=0), np.concatenate(windows)[value.argmax(axis=0)]

    def run(
        self, starts: np.ndarray | None, seeds: int, seed: int, progress: Progress | None, kept: Kept
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stimuli ``(target, seed, ...)`` and objectives ``(target, seed, step)``, NaN after a stimulus has ended."""
        graph, state = self.split
        count = len(self.targets) * seeds
        size = -(-count // -(-count // self.ascent.block))  # equal blocks
        movies = np.empty((count, *self.shape), np.float32)
        history = np.full((count, self.ascent.steps), np.nan, np.float32)
        earlier = [job for job in range(count) if str(job) in kept]
        for job in earlier:
            movies[job], history[job] = kept[str(job)]["movie"], kept[str(job)]["history"]
        if earlier:
            _log.info("%d of %d stimuli had been found before", len(earlier), count)
        waiting = iter(sorted(set(range(count)) - set(earlier)))
        begun = list(itertools.islice(waiting, size))
        jobs = np.array((begun + [0] * size)[:size])  # slots that nothing is left for are never looked at
        active = np.arange(size) < len(begun)
        refill = functools.partial(self._refill, starts, seeds, seed)
        slots = refill(None, jobs, np.ones(size, bool)) if begun else None
        climb: Any = None
        ended = len(earlier)
        steps = f"steps of {count} stimuli"
        _tell(progress, steps, ended * self.ascent.steps, count * self.ascent.steps)
        while active.any():
            targets, constraint = self.of_block(jobs // seeds)
            arguments = (state, targets, constraint, slots)
            if climb is None:
                climb = programs.compiled_climb(
                    graph, self.ascent, self.window, self.objective, *programs.shapes_of(arguments)
                )
                need = climb.memory_analysis()
                _log.info(
                    "%d stimuli of %d frames, %d at a time, which takes %.0f MB",
                    count,
                    self.shape[0],
                    size,
                    (need.temp_size_in_bytes + need.output_size_in_bytes) / 1e6,
                )
            slots, values = climb(*jax.tree.leaves(arguments))
            counts, waited = np.asarray(slots.count), np.asarray(slots.waited)
            for slot in np.flatnonzero(active):
                before = counts[slot] - programs.STEPS_PER_RUN
                taken = min(programs.STEPS_PER_RUN, self.ascent.steps - before)
                history[jobs[slot], before : before + taken] = np.asarray(values)[:taken, slot]
            end = counts >= self.ascent.steps
            if self.ascent.patience is not None:
                end |= waited >= self.ascent.patience
            end &= active
            if end.any():
                best = np.asarray(slots.best)
                fresh = np.zeros(size, bool)
                for slot in np.flatnonzero(end):
                    movies[jobs[slot]] = best[slot]
                    kept[str(jobs[slot])] = {"movie": best[slot], "history": history[jobs[slot]]}
                    following = next(waiting, None)
                    active[slot] = fresh[slot] = following is not None
                    jobs[slot] = jobs[slot] if following is None else following
                ended += int(end.sum())
                if fresh.any():
                    slots = refill(slots, jobs, fresh)
            climbed = ended * self.ascent.steps + int(counts[active & ~end].sum())
            _tell(progress, steps, climbed, count * self.ascent.steps)
        by_seed = (len(self.targets), seeds)
        return movies.reshape(*by_seed, *self.shape), history.reshape(*by_seed, -1)

    def _refill(
        self, starts: np.ndarray | None, seeds: int, seed: int, slots: Slots | None, jobs: np.ndarray, fresh: np.ndarray
    ) -> Slots:
        """Slots in which the fresh ones begin with new targets."""
        key = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(jnp.asarray(jobs))
        given = None if starts is None else jnp.asarray(starts[jobs // seeds])
        _, constraint = self.of_block(jobs // seeds)
        # several seeds of one start differ by a little noise
        begun = programs.begin(
            key, given, jnp.asarray(jobs % seeds > 0), constraint, shape=self.shape, ascent=self.ascent
        )
        return begun if slots is None else programs.replaced(slots, begun, jnp.asarray(fresh))

    def evaluated(self, movies: np.ndarray, what: str, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
        """Objective of one stimulus for each target, and its mean response."""
        graph, state = self.split
        values, responses = [], []
        for chosen in self.blocks(len(movies)):
            targets, _ = self.of_block(chosen)
            value, response = programs.evaluate(graph, state, targets, jnp.asarray(movies[chosen]), **self.static)
            new = len(np.unique(chosen))
            values.append(np.asarray(value)[:new])
            responses.append(np.asarray(response)[:new])
            _tell(progress, what, int(chosen[-1]) + 1, len(movies))
        return np.concatenate(values), np.concatenate(responses)

    def result(
        self,
        found: tuple[np.ndarray, np.ndarray],
        linear: np.ndarray,
        natural: np.ndarray | None,
        seed: int,
        start: str,
        progress: Progress | None,
    ) -> Stimuli:
        """The stimuli with all that says how far they can be trusted."""
        movies, history = found
        each = [self.evaluated(movies[:, n], "responses", progress) for n in range(movies.shape[1])]
        info = self.model.data_info
        config = {
            "objective": _name(self.objective),
            "window": self.window,
            "lag": self.model.lag,
            "start": start,
            "seed": seed,
            "ascent": dataclasses.asdict(dataclasses.replace(self.ascent, optimizer=None))
            | {"parametrization": repr(self.ascent.parametrization), "optimizer": _name(self.ascent.optimizer)},
            "frame_rate_hz": info.frame_rate_hz,
            "pixel_size_um": info.pixel_size_um,
            "channels": info.channels,
            "response_unit": info.response_unit,
        }
        each_member = None
        if isinstance(self.model, Ensemble):
            alone = [dataclasses.replace(self, model=member) for member in self.model.unstacked()]
            values = [
                [one.evaluated(movies[:, n], "members", progress)[0] for one in alone] for n in range(movies.shape[1])
            ]
            each_member = np.moveaxis(np.asarray(values), -1, 0)
        bounds = {name: np.asarray(getattr(self.constraint, name)) for name in ("low", "high")}
        norm = np.nan if self.constraint.norm is None else np.asarray(self.constraint.norm)
        return Stimuli(
            names=self.targets.names,
            movies=movies,
            activation=np.stack([value for value, _ in each], axis=1),
            responses=np.stack([response for _, response in each], axis=1),
            history=history,
            linear=self.evaluated(linear, "linear stimuli", progress)[0],
            natural=np.full(len(self.targets), np.nan, np.float32) if natural is None else natural,
            grey=self.evaluated(self.grey(), "grey", progress)[0],
            norm=np.broadcast_to(norm, (len(self.targets),)).astype(np.float32),
            low=bounds["low"],
            high=bounds["high"],
            config=config,
            members=each_member,
        )


def _name(function: Any) -> str:
    """Name of an objective or an optimiser, with what was fixed of it."""
    if isinstance(function, functools.partial):
        fixed = ", ".join(f"{name}={value}" for name, value in function.keywords.items())
        return f"{_name(function.func)}({fixed})"
    return "plain ascent" if function is None else getattr(function, "__name__", type(function).__name__)


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, int(done), total)
