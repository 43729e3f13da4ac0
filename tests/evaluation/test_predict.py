"""Scores and predictions of all neurons, and responses by session, against plain numpy and the model called by hand."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from openretina_jax.data.batches import DataArrays
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.evaluation import predict as predict_module
from openretina_jax.evaluation.predict import Scorer, Split, pieces
from openretina_jax.evaluation.splits import SessionResponses, check_clips, chosen_splits, split_responses
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.runtime import programs
from openretina_jax.training.objective import SquaredError
from tests import tiny

CLIPS = len(tiny.VALIDATION_CLIPS)

Predict = Callable[[Session, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def data() -> Dataset:
    """The tiny data set with gaps in the responses, and a session that was not shown the test movie."""
    first, second, left = tiny.dataset().sessions
    responses = first.responses.copy()
    responses[validation_times(first)[-CLIPS * 5 :], 0] = np.nan  # the end of one clip
    responses[validation_times(first)[: tiny.CLIP_LENGTH], 1] = np.nan  # a whole clip
    responses[:, 2] = np.nan
    return dataclasses.replace(
        tiny.dataset(),
        sessions=(dataclasses.replace(first, responses=responses), dataclasses.replace(second, repeats={}), left),
    )


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
    """Programs that are compiled once for all tests."""
    return Scorer(nnx.graphdef(model))


def variables_of(model: CoreReadout) -> tuple[nnx.State, nnx.State]:
    """Parameters and statistics, as training splits them."""
    _, params, statistics = nnx.split(model, nnx.Param, ...)
    return params, statistics


@pytest.fixture(scope="module")
def predict(model: CoreReadout) -> Predict:
    """Prediction for a session's neurons, ``(time, neuron)``, from the movie as it is."""
    graph, state = nnx.split(model)
    all_neurons = jax.jit(lambda stimulus: nnx.merge(graph, state, copy=True)(stimulus))

    def of_session(session: Session, movie: np.ndarray) -> np.ndarray:
        seen = movie[:, :, ::-1] if session.mirrored else movie
        first, width = model.rows(session.name)
        return np.asarray(all_neurons(np.ascontiguousarray(seen[None]))[0, :, first : first + width], np.float64)

    return of_session


def validation_times(session: Session) -> np.ndarray:
    """When a session saw the validation clips, in the order of the data set."""
    clips = session.frame_index // tiny.CLIP_LENGTH
    return np.concatenate([np.flatnonzero(clips == clip) for clip in tiny.VALIDATION_CLIPS])


def expected(predict: Predict, data: Dataset) -> dict[str, np.ndarray]:
    """Validation scores computed neuron by neuron."""
    correlation, loss = [], []
    frames = data.stimuli["train"].frames
    for session in data.sessions:
        times = validation_times(session).reshape(CLIPS, -1)
        predictions = np.stack([predict(session, frames[session.frame_index[t]]) for t in times])
        responses = session.responses[times][:, -predictions.shape[1] :].astype(np.float64)
        for neuron in range(session.n_neurons):
            pairs = [
                (p[np.isfinite(r)], r[np.isfinite(r)])
                for p, r in zip(predictions[:, :, neuron], responses[:, :, neuron], strict=True)
                if np.isfinite(r).any()
            ]
            if not pairs:
                correlation.append(np.nan)
                loss.append(np.nan)
                continue
            correlation.append(np.mean([np.corrcoef(p, r)[0, 1] for p, r in pairs]))
            loss.append(np.concatenate([p - r * np.log(p) for p, r in pairs]).mean())
    return {"correlation": np.array(correlation), "loss": np.array(loss)}


@pytest.mark.slow
def test_scores_of_the_validation_clips(model: CoreReadout, scorer: Scorer, predict: Predict, data: Dataset) -> None:
    tables = Tables(data)
    scores = scorer(variables_of(model), DataArrays.of(tables), Split(tables.validation()))
    reference = expected(predict, data)
    assert np.flatnonzero(np.isnan(reference["correlation"])).tolist() == [2]
    for name, values in reference.items():
        np.testing.assert_allclose(scores[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_loss_is_that_of_the_training(model: CoreReadout, scorer: Scorer, predict: Predict, data: Dataset) -> None:
    """Traces have a squared error, but no Poisson loss; the share of the loss in the objective has no effect."""
    below = dataclasses.replace(
        data, sessions=tuple(dataclasses.replace(s, responses=s.responses - 1) for s in data.sessions)
    )
    tables = Tables(below)
    squared = Scorer(nnx.graphdef(model), loss=SquaredError(samples=640.0))
    found = squared(variables_of(model), DataArrays.of(tables), Split(tables.validation()))["loss"]
    session = below.sessions[0]
    times = validation_times(session).reshape(CLIPS, -1)
    frames = below.stimuli["train"].frames
    predictions = np.stack([predict(session, frames[session.frame_index[t]]) for t in times])
    errors = np.square(predictions - session.responses[times][:, -predictions.shape[1] :])
    known = np.isfinite(errors).any(axis=(0, 1))
    assert np.isnan(found[: session.n_neurons][~known]).all()
    expected_errors = np.nanmean(errors[..., known], axis=(0, 1))
    np.testing.assert_allclose(found[: session.n_neurons][known], expected_errors, rtol=1e-4)


def test_a_neuron_that_diverges_stays_in_the_mean(model: CoreReadout, scorer: Scorer, data: Dataset) -> None:
    """It has correlation 0, while one without responses has none, nor has a model that diverges as a whole."""
    tables = Tables(data)
    params, statistics = variables_of(model)
    given = DataArrays.of(tables), Split(tables.validation())

    def correlations(diverged: list[int]) -> np.ndarray:
        bias = params["readout"]["bias"]
        changed = bias.replace(bias[...].at[jnp.asarray(diverged)].set(jnp.inf))
        of_model = nnx.merge_state(params, nnx.State({"readout": {"bias": changed}}))
        return np.asarray(scorer((of_model, statistics), *given)["correlation"])

    found = correlations([0, 2, 5])
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    assert np.flatnonzero(found == 0).tolist() == [0, 5]
    assert np.isnan(correlations(list(range(12)))).all()


def test_neurons_that_saw_nothing_of_a_split_have_no_score(model: CoreReadout, scorer: Scorer, data: Dataset) -> None:
    tables = Tables(data)
    scores = scorer(variables_of(model), DataArrays.of(tables), Split(tables.test("test")))
    missing = np.repeat([session.name == "right_2" for session in data.sessions], [3, 5, 4])
    for values in scores.values():
        np.testing.assert_array_equal(np.isnan(values), missing)


def test_predictions_of_the_test_movie(model: CoreReadout, scorer: Scorer, predict: Predict, data: Dataset) -> None:
    tables = Tables(data)
    shown = scorer.predict(variables_of(model), DataArrays.of(tables), Split(tables.test("test")))
    assert shown.shape == (1, tiny.TEST_LENGTH - model.lag, data.n_neurons)
    first = 0
    for session in data.sessions:
        found = shown[0, :, first : first + session.n_neurons]
        first += session.n_neurons
        if session.repeats:
            reference = predict(session, data.stimuli["test"].frames)
            np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-6)
        else:
            assert np.isnan(found).all()


@given(st.integers(1, 200), st.integers(0, 30), st.integers(0, 30), st.integers(0, 10), st.integers(1, 80))
def test_pieces_predict_every_frame(frames: int, lag: int, past: int, future: int, longest: int) -> None:
    frames += lag
    begins, firsts, length = pieces(frames, lag, ReceptiveField(past + 1 + future, 1, 1, future), longest)
    assert length <= max(longest, 2 * (max(lag, past) + future) + 1)
    predicted = []
    for begin, first, end in zip(begins, firsts, [*firsts[1:], frames], strict=True):
        assert begin + lag <= first
        assert begin <= max(first - past, 0)
        assert min(end + future, frames) <= begin + length
        predicted += range(first, end)
    assert predicted == list(range(lag, frames))
    for without_end in (ReceptiveField(None, 1, 1), ReceptiveField(1, 1, 1, None)):
        assert pieces(frames, lag, without_end, longest) == ([0], [lag], frames)


@pytest.mark.slow
def test_pieces_and_groups_give_the_same_predictions(
    model: CoreReadout, scorer: Scorer, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, variables = Tables(data), variables_of(model)
    recordings, splits = DataArrays.of(tables), [Split(tables.validation()), Split(tables.test("test"))]
    whole = [scorer.predict(variables, recordings, split) for split in splits]
    scores = scorer(variables, recordings, splits[0])
    # of a clip 20 frames at once, and never two clips together
    monkeypatch.setattr(predict_module, "PIXELS_AT_ONCE", 20 * tiny.HEIGHT * tiny.WIDTH)
    assert len(pieces(tiny.CLIP_LENGTH, model.lag, model.receptive_field(), 20)[0]) == 2
    programs.forget()
    in_pieces = Scorer(nnx.graphdef(model))
    for split, expected in zip(splits, whole, strict=True):
        found = in_pieces.predict(variables, recordings, split)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for name, values in in_pieces(variables, recordings, splits[0]).items():
        np.testing.assert_allclose(values, scores[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_pieces_of_a_model_that_sees_the_future(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like openretina's cores it is padded in time, and drops the first frames instead."""
    core = tiny.MODEL["core"] | {"input_padding": (3, 0, 0), "cut_first_frames": 6}
    model = make_core_readout({"core": core, "readout": tiny.MODEL["readout"]}, data.info, 0)
    graph, variables = nnx.graphdef(model), (nnx.state(model),)
    recordings, split = DataArrays.of(Tables(data)), Split(Tables(data).test("test"))
    whole = Scorer(graph).predict(variables, recordings, split)
    monkeypatch.setattr(predict_module, "PIXELS_AT_ONCE", 18 * tiny.HEIGHT * tiny.WIDTH)
    programs.forget()
    assert len(pieces(tiny.TEST_LENGTH, model.lag, model.receptive_field(), 18)[0]) > 1
    np.testing.assert_allclose(Scorer(graph).predict(variables, recordings, split), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_tests_of_different_lengths(model: CoreReadout, scorer: Scorer, data: Dataset) -> None:
    first, _, left = data.sessions
    short, shorter = 12, 5  # than the lag
    movie = data.stimuli["test"]
    cut = {name: dataclasses.replace(movie, frames=movie.frames[:n]) for name, n in (("12", short), ("5", shorter))}

    def shown_less(session: Session, frames: int) -> Session:
        repeats = {"test": session.repeats["test"][:, :frames]}
        return dataclasses.replace(session, repeats=repeats, test_stimuli={"test": str(frames)})

    sessions = (shown_less(first, shorter), tiny.dataset().sessions[1], shown_less(left, short))
    tables = Tables(dataclasses.replace(data, stimuli={**data.stimuli, **cut}, sessions=sessions))
    variables = variables_of(model)
    split = Split(tables.test("test"))
    shown = scorer.predict(variables, DataArrays.of(tables), split)[0]
    assert shorter < model.lag
    assert np.isnan(shown[:, : first.n_neurons]).all()
    own = shown[:, -left.n_neurons :]
    assert np.isnan(own[short - model.lag :]).all()
    whole = scorer.predict(variables, DataArrays.of(Tables(data)), Split(Tables(data).test("test")))[0]
    np.testing.assert_allclose(own[: short - model.lag], whole[: short - model.lag, -left.n_neurons :], rtol=1e-5)
    scores = np.asarray(scorer(variables, DataArrays.of(tables), split)["correlation"])[-left.n_neurons :]
    mean = left.repeats["test"][:, model.lag : short].mean(axis=0)
    wanted = [np.corrcoef(own[: short - model.lag, n], mean[:, n])[0, 1] for n in range(left.n_neurons)]
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def unequal() -> Dataset:
    """The tiny data set; a session has fewer trials and a gap, another was not shown the test movie."""
    first, second, left = tiny.dataset().sessions
    trials = first.repeats["test"][:2].copy()
    trials[1, -3, 0] = np.nan
    sessions = (dataclasses.replace(first, repeats={"test": trials}), dataclasses.replace(second, repeats={}), left)
    return dataclasses.replace(tiny.dataset(), sessions=sessions)


def found(split: str, unequal: Dataset, model: CoreReadout, scorer: Scorer) -> list[SessionResponses]:
    tables = Tables(unequal)
    return split_responses(split, tables, scorer, variables_of(model), DataArrays.of(tables))


def answers(model: CoreReadout, session: Session, clips: np.ndarray) -> np.ndarray:
    """What the model answers to clips of ``(clip, time, height, width, channel)``."""
    seen = clips[:, :, :, ::-1] if session.mirrored else clips
    first, width = model.rows(session.name)
    return np.asarray(tiny.predict(model, np.ascontiguousarray(seen)))[..., first : first + width]


def test_test_movie(unequal: Dataset, model: CoreReadout, scorer: Scorer) -> None:
    given = found("test", unequal, model, scorer)
    shown = [session for session in unequal.sessions if session.repeats]
    assert [one.session for one in given] == [session.name for session in shown]
    for one, session in zip(given, shown, strict=True):
        np.testing.assert_array_equal(one.trials, session.repeats["test"][:, model.lag :])
        expected = answers(model, session, unequal.stimuli["test"].frames[None])
        np.testing.assert_allclose(one.predicted, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("split", ["train", pytest.param("validation", marks=pytest.mark.slow)])
def test_clips_of_the_training_movie(
    split: str, unequal: Dataset, model: CoreReadout, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    predict = scorer.by_timeline
    monkeypatch.setattr(scorer, "by_timeline", lambda *given: calls.append(0) or predict(*given))
    given = found(split, unequal, model, scorer)
    assert len(calls) == 1  # for all sessions and clips
    chosen = tiny.VALIDATION_CLIPS if split == "validation" else sorted({*range(tiny.CLIPS)} - {*tiny.VALIDATION_CLIPS})
    movie = unequal.stimuli["train"].frames.reshape(tiny.CLIPS, tiny.CLIP_LENGTH, *unequal.info.input_shape)
    for one, session in zip(given, unequal.sessions, strict=True):
        starts = [int(np.flatnonzero(session.frame_index == clip * tiny.CLIP_LENGTH)[0]) for clip in chosen]
        recorded = np.stack([session.responses[start : start + tiny.CLIP_LENGTH] for start in starts])
        np.testing.assert_array_equal(one.recorded, recorded[None, :, model.lag :])
        np.testing.assert_allclose(one.predicted, answers(model, session, movie[[*chosen]]), rtol=1e-4, atol=1e-6)


def test_predictions_that_are_not_finite(unequal: Dataset, scorer: Scorer) -> None:
    broken = tiny.model()
    broken.readout.bias[...] = broken.readout.bias[...].at[1].set(jnp.nan)
    given = found("test", unequal, broken, scorer)
    assert [np.isnan(one.predicted).any(axis=(0, 1)).tolist() for one in given] == [[False, True, False], [False] * 4]


def test_clips_too_short_for_the_model(unequal: Dataset) -> None:
    tables = Tables(unequal)
    check_clips(["test", "validation", "train"], tables, tiny.CLIP_LENGTH - 1)
    with pytest.raises(UserError, match=r'right_1: a clip of "test" has 30 frames, but the model needs 30 before'):
        check_clips(["test"], tables, tiny.TEST_LENGTH)


def test_names_of_splits(unequal: Dataset) -> None:
    assert chosen_splits(unequal, ["test", "train", "test"]) == ["test", "train"]
    renamed = dataclasses.replace(
        unequal,
        stimuli={"train": unequal.stimuli["train"], "flicker": unequal.stimuli["test"]},
        sessions=tuple(
            dataclasses.replace(session, repeats={"flicker": session.repeats["test"]} if session.repeats else {})
            for session in unequal.sessions
        ),
    )
    assert chosen_splits(renamed, ["validation", "test"]) == ["validation", "flicker"]
    with pytest.raises(UserError, match='no split "fliker"; did you mean "flicker"'):
        chosen_splits(renamed, ["fliker"])
    with pytest.raises(UserError, match='no split "x"; choose among train, validation, flicker'):
        chosen_splits(renamed, ["x"])
    untested = tuple(dataclasses.replace(session, repeats={}) for session in unequal.sessions)
    with pytest.raises(UserError, match='no split "test"; choose among train, validation'):
        chosen_splits(dataclasses.replace(unequal, sessions=untested), ["test"])
