"""Models with a shifter: calls, checkpoints, further sessions, and what is refused in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.interop.translation import model_to_theirs
from openretina_jax.models.build import make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.saving import load_model, save_model
from openretina_jax.models.transfer import add_sessions
from openretina_jax.training.adaptation.adapt import adapt_model
from tests import tiny

OPTIONS = tiny.MODEL | {"shifter": {"kind": "mlp", "hidden": (3,), "max_shift": 3.0}}
INFO = tiny.with_behaviour().info
EYE = np.random.default_rng(0).normal((3.0, -1.0), (2.0, 0.1), (1, tiny.TEST_LENGTH, 2)).astype(np.float32)
MOVIE = tiny.dataset().stimuli["test"].normalized()[None]


def shifting(seed: int = 0, options: dict[str, Any] = OPTIONS) -> CoreReadout:
    """A model whose shifts are not 0, and whose neurons see much of what is where."""
    model = make_model(options, INFO, seed)
    assert isinstance(model, CoreReadout)
    output = model.shifter.output
    output[...] = jnp.asarray(np.random.default_rng(seed).standard_normal(output.shape), jnp.float32)
    model.readout.features[...] = 300 * model.readout.features[...]
    if hasattr(model.readout, "mask_log_var"):
        model.readout.mask_log_var[...] = model.readout.mask_log_var[...] - 3
    return model


MODEL = shifting()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian_mask", "point_gaussian"])
def test_a_call_reads_the_behaviour_of_a_session(kind: str) -> None:
    """Responses at each time are those of maps that are moved by the shift of that time."""
    model = shifting(options=OPTIONS | {"readout": {"kind": kind}})
    found = model(MOVIE, session="right_2", behaviour=EYE)
    shift = model.shifts(EYE[0], "right_2")
    maps = model.core(jnp.asarray(MOVIE))
    first, count = model.rows("right_2")
    for time in (0, 11):
        one = maps[:, time : time + 1]
        at = shift[None, model.lag + time : model.lag + time + 1]
        np.testing.assert_allclose(found[:, time : time + 1], model.readout.shifted(one, at, first, count), rtol=1e-4)
    assert np.abs(np.asarray(found - model(MOVIE, session="right_2"))).max() > 0.05


def test_without_behaviour_nothing_is_shifted() -> None:
    """As at the mean behaviour of the session, and as by the same model without a shifter."""
    mean = np.broadcast_to(np.float32(INFO.behaviour["left"]["mean"]), EYE.shape)
    np.testing.assert_allclose(MODEL(MOVIE, session="left", behaviour=mean), MODEL(MOVIE, session="left"), rtol=1e-4)
    np.testing.assert_array_equal(make_model(OPTIONS, INFO)(MOVIE), tiny.model()(MOVIE))


def test_unknown_behaviour_has_no_prediction() -> None:
    eye = EYE.copy()
    eye[0, 20, 1] = np.nan
    found = np.asarray(MODEL(MOVIE, session="left", behaviour=eye))
    expected = np.asarray(MODEL(MOVIE, session="left", behaviour=EYE)).copy()
    expected[:, 20 - MODEL.lag] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_mean_of_an_ensemble() -> None:
    members = [shifting(seed) for seed in (0, 1)]
    expected = np.mean([member(MOVIE, session="left", behaviour=EYE) for member in members], axis=0)
    np.testing.assert_allclose(Ensemble(members)(MOVIE, session="left", behaviour=EYE), expected, rtol=1e-4)


def test_it_is_saved(tmp_path: Path) -> None:
    save_model(MODEL, tmp_path / "model")
    again = load_model(tmp_path / "model")
    found, expected = (one(MOVIE, session="left", behaviour=EYE) for one in (again, MODEL))
    np.testing.assert_array_equal(found, expected)
    assert "shifter: mlp" in repr(again)


def test_sessions_take_their_shifts_along() -> None:
    """In another order, with one more, which begins without a shift."""
    new = dataclasses.replace(tiny.with_behaviour().sessions[0], name="new")
    data = dataclasses.replace(tiny.with_behaviour(), sessions=(new,))
    both = add_sessions(MODEL, data.info)
    assert list(both.data_info.sessions) == ["new", *INFO.sessions]
    for session in INFO.sessions:
        np.testing.assert_allclose(both.shifts(EYE[0], session), MODEL.shifts(EYE[0], session), atol=1e-6)
    np.testing.assert_array_equal(both.shifts(EYE[0], "new"), 0)


def test_sessions_with_other_channels_are_refused() -> None:
    one = {"new": {"mean": [0.0], "deviation": [1.0]}}
    info = dataclasses.replace(INFO, sessions={"new": 2}, mean_activity={"new": [1.0, 1.0]}, neurons={}, behaviour=one)
    refused(lambda: add_sessions(MODEL, info), "need as many channels of behaviour, not {'new': 1, 'right_1': 2")


def test_sessions_differ() -> None:
    left, right = (np.asarray(MODEL.shifts(EYE[0], session)) for session in ("left", "right_1"))
    assert np.abs(left - right).max() > 0.1


def refused(call: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_what_cannot_be_had_is_one_line() -> None:
    refused(
        lambda: tiny.model()(MOVIE, session="left", behaviour=EYE), "behaviour is given, but the model has no shifter"
    )
    refused(lambda: tiny.model().shifts(EYE[0], "left"), "behaviour is given, but the model has no shifter")
    refused(lambda: MODEL(MOVIE, behaviour=EYE), "behaviour is given, but no session; name the one whose")
    refused(lambda: MODEL(MOVIE, session="nobody", behaviour=EYE), 'the model has no session "nobody"')
    refused(
        lambda: MODEL(MOVIE, session="left", behaviour=EYE[:, 1:]), r"has .*\(1, 29, 2\), but must have \(1, 30, 2\)"
    )
    refused(lambda: make_model(OPTIONS, tiny.dataset().info), "has a shifter .*, but right_1 has no behaviour; give it")
    options = OPTIONS | {"core": tiny.MODEL["core"] | {"downsample_input": (2, 1, 1)}}
    refused(lambda: make_model(options, INFO), "a shifter needs a map for every frame")
    refused(
        lambda: make_model(OPTIONS | {"shifter": {"kind": "mpl"}}, INFO), "shifter kind 'mpl' is unknown; choose .* mlp"
    )
    autoencoder = {"base": OPTIONS, "autoencoder": {"hidden": 3}}
    refused(lambda: make_model(autoencoder, INFO), "an autoencoder cannot follow a model with a shifter")
    refused(
        lambda: adapt_model(MODEL, tiny.with_behaviour()), "the model has a shifter, which cannot be fitted behind maps"
    )
    refused(lambda: model_to_theirs(MODEL.options, tiny.CHANNELS), "openretina's models have no shifter")


def test_a_stream_is_at_the_mean_behaviour() -> None:
    stream = MODEL.stream("left")
    state, found = stream.init(), None
    for frame in MOVIE[0, : MODEL.lag + 1]:
        found, state = stream.step(state, frame)
    expected = MODEL(MOVIE[:, : MODEL.lag + 1], session="left")[0, -1]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_parameters_of_a_session_are_rows() -> None:
    shapes = {
        path[1:]: value.shape for path, value in nnx.to_flat_state(nnx.state(MODEL, nnx.Param)) if path[0] == "shifter"
    }
    assert shapes == {("kernels", 0): (3, 2, 3), ("biases", 0): (3, 3), ("output",): (3, 3, 2)}
