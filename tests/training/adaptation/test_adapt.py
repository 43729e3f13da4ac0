"""New sessions behind a trained core, on recordings whose neurons are known."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.errors import UserError
from openretina_jax.evaluation.evaluate import evaluate
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.saving import SCORE, load_model, save_model
from openretina_jax.training.adaptation.adapt import adapt_model, check_stimuli
from openretina_jax.training.adaptation.fit import PASSES, put
from openretina_jax.training.objective import Correlation
from tests import tiny

# penalties that hardly count: the responses have no noise
READOUTS: dict[str, dict[str, Any]] = {
    "gaussian_mask": tiny.MODEL["readout"] | {"gamma_mask": 1e-4, "gamma_features": 1e-4},
    "factorized": {"kind": "factorized", "gamma_mask": 1e-4, "gamma_features": 1e-4, "gamma_laplace": 1e-4},
    "point_gaussian": {"kind": "point_gaussian", "gamma": 1e-4},
}


@functools.cache
def trained(kind: str = "gaussian_mask") -> CoreReadout:
    """A model of other sessions, with a core that is not the initial one."""
    info = tiny.dataset().info
    sessions = {"old": 3}
    info = dataclasses.replace(info, sessions=sessions, mean_activity={"old": [0.5] * 3}, neurons={})
    return make_core_readout(tiny.MODEL | {"readout": READOUTS[kind]}, info, seed=3)


@functools.cache
def truth(kind: str) -> CoreReadout:
    """Neurons with the trained core, at places and with features of their own."""
    model = make_core_readout(tiny.MODEL | {"readout": READOUTS[kind]}, tiny.dataset().info, seed=3)
    nnx.update(model.core, nnx.state(trained(kind).core))
    rng, neurons, readout = np.random.default_rng(1), model.data_info.n_neurons, model.readout
    grid = readout.grid()
    assert grid is not None
    place = jnp.asarray(rng.integers(len(grid.masks), size=neurons))
    linear = rng.uniform(0, 3, (neurons, readout.feature_weights().shape[1] + 1))
    put(readout, grid, place, jnp.asarray(linear, jnp.float32), with_bias=True)
    return model


@functools.cache
def dataset(kind: str = "gaussian_mask") -> Dataset:
    """The data set with the responses of the true neurons, without noise."""
    data, model = tiny.dataset(), truth(kind)

    def recorded(session: Session) -> Session:
        def respond(stimulus: str, frames: np.ndarray) -> np.ndarray:
            movie = data.stimuli[stimulus].frames[frames]
            movie = movie[:, :, ::-1] if session.mirrored else movie
            rates = np.asarray(tiny.predict(model, jnp.asarray(movie[None]), session=session.name))[0]
            return np.pad(rates, ((model.lag, 0), (0, 0)), constant_values=np.nan)

        test = respond("test", np.arange(tiny.TEST_LENGTH))
        return dataclasses.replace(
            session, responses=respond("train", session.frame_index), repeats={"test": np.stack([test, test])}
        )

    return dataclasses.replace(data, sessions=tuple(map(recorded, data.sessions)))


def own_variables(model: CoreReadout) -> dict[Any, np.ndarray]:
    return {path: np.asarray(variable[...]) for path, variable in nnx.to_flat_state(nnx.state(model.core))}


def correlations(model: CoreReadout, kind: str) -> np.ndarray:
    return evaluate(model, dataset(kind)).neurons["correlation"].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", READOUTS)
def test_the_truth_is_reached(kind: str) -> None:
    told = []
    before = own_variables(trained(kind))
    model, fitted = adapt_model(trained(kind), dataset(kind), progress=lambda *args: told.append(args))
    assert np.median(correlations(model, kind)) > 0.99
    for path, value in own_variables(model).items():
        np.testing.assert_array_equal(value, before[path], err_msg=str(path))
    assert {what for what, *_ in told} == {"feature maps", "fit"}
    assert told[-1] == ("fit", fitted.passes, PASSES)
    assert list(model.data_info.sessions) == [*dataset().info.sessions, "old"]
    scores = [score for session in dataset().sessions for score in model.data_info.neurons[session.name][SCORE]]
    np.testing.assert_allclose(scores, fitted.scores)


@pytest.mark.slow
def test_the_way_of_all_readouts_and_losses(tmp_path: Any) -> None:
    """A readout without a grid begins anywhere, and a loss of windows is minimised; the old session can go."""
    model = trained("factorized")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.readout), "grid", lambda self: None)
        alone, _ = adapt_model(model, dataset(), loss=Correlation(), keep_sessions=False)
    assert np.median(correlations(alone, "gaussian_mask")) > 0.9
    assert list(alone.data_info.sessions) == list(dataset().info.sessions)
    save_model(alone, tmp_path / "model")
    again = load_model(tmp_path / "model")
    movie = jnp.asarray(dataset().stimuli["test"].frames[None])
    np.testing.assert_array_equal(tiny.predict(again, movie), tiny.predict(alone, movie))


@pytest.mark.slow
def test_the_known_session_answers_as_before() -> None:
    model, _ = adapt_model(trained(), dataset())
    movie = jnp.asarray(dataset().stimuli["test"].frames[None])
    found, expected = (tiny.predict(one, movie, session="old") for one in (model, trained()))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


KNOWN = dataclasses.replace(
    tiny.dataset().info,
    channels=["green", "UV"],
    frame_rate_hz=30.0,
    pixel_size_um=50.0,
    norm_mean=40.0,
    norm_std=20.0,
)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"input_shape": (12, 10, 1)}, r"frames \(height, width, channel\) \(12, 10, 1\), but the core was trained on"),
        ({"channels": ["UV", "green"]}, "channels UV, green, but the core was trained on green, UV"),
        ({"frame_rate_hz": 60.0}, "60 frames per second, but the core was trained on 30"),
        ({"pixel_size_um": 25.0}, "25 µm on the retina, but 50 µm"),
        ({"norm_mean": 43.0}, "norm_mean 43, but that of the core with 40: .* set norm_mean to 40 and norm_std to 20"),
        ({"norm_std": 30.0}, "norm_std 30, but that of the core with 20"),
    ],
)
def test_stimuli_that_are_not_those_of_the_core(other: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_stimuli(KNOWN, dataclasses.replace(KNOWN, **other))


@pytest.mark.parametrize("other", [{"norm_mean": 41.0, "norm_std": 19.5}, {"frame_rate_hz": 30.05}, {"channels": None}])
def test_stimuli_that_the_core_takes_for_its_own(other: dict[str, Any]) -> None:
    check_stimuli(KNOWN, dataclasses.replace(KNOWN, **other))


def test_what_cannot_be_adapted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the model has the session left already; rename it"):
        adapt_model(tiny.model(), tiny.dataset())
    with pytest.raises(UserError, match="this one is of the kind Ensemble"):
        adapt_model(Ensemble([tiny.model(), tiny.model(1)]), tiny.dataset())
    unsplit = dataclasses.replace(tiny.dataset(), validation_clips={})
    with pytest.raises(UserError, match="validation_clips is empty"):
        adapt_model(trained(), unsplit)
    silent = [
        dataclasses.replace(one, responses=np.full_like(one.responses, np.nan)) for one in tiny.dataset().sessions
    ]
    with pytest.raises(UserError, match="no neuron has a response in the training clips"):
        adapt_model(trained(), dataclasses.replace(tiny.dataset(), sessions=tuple(silent)))
    assert jax.devices()
