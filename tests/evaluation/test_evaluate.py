"""All scores of a model in one call, and models that do not belong to the data."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.errors import UserError
from openretina_jax.evaluation.evaluate import Evaluation, Evaluator, check_fits, with_sessions_first
from openretina_jax.evaluation.tables import SCORES, SummaryOptions
from openretina_jax.models.build import make_model
from openretina_jax.models.ensemble import Ensemble
from tests import tiny


def evaluate(data: Dataset) -> Evaluation:
    """The evaluation of the tiny model on its test movie."""
    return Evaluator(data)("tiny", tiny.model(), ["test"], SummaryOptions(resamples=20))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(tiny.dataset())


def test_evaluation_of_a_model(evaluation: Evaluation) -> None:
    assert (evaluation.name, evaluation.lag) == ("tiny", tiny.model().lag)
    test = evaluation.of_split("test")
    assert len(test) == tiny.dataset().n_neurons
    assert list(test.columns[:4]) == ["session", "neuron", "split", "trials"]
    assert {*SCORES, "cell_type", "roi_coords_1", "mse_2"} <= {*test.columns}
    assert [one.session for one in evaluation.responses["test"]] == ["right_1", "right_2", "left"]
    assert evaluation.summaries["test"].scores["mean_of_all"]["mse"] == pytest.approx(test["mse"].mean())


def test_labelled_axes(evaluation: Evaluation) -> None:
    labelled, table = evaluation.to_xarray("test"), evaluation.of_split("test")
    assert dict(labelled.sizes) == {"trial": 3, "clip": 1, "time": 30 - evaluation.lag, "neuron": len(table)}
    assert labelled["time"].to_numpy().tolist() == list(range(evaluation.lag, 30))
    left = labelled.sel(neuron=labelled["session"] == "left")
    np.testing.assert_array_equal(left["recorded"], evaluation.responses["test"][2].recorded)
    np.testing.assert_array_equal(left["predicted"], evaluation.responses["test"][2].predicted)
    np.testing.assert_array_equal(left["feve"], table["feve"][table["session"] == "left"])
    assert "cell_type" in labelled.coords
    with pytest.raises(UserError, match='"tset" was not evaluated; did you mean "test"'):
        evaluation.to_xarray("tset")


def with_sessions(change: Callable[[tuple[Session, ...]], tuple[Session, ...]]) -> Dataset:
    return dataclasses.replace(tiny.dataset(), sessions=change(tiny.dataset().sessions))


def renamed(sessions: tuple[Session, ...]) -> tuple[Session, ...]:
    return (dataclasses.replace(sessions[0], name="other"), *sessions[1:])


def fewer_neurons(sessions: tuple[Session, ...]) -> tuple[Session, ...]:
    first, *others = sessions
    repeats = {name: trials[..., :2] for name, trials in first.repeats.items()}
    return (dataclasses.replace(first, responses=first.responses[:, :2], repeats=repeats, neurons={}), *others)


@pytest.mark.slow
def test_some_sessions_of_a_model_suffice_in_any_order(evaluation: Evaluation) -> None:
    every = evaluation.of_split("test")
    some = evaluate(with_sessions(lambda sessions: sessions[1:])).of_split("test")
    wanted = every[every["session"] != "right_1"].reset_index(drop=True)
    np.testing.assert_allclose(some["correlation"], wanted["correlation"], rtol=1e-5)
    assert some["session"].tolist() == wanted["session"].tolist()


def test_an_ensemble_has_its_sessions_in_the_order_of_the_data() -> None:
    ensemble = Ensemble([tiny.model(), tiny.model(1)])
    assert with_sessions_first(ensemble, tiny.dataset()) is ensemble
    with pytest.raises(UserError, match="the sessions of the data are not the first ones of the model, in its order"):
        with_sessions_first(ensemble, with_sessions(lambda sessions: sessions[1:]))


def test_clips_too_short_for_the_model() -> None:
    core = tiny.MODEL["core"] | {"temporal_kernel_sizes": (tiny.CLIP_LENGTH + 1,)}
    model = make_model(tiny.MODEL | {"core": core}, tiny.dataset().info)
    with pytest.raises(UserError, match=r'a clip of "validation" has 24 frames, but the model needs 24 before'):
        Evaluator(tiny.dataset())("tiny", model, ["test", "validation"], SummaryOptions())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "the model does not know 1 of 3 sessions of the data, such as other; it has right_1, right_2, left"),
        (fewer_neurons, r"1 sessions have other numbers of neurons than in the model, such as right_1 \(2, not 3\)"),
    ],
    ids=["names", "neurons"],
)
def test_a_model_of_other_sessions(change: Callable[[tuple[Session, ...]], tuple[Session, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_fits(tiny.model(), with_sessions(change))
