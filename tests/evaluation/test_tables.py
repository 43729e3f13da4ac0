"""Tables of neurons against plain numpy; summaries, as numbers, JSON and text."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from openretina_jax.data.arrays import ArrayRecording, from_arrays
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.evaluation.tables import (
    SCORES,
    Summary,
    SummaryOptions,
    cell_type_column,
    headline,
    neuron_table,
    opening_lines,
    score_lines,
    score_rows,
    score_table,
    summarize,
    with_metadata,
)
from tests import tiny
from tests.evaluation import simulated

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
    return score_table(responses)


def test_who_neurons_are() -> None:
    table = neuron_table(tiny.dataset())
    assert list(table.columns) == ["session", "neuron", "cell_type", "roi_coords_0", "roi_coords_1"]
    assert table["session"].tolist() == ["right_1"] * 3 + ["right_2"] * 5 + ["left"] * 4
    assert table["neuron"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3]
    left = tiny.dataset().sessions[-1]
    np.testing.assert_array_equal(table[["roi_coords_0", "roi_coords_1"]].to_numpy()[8:], left.neurons["roi_coords"])


def test_metadata_that_only_some_sessions_have() -> None:
    first, *others = tiny.dataset().sessions
    bare = dataclasses.replace(first, neurons={}, metadata={"eye": "right"})
    table = neuron_table(dataclasses.replace(tiny.dataset(), sessions=(bare, *others)))
    assert table["cell_type"].isna().tolist() == [True] * 3 + [False] * 9
    assert table["eye"].isna().tolist() == [False] * 3 + [True] * 9


def test_a_row_per_neuron(table: pd.DataFrame) -> None:
    trials = [f"{name}_{k}" for k in range(3) for name in ("correlation", "mse")]
    assert list(table.columns) == ["session", "neuron", "trials", *SCORES, *trials]
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
    table = score_table([half])
    mean = whole.trials.mean(axis=0)
    for neuron in (1, 2):
        parts = [np.corrcoef(mean[p, neuron], whole.prediction[p, neuron])[0, 1] for p in np.split(np.arange(TIME), 2)]
        np.testing.assert_allclose(table["correlation_clips"][neuron], np.mean(parts), rtol=1e-5)
    assert table["correlation"].tolist() == score_table([whole])["correlation"].tolist()


def test_scores_with_metadata() -> None:
    rng = np.random.default_rng(1)
    left = tiny.dataset().sessions[-1]
    only = SessionResponses("left", rng.random((3, 1, TIME, 4), np.float32), rng.random((1, TIME, 4), np.float32))
    table = with_metadata(score_table([only]), tiny.dataset())
    assert table["session"].tolist() == ["left"] * 4
    assert table["cell_type"].tolist() == left.neurons["cell_type"].tolist()
    assert cell_type_column(table) == "cell_type"
    assert cell_type_column(table.drop(columns="cell_type")) is None


OPTIONS = SummaryOptions(min_variance_ratio=0.3, resamples=200)


def summary(given: list[SessionResponses], options: SummaryOptions = OPTIONS, **columns: list[str]) -> Summary:
    return summarize("movie", given, score_table(given).assign(**columns), options)


@pytest.fixture(scope="module")
def usual() -> Summary:
    given = simulated.responses(noise=0.7)
    given[0] = dataclasses.replace(given[0], recorded=given[0].recorded[:3])
    return summary(given, cell_type=["a", "b"] * 12)


def test_neurons_that_answer_reliably(usual: Summary) -> None:
    given = simulated.responses(noise=0.7)
    given[0] = dataclasses.replace(given[0], recorded=given[0].recorded[:3])
    table = score_table(given)
    kept = table[table["variance_ratio"] >= 0.3]
    assert 0 < len(kept) < len(table)
    assert (usual.sessions, usual.neurons, usual.kept) == (3, 24, len(kept))
    assert usual.trials == (3, 4, pytest.approx(11 / 3))
    assert usual.notes == ()
    for name in SCORES.keys() - simulated.OF_COUNTS:
        row = usual.scores.loc[name]
        np.testing.assert_allclose(row[["mean", "median"]].to_numpy(float), [kept[name].mean(), kept[name].median()])
        np.testing.assert_allclose(row["mean_of_all"], table[name].mean())
        for unit in ("neurons", "sessions", "trials"):
            if (name, unit) != ("correlation_clips", "trials"):
                assert row[f"{unit}_low"] < row["mean"] < row[f"{unit}_high"], (name, unit)


def test_types_of_neurons(usual: Summary) -> None:
    assert usual.by_cell_type is not None
    assert usual.by_cell_type["cell_type"].tolist() == ["a", "b"]
    assert usual.by_cell_type["n"].sum() == usual.kept
    assert (usual.by_cell_type["low"] < usual.by_cell_type["high"]).all()
    assert summary(simulated.responses()).by_cell_type is None


def test_json(usual: Summary) -> None:
    values = json.loads(json.dumps(usual.to_json(), allow_nan=False))
    correlation = values["scores"]["correlation"]
    assert correlation["mean"] == usual.scores["mean"]["correlation"]
    assert (
        correlation["interval_over_sessions"]
        == usual.scores.loc["correlation", ["sessions_low", "sessions_high"]].tolist()
    )
    assert values["scores"]["correlation_clips"]["interval_over_trials"] == [None, None]
    assert values["by_trial"]["mse"]["mean"] == usual.by_trial["mse"][0]
    assert values["by_cell_type"][0]["cell_type"] == "a"


def test_a_movie_that_was_shown_once() -> None:
    once = summary(simulated.responses(2, trials=1))
    (note,) = once.notes
    assert note == "movie was shown once: no explainable variance, FEVe or CCnorm, and all neurons are kept"
    assert (once.kept, once.min_variance_ratio) == (16, None)
    assert np.isnan(once.scores["mean"]["feve"])
    assert "feve" not in [name for name, *_ in score_rows(once)]
    assert "16 neurons of 2 sessions, shown once" in opening_lines(once)[0]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"recorded": 0}, "3 neurons have no responses to movie, and no scores"),
        ({"predicted": 0}, "3 neurons have predictions that are not finite, and no scores"),
    ],
    ids=["responses", "predictions"],
)
def test_neurons_without_scores(change: dict[str, int], note: str) -> None:
    given = simulated.responses()
    for name in change:
        values = getattr(given[1], name).copy()
        values[..., :3] = np.nan
        given[1] = dataclasses.replace(given[1], **{name: values})
    assert summary(given, SummaryOptions(0.0, 10)).notes == (note,)


def test_no_neuron_is_reliable() -> None:
    strict = summary(simulated.responses(), SummaryOptions(0.999, 10))
    assert strict.kept == 0
    assert strict.notes == ("no neuron has a variance ratio above the limit on movie; lower --min_variance_ratio",)
    assert score_rows(strict) == []
    json.dumps(strict.to_json(), allow_nan=False)


def test_printed_scores(usual: Summary) -> None:
    header, *rows = score_lines(usual)
    assert header.split("  ")[0] == "score"
    assert len({line.index(f"{usual.scores['mean'][line.split()[0]]:.4f}") + 6 for line in rows}) <= 2
    assert opening_lines(usual)[0].endswith("24 neurons of 3 sessions, 3 to 4 trials (3.7 on average)")
    assert opening_lines(usual)[1].startswith(
        f"scores of the {usual.kept} neurons with a variance ratio of at least 0.3"
    )


def test_headline() -> None:
    assert headline("test", np.array([0.5, np.nan, 0.25]), 2) == "test correlation 0.3750 (2 neurons, 2 sessions)"
    assert headline("test", np.array([np.nan]), 1) == "test correlation nan (0 neurons, 1 session)"


def test_units_keep_their_names() -> None:
    rng = np.random.default_rng(0)
    recording = ArrayRecording(rng.random((40, 3, 3)), rng.random((40, 2)), neurons={"unit": [17, 4]})
    dataset = from_arrays({"retina": recording}, frame_rate_hz=10.0)
    scores = pd.DataFrame({"session": ["retina"] * 2, "neuron": [1, 0]})
    assert with_metadata(scores, dataset)["unit"].tolist() == [4, 17]
