"""Our side of a measurement: predictions, training steps, evaluations and epochs on random recordings."""

import dataclasses
import functools
import itertools
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array

from benchmarks.ceiling import handover_bytes_per_second, matmul_operations_per_second
from benchmarks.programs import kernels
from openretina_jax.data.batches import Batch, Timelines, gather
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import Sampler, SessionSampler, SharedSampler
from openretina_jax.evaluation.predict import Scorer, Split
from openretina_jax.experiment.command_line import keep_freed_memory
from openretina_jax.experiment.recipe import make_recipe
from openretina_jax.models.build import make_model
from openretina_jax.models.summary import multiplications
from openretina_jax.runtime.devices import DATA, NEURON, matmul_precision, use_cores
from openretina_jax.training.objective import Metrics
from openretina_jax.training.population import Population
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.trainer import Trainer, TrainState, compiler_options

MEMBERS = 8  # of a population
SPREAD = ("train_step", "eval_step", "epoch", "epoch_shared")  # over all devices, as a run spreads them
STREAMED = 100  # frames that are predicted one by one


class Work(NamedTuple):
    """What a repeat does.

    Attributes:
        run: does it.
        shape: of its steps.
        windows: that it goes through; one that a step shows to several sessions counts for each.
        program: of a single step (None: there are several).
        of_compiled: what its compiled program says.
        text: of its compiled program.
    """

    run: Callable[[], Any]
    shape: dict[str, int]
    windows: int
    program: ClosedJaxpr | None = None
    of_compiled: Mapping[str, Any] = MappingProxyType({})
    text: str = ""


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What a task measures, as a function that does it once, and what to say of it.

    Args:
        task: the fields of ``run.Task``.

    Returns:
        The work, and the ``shape`` of its steps, how many ``windows`` it goes through, the ``lowering``, the ``device``
        and the ``versions`` of the libraries; of a single step also its ``operations``, and how many the device does a
        second in a large matrix product of the same type, ``matmul_operations_per_second``; of a training step how many
        ``kernels`` it starts, and the ``compile_seconds``, which the first repeat then does not have. On several cores
        also ``handover_bytes_per_second``, see ``ceiling``, and the number of ``devices``.
    """
    keep_freed_memory()  # as the scripts do
    if task["measure"] in SPREAD:
        use_cores()  # likewise
    train = task["settings"]["train"]
    precision = train["matmul_precision"]
    training = Training(task)
    with training.sharding.active():
        work = _work(training, task["measure"])
    versions = {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
    about = {
        "shape": work.shape,
        "windows": work.windows,
        "lowering": task["lowering"],
        "device": jax.devices()[0].device_kind,
        "devices": 1 if training.sharding.mesh is None else training.sharding.mesh.size,
        "versions": {"python": platform.python_version()} | versions,
    }
    if work.program is not None:
        about["operations"] = 2 * multiplications(work.program.jaxpr, "").total()  # additions, too
        with matmul_precision(precision):
            about["matmul_operations_per_second"] = matmul_operations_per_second(train["compute_dtype"])
    about |= work.of_compiled
    if jax.default_backend() == "cpu" and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        about["handover_bytes_per_second"] = handover_bytes_per_second(*cores[:2])

    def computed() -> Any:
        with matmul_precision(precision), training.sharding.active():
            return jax.block_until_ready(work.run())

    return computed, about


def _work(training: "Training", measure: str) -> Work:
    return {
        "forward": training.forward,
        "train_step": training.train_step,
        "eval_step": training.eval_step,
        "epoch": training.epoch,
        "epoch_shared": training.epoch_shared,
        "population": training.population,
        "population_singly": training.population_singly,
        "stream": training.stream,
    }[measure]()


class Training:
    """A model, and random recordings on the devices.

    Attributes:
        sharding: distribution over the devices.

    Args:
        task: the fields of ``run.Task``.
    """

    def __init__(self, task: Mapping[str, Any]):
        self._windows = {"window_frames": task["frames"], "windows_per_step": task["windows"], "seed": 0}
        settings = task["settings"]
        self._precision = settings["train"]["matmul_precision"]
        shared = settings["train"]["windows"]["shared"]
        self._shared_windows = {
            "window_frames": shared["window_frames"],
            "windows_per_step": shared["windows_per_step"],
            "within_clips": shared["within_clips"],
            "seed": 0,
        }
        dataset = random_dataset(task)
        self._n_sessions = len(dataset.sessions)
        self._tables = Tables(dataset)
        self._order = self._shared_order() if task["measure"] == "epoch_shared" else self._session_order()
        mesh = settings["mesh"] if task["measure"] in SPREAD else {DATA: 1, NEURON: 1}
        self.sharding = Sharding(mesh, dataset.n_neurons).for_windows(self._order[0])
        self._recordings = self.sharding.recordings(self._tables)
        self._new_model = functools.partial(make_model, settings["model"], dataset.info)
        model = self._new_model()
        recipe = dataclasses.replace(make_recipe(settings, model), accumulate=1)  # a step is one batch
        self._trainer = Trainer(model, recipe)
        self._state = self.sharding.state(self._trainer.init(model))
        self._scorer, self._split = Scorer(self._trainer.graph), Split(self._tables.validation())

    def _session_order(self) -> Sampler:
        return SessionSampler(self._tables.training(), **self._windows)

    def _shared_order(self) -> Sampler:
        return SharedSampler(self._tables.shared_training(), **self._shared_windows)

    def forward(self) -> Work:
        """Predictions for the windows of a training step."""
        batch, shape, windows = self._batch()

        @jax.jit
        def predict(state: TrainState, batch: Batch) -> Array:
            model = nnx.merge(self._trainer.graph, *state.evaluated, copy=True)
            return model.respond(batch.stimulus, batch.first_neuron, batch.neuron_mask.shape[1], batch.session)

        program = jax.make_jaxpr(predict)(self._state, batch)
        return Work(lambda: predict(self._state, batch), shape, windows, program)

    def stream(self) -> Work:
        """Predictions frame by frame for the neurons of a session; each is fetched before the next frame comes."""
        model = nnx.merge(self._trainer.graph, *self._state.evaluated, copy=True)
        stream = model.stream(next(iter(model.data_info.sessions)))
        frames = np.random.default_rng(0).standard_normal((STREAMED, *model.data_info.input_shape)).astype(np.float32)

        def work() -> Any:
            state = stream.init()
            for frame in frames:
                response, state = stream.step(state, frame)
                np.asarray(response)
            return state

        return Work(work, _shape(STREAMED, 1, 1), STREAMED)

    def train_step(self) -> Work:
        """A training step on windows that lie on the device."""
        batch, shape, windows = self._batch()

        def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
            return self._trainer.step(state, batch)

        leaves, structure = jax.tree.flatten((self._state, batch))
        of_state = range(len(jax.tree.leaves(self._state)))

        # of single arrays: jax would put descriptions of arrays into classes that check for arrays
        @functools.partial(jax.jit, donate_argnums=of_state, compiler_options=compiler_options())
        def run(*leaves: Array) -> tuple[TrainState, Metrics]:
            return step(*jax.tree.unflatten(structure, leaves))

        program, began = jax.make_jaxpr(step)(self._state, batch), time.perf_counter()
        with matmul_precision(self._precision):
            compiled = run.lower(*leaves).compile()
        text = compiled.as_text() or ""
        of_compiled = {"compile_seconds": time.perf_counter() - began, "kernels": kernels(text)}

        def work() -> Any:
            self._state, metrics = compiled(*jax.tree.leaves((self._state, batch)))
            return self._state, metrics

        return Work(work, shape, windows, program, of_compiled, text)

    def _batch(self) -> tuple[Batch, dict[str, int], int]:
        """The windows of the first step, and what to say of them."""
        order = self._order
        timeline, start = _windows(order, epoch=0)
        gathered = jax.jit(gather, static_argnames="window_frames")
        batch = gathered(self._recordings, Timelines.of(order.timelines), timeline[0], start[0], order.window_frames)
        return batch, _shape(1, order.windows_per_step, order.window_frames), order.windows_per_step

    def eval_step(self) -> Work:
        """Predictions and scores of the validation clips."""
        clips = self._split.start.shape[1]
        return Work(self._evaluate, _shape(1, clips, self._split.clip_frames), clips)

    def epoch(self) -> Work:
        """An epoch with one session per step, and the evaluation of all sessions."""
        return self._epoch(sessions_per_step=1)

    def epoch_shared(self) -> Work:
        """An epoch with all sessions in every step, and the evaluation of all sessions."""
        return self._epoch(sessions_per_step=self._n_sessions)

    def _epoch(self, sessions_per_step: int) -> Work:
        order = self._order
        run, table = self._trainer.epoch(order.window_frames), Timelines.of(order.timelines)
        epochs = itertools.count()

        def work() -> Any:
            number = next(epochs)
            self._state, metrics = run(
                self._state, self._recordings, table, *_windows(order, number), jnp.asarray(number)
            )
            return metrics, self._evaluate()

        steps, windows = order.steps_per_epoch, order.windows_per_step
        return Work(work, _shape(steps, windows, order.window_frames), steps * windows * sessions_per_step)

    def population(self) -> Work:
        """An epoch with all sessions in every step for each model of a population, in one program."""
        models = [self._new_model(seed) for seed in range(MEMBERS)]
        trainer = Population(models, [dataclasses.replace(self._trainer.recipe, seed=seed) for seed in range(MEMBERS)])
        return self._without_evaluation(trainer, [trainer.init()])

    def population_singly(self) -> Work:
        """The same, one model after the other."""
        return self._without_evaluation(
            self._trainer, [self._trainer.init(self._new_model(seed)) for seed in range(MEMBERS)]
        )

    def _without_evaluation(self, trainer: Trainer, states: list[TrainState]) -> Work:
        """An epoch of each state with all sessions in every step."""
        order = self._shared_order()
        run, table = trainer.epoch(order.window_frames), Timelines.of(order.timelines)
        windows = _windows(order, epoch=0)

        def work() -> Any:
            for number, state in enumerate(states):
                states[number], _ = run(state, self._recordings, table, *windows, jnp.asarray(0))
            return states

        shape = _shape(order.steps_per_epoch, order.windows_per_step, order.window_frames)
        windows_of_all = MEMBERS * order.steps_per_epoch * order.windows_per_step * self._n_sessions
        return Work(work, shape, windows_of_all)

    def _evaluate(self) -> Any:
        return self._scorer(self._state.evaluated, self._recordings, self._split)


def random_dataset(task: Mapping[str, Any]) -> Dataset:
    """Sessions that saw the clips of a movie of noise, each in its own order; the first clips are for validation."""
    rng = np.random.default_rng(0)
    length, clips = task["clip_frames"], task["training_clips"] + task["validation_clips"]
    movie = rng.standard_normal((clips * length, *task["input_shape"]), dtype=np.float32)

    def session(number: int) -> Session:
        shown = rng.permutation(clips)[:, None] * length + np.arange(length)
        responses = rng.random((clips * length, task["neurons"]), dtype=np.float32)
        return Session(f"session_{number}", "train", responses, shown.ravel().astype(np.int32), {})

    return Dataset(
        stimuli={"train": Stimulus("train", movie, frame_rate_hz=30.0)},
        sessions=tuple(session(number) for number in range(task["sessions"])),
        clip_length=length,
        validation_clips={"train": tuple(range(task["validation_clips"]))},
    )


def _windows(order: Sampler, epoch: int) -> tuple[Array, Array]:
    chosen = order[epoch]
    return jnp.asarray(chosen.timeline), jnp.asarray(chosen.start)


def _shape(steps: int, windows: int, frames: int) -> dict[str, int]:
    return {"steps": steps, "windows": windows, "frames": frames}
