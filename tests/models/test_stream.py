"""Predictions frame by frame are those of the whole movie."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.models.autoencoder import AutoencoderModel, SparseAutoencoder
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.core import Core, ReceptiveField
from openretina_jax.modules.cores.identity import IdentityCore
from tests import tiny
from tests.interop.frozen import NAMES, answers, load, slow_unless

TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def streamed(model: Model, movie: np.ndarray, session: str | None = None) -> np.ndarray:
    """Responses to a movie, frame by frame: (time, neuron)."""
    stream = model.stream(session)
    state, responses = stream.init(), []
    sizes = [leaf.shape for leaf in jax.tree.leaves(state)]
    for frame in movie:
        response, state = stream.step(state, frame)
        responses.append(np.asarray(response))
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == sizes, "memory is constant"
    return np.stack(responses)


def check(model: Model, movie: np.ndarray, session: str | None = None) -> None:
    """Compare with the whole movie, whose first frames have no prediction."""
    found, expected = streamed(model, movie, session), np.asarray(tiny.predict(model, movie[None], session=session))[0]
    assert np.isnan(found[: len(movie) - len(expected)]).all()
    np.testing.assert_allclose(found[-len(expected) :], expected, **TOLERANCE)


def movie(frames: int, seed: int = 0) -> np.ndarray:
    shape = (frames, tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", slow_unless(NAMES, []))
def test_models_of_every_kind(name: str) -> None:
    model, x = load(name), np.asarray(answers(name)["x"])[0]
    if model.receptive_field().future != 0:
        with pytest.raises(UserError, match=r"on \d+ later frames, since its core is padded in time|fewer maps"):
            model.stream()
        return
    check(model, x, list(model.data_info.sessions)[-1])


@pytest.mark.slow
def test_pooled_grey_half_size_without_its_first_maps() -> None:
    core = tiny.MODEL["core"] | {
        "hidden_channels": (4, 3),
        "temporal_kernel_sizes": (5, 3),
        "spatial_kernel_sizes": (3, 3),
        "hidden_padding": (0, 1, 1),
        "color_weights": (0.3, 0.7),
        "downsample_input": (1, 2, 2),
        "pool_every": 2,
        "cut_first_frames": 3,
    }
    check(make_core_readout(tiny.MODEL | {"core": core}, tiny.dataset().info), movie(14), "right_2")


@pytest.mark.slow
def test_ensemble_and_autoencoder() -> None:
    base = tiny.model(seed=1)
    check(Ensemble([base, tiny.model(seed=2)]), movie(9))
    autoencoder = SparseAutoencoder(base.data_info.n_neurons, hidden=5, rngs=nnx.Rngs(0))
    check(AutoencoderModel(base, autoencoder, {}), movie(9), "left")


class TwoFrames(Core):
    """A core of one's own: the difference of each frame and the one before; it writes no ``advance``."""

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
    ) -> Float[Array, "batch new_time height width feature"]:
        """Compute differences."""
        del train, key, session
        return stimulus[:, 1:] - stimulus[:, :-1]

    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """Two frames."""
        return ReceptiveField(1 + map_frames, 1, 1)


class Endless(TwoFrames):
    """A core that does not say how far it looks back."""

    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """All frames."""
        del map_frames
        return ReceptiveField(None, 1, 1)


def with_core(core: Core) -> Model:
    model = make_core_readout({"core": {"kind": "identity"}, "readout": {"kind": "lnp"}}, tiny.dataset().info)
    assert isinstance(model.core, IdentityCore)
    model.core = core
    return model


@pytest.mark.slow
def test_a_core_of_ones_own_needs_nothing_more() -> None:
    check(with_core(TwoFrames()), movie(5))


def test_a_core_without_end_must_carry_its_state() -> None:
    with pytest.raises(UserError, match=r"Endless depends on all earlier frames; .* must write begin and advance"):
        with_core(Endless()).stream().init()


@pytest.mark.slow
def test_a_bad_frame_counts_as_long_as_it_is_seen() -> None:
    model, shown = tiny.model(), movie(20)
    shown[9, 3, 4, 0] = np.nan
    found, expected = streamed(model, shown), np.asarray(tiny.predict(model, shown[None]))[0]
    assert np.isnan(expected).any(axis=1).sum() == 7
    np.testing.assert_allclose(found[-len(expected) :], expected, **TOLERANCE)


@pytest.mark.slow
def test_a_state_can_be_continued_in_two_ways() -> None:
    model, shown = tiny.model(), movie(12)
    stream = model.stream("left")
    state = stream.init()
    for frame in shown[:8]:
        _, state = stream.step(state, frame)
    one, _ = stream.step(state, shown[8])
    other, _ = stream.step(state, shown[9])
    again, _ = stream.step(state, shown[8])
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_frames_that_do_not_fit() -> None:
    stream = tiny.model().stream()
    with pytest.raises(UserError, match=r"\(height, width, channel\) \(10, 12, 2\), the model needs \(12, 10, 2\)"):
        stream.step(stream.init(), np.zeros((10, 12, 2), np.float32))


def test_frames_without_a_prediction_of_their_own() -> None:
    core = tiny.MODEL["core"] | {"downsample_input": (2, 1, 1)}
    model = make_core_readout(tiny.MODEL | {"core": core}, tiny.dataset().info)
    with pytest.raises(UserError, match="fewer maps than frames"):
        model.stream()
