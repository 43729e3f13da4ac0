"""Responses of all sessions to every split, against the session's own data and the model called by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.batches import DataArrays
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.evaluation import predict as responses
from openretina_jax.evaluation.predict import Scorer
from openretina_jax.models.model import CoreReadout
from tests import tiny


@pytest.fixture(scope="module")
def data() -> Dataset:
    """The tiny data set; a session has fewer trials and a gap, another was not shown the test movie."""
    first, second, left = tiny.dataset().sessions
    trials = first.repeats["test"][:2].copy()
    trials[1, -3, 0] = np.nan
    sessions = (dataclasses.replace(first, repeats={"test": trials}), dataclasses.replace(second, repeats={}), left)
    return dataclasses.replace(tiny.dataset(), sessions=sessions)


@pytest.fixture(scope="module")
def model() -> CoreReadout:
    """A model whose neurons differ from each other."""
    model = tiny.model()
    rng = np.random.default_rng(1)
    for variable in (model.readout.mask_mean, model.readout.features):
        variable[...] = jnp.asarray(rng.random(variable.shape), jnp.float32)
    return model


@pytest.fixture(scope="module")
def scorer(model: CoreReadout) -> Scorer:
    return Scorer(nnx.graphdef(model))


def found(split: str, data: Dataset, model: CoreReadout, scorer: Scorer) -> list[responses.SessionResponses]:
    tables = Tables(data)
    return responses.split_responses(split, data, tables, scorer, (nnx.state(model),), DataArrays.of(tables))


def predicted(model: CoreReadout, session: Session, clips: np.ndarray) -> np.ndarray:
    """What the model answers to clips of ``(clip, time, height, width, channel)``."""
    seen = clips[:, :, :, ::-1] if session.mirrored else clips
    first, width = model.rows(session.name)
    return np.asarray(tiny.predict(model, np.ascontiguousarray(seen)))[..., first : first + width]


def test_test_movie(data: Dataset, model: CoreReadout, scorer: Scorer) -> None:
    given = found("test", data, model, scorer)
    shown = [session for session in data.sessions if session.repeats]
    assert [one.session for one in given] == [session.name for session in shown]
    for one, session in zip(given, shown, strict=True):
        np.testing.assert_array_equal(one.trials, session.repeats["test"][:, model.lag :])
        expected = predicted(model, session, data.stimuli["test"].frames[None])
        np.testing.assert_allclose(one.predicted, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("split", ["train", pytest.param("validation", marks=pytest.mark.slow)])
def test_clips_of_the_training_movie(
    split: str, data: Dataset, model: CoreReadout, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    predict = scorer.by_timeline
    monkeypatch.setattr(scorer, "by_timeline", lambda *given: calls.append(0) or predict(*given))
    given = found(split, data, model, scorer)
    assert len(calls) == 1  # for all sessions and clips
    chosen = tiny.VALIDATION_CLIPS if split == "validation" else sorted({*range(tiny.CLIPS)} - {*tiny.VALIDATION_CLIPS})
    movie = data.stimuli["train"].frames.reshape(tiny.CLIPS, tiny.CLIP_LENGTH, *data.info.input_shape)
    for one, session in zip(given, data.sessions, strict=True):
        starts = [int(np.flatnonzero(session.frame_index == clip * tiny.CLIP_LENGTH)[0]) for clip in chosen]
        recorded = np.stack([session.responses[start : start + tiny.CLIP_LENGTH] for start in starts])
        np.testing.assert_array_equal(one.recorded, recorded[None, :, model.lag :])
        np.testing.assert_allclose(one.predicted, predicted(model, session, movie[[*chosen]]), rtol=1e-4, atol=1e-6)


def test_predictions_that_are_not_finite(data: Dataset, scorer: Scorer) -> None:
    broken = tiny.model()
    broken.readout.bias[...] = broken.readout.bias[...].at[1].set(jnp.nan)
    given = found("test", data, broken, scorer)
    assert [np.isnan(one.predicted).any(axis=(0, 1)).tolist() for one in given] == [[False, True, False], [False] * 4]


def test_clips_too_short_for_the_model(data: Dataset) -> None:
    tables = Tables(data)
    responses.check_clips(["test", "validation", "train"], tables, tiny.CLIP_LENGTH - 1)
    with pytest.raises(UserError, match=r'right_1: a clip of "test" has 30 frames, but the model needs 30 before'):
        responses.check_clips(["test"], tables, tiny.TEST_LENGTH)


def test_names_of_splits(data: Dataset) -> None:
    assert responses.chosen_splits(data, ["test", "train", "test"]) == ["test", "train"]
    renamed = dataclasses.replace(
        data,
        stimuli={"train": data.stimuli["train"], "flicker": data.stimuli["test"]},
        sessions=tuple(
            dataclasses.replace(session, repeats={"flicker": session.repeats["test"]} if session.repeats else {})
            for session in data.sessions
        ),
    )
    assert responses.chosen_splits(renamed, ["validation", "test"]) == ["validation", "flicker"]
    with pytest.raises(UserError, match='no split "fliker"; did you mean "flicker"'):
        responses.chosen_splits(renamed, ["fliker"])
    with pytest.raises(UserError, match='no split "x"; choose among train, validation, flicker'):
        responses.chosen_splits(renamed, ["x"])
    untested = tuple(dataclasses.replace(session, repeats={}) for session in data.sessions)
    with pytest.raises(UserError, match='no split "test"; choose among train, validation'):
        responses.chosen_splits(dataclasses.replace(data, sessions=untested), ["test"])
