"""Checkpoints of openretina and its models' responses, which ``tests/parity/write_checkpoints.py`` wrote."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.interop.openretina import load_checkpoint
from openretina_jax.models.core_readout import CoreReadout
from tests.goldens_case import RTOL

FOLDER = Path(__file__).parents[1] / "goldens" / "checkpoints"
NOT_MODELS = ("tensors", "autoencoder")
# arguments that some checkpoints lack
UNSAID: dict[str, dict[str, Any]] = {
    "lnp_cell": {"in_shape": (2, 6, 9, 8), "rf_location": (4, 5)},
    "spatial_contrast_cell": {"rf_location": (7, 6)},
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.ckpt") if path.stem not in NOT_MODELS)


def path_of(name: str) -> Path:
    """The checkpoint."""
    return FOLDER / f"{name}.ckpt"


def slow_unless(names: Sequence[str], quick: Sequence[str]) -> list[Any]:
    """Parameters of a test of checkpoints; all but the quick ones are marked as slow."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@functools.cache
def answers(name: str) -> dict[str, np.ndarray]:
    """Arrays beside a checkpoint: a stimulus, in our order of axes, and responses of openretina."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        found = dict(arrays)
    return found | {"x": np.moveaxis(found["x"], 1, -1)} if found["x"].ndim == 5 else found


@functools.cache
def load(name: str) -> CoreReadout:
    """The model of a checkpoint; nobody may change it."""
    return load_checkpoint(path_of(name), **UNSAID.get(name, {}))


@functools.partial(nnx.jit, static_argnames=("sessions", "train"))
def respond(model: CoreReadout, x: jax.Array, sessions: tuple[str, ...], train: bool) -> list[jax.Array]:
    """Responses of sessions, each with the statistics that the model came with."""
    graph, state = nnx.split(model)

    def of(session: str) -> jax.Array:
        first, width, number = model.slice_of(session)
        return nnx.merge(graph, state, copy=True).respond(x[None], first, width, number, train=train)[0]

    return [of(session) for session in sessions]


def check(name: str, model: CoreReadout, mode: str = "eval") -> None:
    """Fail unless the model responds as openretina's did."""
    expected = answers(name)
    sessions = tuple(key.removeprefix(f"{mode}/") for key in expected if key.startswith(f"{mode}/"))
    assert sessions in (tuple(model.data_info.sessions), ()), sessions
    for session, response in zip(
        sessions, respond(model, jnp.asarray(expected["x"]), sessions, mode == "train"), strict=True
    ):
        compare(name, f"{mode}/{session}", response)


def compare(name: str, key: str, response: Any) -> None:
    """Fail unless the response is that of openretina."""
    expected = answers(name)
    np.testing.assert_allclose(
        np.asarray(response), expected[key], rtol=RTOL, atol=float(expected["atol"]), err_msg=f"{name}: {key}"
    )
