"""Summaries: which neurons count, what is said of them, and how it looks in JSON and in a terminal."""

import dataclasses
import json

import numpy as np
import pytest

from openretina_jax.evaluation.predict import SessionResponses
from openretina_jax.evaluation.tables import (
    SCORES,
    Summary,
    SummaryOptions,
    headline,
    opening_lines,
    score_lines,
    score_rows,
    score_table,
    summarize,
)
from tests.evaluation.simulated import responses

OPTIONS = SummaryOptions(min_variance_ratio=0.3, resamples=200)


def summary(given: list[SessionResponses], options: SummaryOptions = OPTIONS, **columns: list[str]) -> Summary:
    return summarize("movie", given, score_table(given).assign(**columns), options)


@pytest.fixture(scope="module")
def usual() -> Summary:
    given = responses(noise=0.7)
    given[0] = dataclasses.replace(given[0], recorded=given[0].recorded[:3])
    return summary(given, cell_type=["a", "b"] * 12)


def test_neurons_that_answer_reliably(usual: Summary) -> None:
    given = responses(noise=0.7)
    given[0] = dataclasses.replace(given[0], recorded=given[0].recorded[:3])
    table = score_table(given)
    kept = table[table["variance_ratio"] >= 0.3]
    assert 0 < len(kept) < len(table)
    assert (usual.sessions, usual.neurons, usual.kept) == (3, 24, len(kept))
    assert usual.trials == (3, 4, pytest.approx(11 / 3))
    assert usual.notes == ()
    for name in SCORES:
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
    assert summary(responses()).by_cell_type is None


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
    once = summary(responses(2, trials=1))
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
    given = responses()
    for name in change:
        values = getattr(given[1], name).copy()
        values[..., :3] = np.nan
        given[1] = dataclasses.replace(given[1], **{name: values})
    assert summary(given, SummaryOptions(0.0, 10)).notes == (note,)


def test_no_neuron_is_reliable() -> None:
    strict = summary(responses(), SummaryOptions(0.999, 10))
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
    assert headline("test", np.array([np.nan]), 1) == "test correlation nan (0 neurons, 1 sessions)"
