"""A data set that trains in seconds: flickering light, and neurons that follow one pixel each."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from flax import nnx

from openretina_jax.data import batches
from openretina_jax.data.batches import DataArrays, Timelines
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import EpochWindows, SessionSampler
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.training.objective import ResponseObjective
from openretina_jax.training.optimizers import AdamW, Optimizer
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer, TrainState

CLIP_LENGTH, CLIPS, TEST_LENGTH = 24, 8, 30
HEIGHT, WIDTH, CHANNELS = 12, 10, 2
VALIDATION_CLIPS = (5, 2)
TRIALS = 3

# the readout's rows are right_1, right_2, left: sessions that saw the movie mirrored come last
NEURONS = {"left": 4, "right_1": 3, "right_2": 5}

MODEL: dict[str, dict[str, Any]] = {
    "core": {
        "kind": "simple",
        "hidden_channels": (4,),
        "temporal_kernel_sizes": (7,),
        "spatial_kernel_sizes": (5,),
        "gamma_temporal": 0.1,
    },
    "readout": {"kind": "gaussian_mask", "positive": True, "scale": True, "gamma_mask": 0.1, "gamma_features": 0.1},
}


gather = jax.jit(batches.gather, static_argnames="window_frames")


@functools.partial(nnx.jit, static_argnames="session")
def predict(model: Model, movie: jax.Array, session: str | None = None) -> jax.Array:
    """What a model answers, compiled once for models of one structure."""
    return model(movie, session=session)


@functools.cache
def dataset() -> Dataset:
    """The data set; nobody may change its arrays."""
    rng = np.random.default_rng(0)
    movies = {"train": _flicker(rng, CLIPS * CLIP_LENGTH), "test": _flicker(rng, TEST_LENGTH)}
    return Dataset(
        stimuli={name: Stimulus(name, frames, frame_rate_hz=30.0) for name, frames in movies.items()},
        sessions=tuple(_session(rng, name, count, movies) for name, count in NEURONS.items()),
        clip_length=CLIP_LENGTH,
        validation_clips={"train": VALIDATION_CLIPS},
    )


@functools.cache
def equal_dataset(neurons: int = 3) -> Dataset:
    """The data set with the first neurons of each session, equally many."""

    def cut(session: Session) -> Session:
        return dataclasses.replace(
            session,
            responses=session.responses[:, :neurons],
            repeats={name: trials[:, :, :neurons] for name, trials in session.repeats.items()},
            neurons={name: values[:neurons] for name, values in session.neurons.items()},
        )

    return dataclasses.replace(dataset(), sessions=tuple(map(cut, dataset().sessions)))


@functools.cache
def with_behaviour() -> Dataset:
    """The data set with two channels of behaviour, which is not known at two frames."""
    rng = np.random.default_rng(1)

    def watched(session: Session) -> Session:
        def drawn(*shape: int) -> np.ndarray:
            channels = rng.normal((3.0, -1.0), (2.0, 0.1), (*shape, 2)).astype(np.float32)
            channels[..., 8:10, 0] = np.nan
            return channels

        of_tests = {name: drawn(*trials.shape[:2]) for name, trials in session.repeats.items()}
        return dataclasses.replace(session, behaviour=drawn(len(session.responses)), test_behaviour=of_tests)

    return dataclasses.replace(dataset(), sessions=tuple(map(watched, dataset().sessions)))


def model(seed: int = 0) -> CoreReadout:
    """A model of the data set."""
    return make_core_readout(MODEL, dataset().info, seed)


def start(model: CoreReadout, optimizer: Optimizer | None = None, learning_rate: float = 0.1) -> TrainState:
    """The state before the first step."""
    return Trainer(model, Recipe(ResponseObjective(), optimizer or AdamW(), learning_rate)).init()


def session_windows(frames: int, windows_per_step: int) -> tuple[DataArrays, Timelines, EpochWindows]:
    """The data set on the device, and the windows of its first epoch, one session a step."""
    tables = Tables(dataset())
    timelines = tables.training()
    windows = SessionSampler(timelines, window_frames=frames, windows_per_step=windows_per_step, seed=0)[0]
    return DataArrays.of(tables), Timelines.of(timelines), windows


def whole_clips(order: np.ndarray, clip_length: int) -> np.ndarray:
    """Frames of clips shown in that order."""
    return (order[:, None] * clip_length + np.arange(clip_length)).ravel().astype(np.int32)


def _flicker(rng: np.random.Generator, time: int) -> np.ndarray:
    everywhere = rng.standard_normal((time, 1, 1, CHANNELS))
    return (everywhere + 0.5 * rng.standard_normal((time, HEIGHT, WIDTH, CHANNELS))).astype(np.float32)


def _session(rng: np.random.Generator, name: str, n_neurons: int, movies: dict[str, np.ndarray]) -> Session:
    mirrored = name == "left"
    pixel = tuple(rng.integers(size, size=n_neurons) for size in (HEIGHT, WIDTH, CHANNELS))

    def respond(frames: np.ndarray) -> np.ndarray:
        seen = frames[:, :, ::-1] if mirrored else frames
        light = np.roll(seen[(slice(None), *pixel)], 2, axis=0)
        return np.maximum(np.logaddexp(0, 2 * light) + 0.2 * rng.standard_normal(light.shape), 0).astype(np.float32)

    shown = whole_clips(rng.permutation(CLIPS), CLIP_LENGTH)
    return Session(
        name=name,
        stimulus="train",
        responses=respond(movies["train"][shown]),
        frame_index=shown,
        repeats={"test": np.stack([respond(movies["test"]) for _ in range(TRIALS)])},
        mirrored=mirrored,
        neurons={"cell_type": np.arange(n_neurons), "roi_coords": np.stack(pixel[:2], axis=1).astype(np.float32)},
    )
