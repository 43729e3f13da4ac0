"""Paired differences of models on the same neurons."""

import dataclasses
import os

import numpy as np
import pytest
from scipy.stats import wilcoxon

from openretina_jax.errors import UserError
from openretina_jax.evaluation.compare import COMPARED, compare, distinct_names, holm, lines
from openretina_jax.evaluation.evaluate import Evaluation
from openretina_jax.evaluation.tables import SummaryOptions, score_table
from tests.evaluation.simulated import responses

OPTIONS = SummaryOptions(min_variance_ratio=0.2, resamples=300)


def evaluation(name: str, noise: float) -> Evaluation:
    """A model that is the worse the noisier."""
    rng = np.random.default_rng(int(100 * noise))
    given = [
        dataclasses.replace(
            one, predicted=one.predicted * np.exp(noise * rng.standard_normal(one.predicted.shape, np.float32))
        )
        for one in responses(noise=0.7)
    ]
    return Evaluation(name, 0, {"movie": given}, score_table(given).assign(split="movie"), {})


@pytest.fixture(scope="module")
def models() -> list[Evaluation]:
    return [evaluation("good", 0.0), evaluation("worse", 0.3), evaluation("worst", 1.0)]


def test_differences_of_all_pairs(models: list[Evaluation]) -> None:
    differences = compare(models, "movie", OPTIONS)
    assert differences["score"].tolist() == [score for score in COMPARED for _ in range(3)]
    good, worst = (model.neurons for model in (models[0], models[2]))
    kept = good["variance_ratio"] >= 0.2
    row = differences[(differences["score"] == "correlation") & (differences["second"] == "worst")].iloc[0]
    expected = (good["correlation"] - worst["correlation"])[kept]
    assert (row["first"], row["n"]) == ("good", kept.sum())
    assert row["difference"] == pytest.approx(expected.mean())
    assert row["low"] < row["difference"] < row["high"]
    assert row["sessions_low"] < row["difference"] < row["sessions_high"]
    assert row["p"] == pytest.approx(wilcoxon(expected).pvalue)
    assert row["p"] <= row["p_holm"] < 0.01
    assert row["share_higher"] == (expected > 0).mean()


def test_a_model_does_not_differ_from_itself(models: list[Evaluation]) -> None:
    twin = dataclasses.replace(models[0], name="twin")
    row = compare([models[0], twin], "movie", OPTIONS).iloc[0]
    assert row[["difference", "low", "high", "p", "p_holm"]].tolist() == [0, 0, 0, 1, 1]
    (line,) = lines(compare([models[0], twin], "movie", OPTIONS))
    assert line.startswith("good - twin: correlation +0.0000 [+0.0000, +0.0000], higher in 0 % of ")


def test_no_neuron_to_compare(models: list[Evaluation]) -> None:
    differences = compare(models[:2], "movie", SummaryOptions(0.999, 10))
    assert (differences["n"] == 0).all()
    assert differences[["difference", "p", "p_holm"]].isna().to_numpy().all()


def test_correction_for_several_tests() -> None:
    """The example of Holm's method: p times the number of hypotheses left, never lower than the one before."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1, np.nan, 1])


def test_names_of_models() -> None:
    assert distinct_names(["runs/a", "runs/b/"]) == ["a", "b"]
    assert distinct_names(["one/checkpoints/3", "two/checkpoints/3"]) == ["one/checkpoints/3", "two/checkpoints/3"]
    assert distinct_names([os.fsdecode(b"runs/a\xe9")]) == ["a\N{REPLACEMENT CHARACTER}"]
    with pytest.raises(UserError, match="runs/a is given twice"):
        distinct_names(["runs/a", "runs/b", "runs/a/"])
