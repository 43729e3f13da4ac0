"""The table of neurons: who they are, and scores against plain numpy."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from openretina_jax.evaluation import tables as neurons
from openretina_jax.evaluation.predict import SessionResponses
from tests import tiny

TIME = 24
COUNTS = {"three": 3, "one": 2}  # neurons of a session with three trials, and of one with one


@pytest.fixture(scope="module")
def responses() -> list[SessionResponses]:
    """Two sessions; the first neuron's prediction is constant."""
    rng = np.random.default_rng(0)
    result = []
    for (name, count), trials in zip(COUNTS.items(), (3, 1), strict=True):
        predicted = rng.random((1, TIME, count)).astype(np.float32)
        predicted[..., 0] = 0.5
        result.append(SessionResponses(name, rng.random((trials, 1, TIME, count)).astype(np.float32), predicted))
    return result


@pytest.fixture(scope="module")
def table(responses: list[SessionResponses]) -> pd.DataFrame:
    return neurons.score_table(responses)


def test_who_neurons_are() -> None:
    table = neurons.neuron_table(tiny.dataset())
    assert list(table.columns) == ["session", "neuron", "cell_type", "roi_coords_0", "roi_coords_1"]
    assert table["session"].tolist() == ["right_1"] * 3 + ["right_2"] * 5 + ["left"] * 4
    assert table["neuron"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3]
    left = tiny.dataset().sessions[-1]
    np.testing.assert_array_equal(table[["roi_coords_0", "roi_coords_1"]].to_numpy()[8:], left.neurons["roi_coords"])


def test_metadata_that_only_some_sessions_have() -> None:
    first, *others = tiny.dataset().sessions
    bare = dataclasses.replace(first, neurons={}, metadata={"eye": "right"})
    table = neurons.neuron_table(dataclasses.replace(tiny.dataset(), sessions=(bare, *others)))
    assert table["cell_type"].isna().tolist() == [True] * 3 + [False] * 9
    assert table["eye"].isna().tolist() == [False] * 3 + [True] * 9


def test_a_row_per_neuron(table: pd.DataFrame) -> None:
    trials = [f"{name}_{k}" for k in range(3) for name in ("correlation", "mse")]
    assert list(table.columns) == ["session", "neuron", "trials", *neurons.SCORES, *trials]
    assert table[["session", "neuron", "trials"]].to_numpy().tolist() == [
        *(["three", n, 3] for n in range(3)),
        *(["one", n, 1] for n in range(2)),
    ]


def test_scores_of_every_neuron(responses: list[SessionResponses], table: pd.DataFrame) -> None:
    rows = iter(table.to_dict("records"))
    for session in responses:
        trials, prediction = session.trials.astype(np.float64), session.prediction.astype(np.float64)
        for neuron in range(trials.shape[2]):
            row, own, p = next(rows), trials[:, :, neuron], prediction[:, neuron]
            np.testing.assert_allclose(row["mse"], np.square(p - own.mean(axis=0)).mean())
            np.testing.assert_allclose([row[f"mse_{k}"] for k in range(len(own))], np.square(p - own).mean(axis=1))
            np.testing.assert_allclose(row["poisson_loss"], (p - own.mean(axis=0) * np.log(p)).mean(), rtol=1e-6)
            if neuron == 0:
                np.testing.assert_allclose([row["correlation"], row["correlation_single_trials"]], 0, atol=1e-6)
                continue
            singles = [np.corrcoef(p, trial)[0, 1] for trial in own]
            np.testing.assert_allclose(row["correlation"], np.corrcoef(p, own.mean(axis=0))[0, 1], rtol=1e-6)
            np.testing.assert_allclose([row[f"correlation_{k}"] for k in range(len(own))], singles, rtol=1e-6)
            np.testing.assert_allclose(row["correlation_single_trials"], np.mean(singles), rtol=1e-6)


def test_scores_that_need_repeats(responses: list[SessionResponses], table: pd.DataFrame) -> None:
    for neuron in range(COUNTS["three"]):
        first, second, third = responses[0].trials[:, :, neuron].astype(np.float64)
        pairs = [(first, second + third), (second, first + third), (third, first + second)]
        expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
        np.testing.assert_allclose(table["reliability"][neuron], expected, rtol=1e-6)
    need = ["reliability", "jackknife", "feve", "variance_ratio", "normalized_correlation", "max_correlation"]
    assert table.loc[table["session"] == "one", need].isna().to_numpy().all()


def test_clips_are_scored_one_by_one(responses: list[SessionResponses]) -> None:
    whole = responses[0]
    half = SessionResponses("three", whole.trials.reshape(3, 2, -1, 3), whole.prediction.reshape(2, -1, 3))
    table = neurons.score_table([half])
    mean = whole.trials.mean(axis=0)
    for neuron in (1, 2):
        parts = [np.corrcoef(mean[p, neuron], whole.prediction[p, neuron])[0, 1] for p in np.split(np.arange(TIME), 2)]
        np.testing.assert_allclose(table["correlation_clips"][neuron], np.mean(parts), rtol=1e-5)
    assert table["correlation"].tolist() == neurons.score_table([whole])["correlation"].tolist()


def test_scores_with_metadata() -> None:
    rng = np.random.default_rng(1)
    left = tiny.dataset().sessions[-1]
    only = SessionResponses("left", rng.random((3, 1, TIME, 4), np.float32), rng.random((1, TIME, 4), np.float32))
    table = neurons.with_metadata(neurons.score_table([only]), tiny.dataset())
    assert table["session"].tolist() == ["left"] * 4
    assert table["cell_type"].tolist() == left.neurons["cell_type"].tolist()
    assert neurons.cell_type_column(table) == "cell_type"
    assert neurons.cell_type_column(table.drop(columns="cell_type")) is None
