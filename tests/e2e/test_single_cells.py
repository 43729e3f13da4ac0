"""Models of single cells that know nothing but the recording, on simulated cells whose noise ceiling is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import openretina_jax
from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.models.model import Model

FRAMES, TEST_FRAMES, TRIALS = 9450, 450, 30
KERNEL = np.array([0.1, 0.5, 1, 0.6, 0, -0.4, -0.3, -0.1])
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_pictures", "optimized")]

CONTRAST_SHARE, LINEAR_SHARE = 0.9, 0.85  # of the noise ceiling that models must reach


def recorded(rng: np.random.Generator, movie: np.ndarray, rate: np.ndarray, name: str = "retina") -> Dataset:
    """Poisson spikes of cells; the end of the movie is the test."""
    frames = len(movie) - TEST_FRAMES
    repeats = rng.poisson(rate[frames:], (TRIALS, *rate[frames:].shape)).astype(np.float32)
    recording = ArrayRecording(
        movie[:frames],
        rng.poisson(rate[:frames]).astype(np.float32),
        tests={"repeated": ArrayTest(movie[frames:], repeats, "trial time neuron")},
    )
    return from_arrays({name: recording}, frame_rate_hz=30.0)


def filtered(movie: np.ndarray) -> np.ndarray:
    """Every pixel through the kernel of time."""
    kernel = KERNEL / np.linalg.norm(KERNEL)
    padded = np.concatenate([np.zeros((len(kernel) - 1, *movie.shape[1:])), movie])
    return sum(weight * padded[len(kernel) - 1 - lag :][: len(movie)] for lag, weight in enumerate(kernel))


def pools(rng: np.random.Generator, side: int, cells: int, deviation: float) -> np.ndarray:
    """Gaussians in space, anywhere on the screen."""
    y, x = np.mgrid[:side, :side]
    centre = rng.uniform(4, side - 4, (cells, 2))
    return np.exp(-((y - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2) / (2 * deviation**2))


def trained(dataset: Dataset, kind: str, epochs: int, **options: Any) -> Model:
    settings = {"model.core.kind": "identity", "model.readout.kind": kind, "train.epochs": epochs}
    of_readout = {f"model.readout.{kind}.{name}": value for name, value in options.items()}
    quiet = {"logging.tensorboard": False, "train.picture_every": 0}
    return openretina_jax.train(dataset, settings=settings | of_readout | quiet)


def scores(model: Model, dataset: Dataset) -> pd.Series:
    """Means over the neurons."""
    return openretina_jax.evaluate(model, dataset).neurons[["normalized_correlation", "max_correlation"]].mean()


def test_a_spatially_nonlinear_cell() -> None:
    """Cells that add rectified pixels: an LN model is blind to their contrast, which the readout learns."""
    rng, side = np.random.default_rng(0), 12
    contrast = np.exp(rng.normal(0, 0.6, FRAMES // 15)).repeat(15)
    movie = (rng.standard_normal((FRAMES, side, side)) * contrast[:, None, None]).astype(np.float32)
    signs = np.array([1, -1, 1])
    pixels = np.maximum(signs[:, None, None, None] * filtered(movie), 0)
    drive = np.einsum("ctyx,cyx->tc", pixels, pools(rng, side, 3, deviation=1.2))
    rate = np.log1p(np.exp(2 * drive / drive.std(axis=0) - 3))
    dataset = recorded(rng, movie, 0.4 * rate / rate.mean(axis=0))
    models = {
        "separable_lnp": trained(dataset, "separable_lnp", 30),
        "spatial_contrast": trained(dataset, "spatial_contrast", 60, patch=(7, 7)),  # three deviations to each side
    }
    found = {kind: scores(model, dataset) for kind, model in models.items()}
    shares = {kind: one["normalized_correlation"] for kind, one in found.items()}
    print(f"share of the noise ceiling, {found['separable_lnp']['max_correlation']:.3f}: {shares}")
    assert shares["spatial_contrast"] > CONTRAST_SHARE
    assert shares["spatial_contrast"] > shares["separable_lnp"] + 0.3


def test_linear_cells_anywhere_on_the_screen() -> None:
    """``train(dataset)`` finds them and fits them, at the rates of sparse spikes; ``adapt`` those of another retina."""
    rng, side = np.random.default_rng(1), 20
    movie = rng.choice([-1, 1], (FRAMES, side, side)).astype(np.int8)

    def retina(name: str) -> Dataset:
        weights = pools(rng, side, 6, deviation=1.6)
        weights /= np.linalg.norm(weights, axis=(1, 2), keepdims=True)
        drive = np.einsum("tyx,cyx->tc", filtered(movie), weights) * np.array([1, -1, 1, -1, 1, -1])
        rate = np.log1p(np.exp(2 * drive - 1.5))
        return recorded(rng, movie, rng.uniform(0.05, 0.3, 6) * rate / rate.mean(axis=0), name)

    one, other = retina("one"), retina("other")
    model = trained(one, "separable_lnp", 40)
    adapted = openretina_jax.adapt(model, other)
    shares = {
        "trained": scores(model, one),
        "adapted": scores(adapted, other),
        "as before": scores(adapted, one),
    }
    shares = {name: float(found["normalized_correlation"]) for name, found in shares.items()}
    print(f"shares of the noise ceiling: {shares}")
    assert min(shares.values()) > LINEAR_SHARE
    assert shares["as before"] == pytest.approx(shares["trained"], abs=1e-4)
