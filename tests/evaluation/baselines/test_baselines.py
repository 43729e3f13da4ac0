"""Baselines of whole data sets: each model wins where it is right, and every neuron gets its own predictions."""

import dataclasses

import numpy as np
import pytest

import openretina_jax
from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.evaluation.baselines.baselines import Baselines, counts, default_frames, fit_baselines
from openretina_jax.evaluation.baselines.group import parts_of
from openretina_jax.evaluation.evaluate import Evaluation, evaluation_of
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.evaluation.tables import SummaryOptions
from tests import energy, tiny
from tests.energy import COMPLEX, REFRACTORY, SIMPLE

OPTIONS = SummaryOptions(resamples=20)


@pytest.fixture(scope="module")
def bars() -> Baselines:
    return fit_baselines(energy.dataset(), frames=energy.FRAMES, options=OPTIONS)


@pytest.mark.slow
def test_each_model_wins_where_it_is_right(bars: Baselines) -> None:
    assert list(bars.evaluations) == ["STA-LN", "GLM", "GLM with history", "quadratic GLM"]
    bits = {name: one.of_split("test")["bits_per_spike"] for name, one in bars.evaluations.items()}
    correlation = {name: one.of_split("test")["correlation"] for name, one in bars.evaluations.items()}
    truth = energy.rates(np.asarray(energy.dataset().stimuli["test"].frames[:, 0, :, 0]))[energy.FRAMES - 1 :]
    recorded = energy.dataset().sessions[0].repeats["test"][0, energy.FRAMES - 1 :]
    highest, best = (np.corrcoef(truth[:, one], recorded[:, one])[0, 1] for one in (COMPLEX, SIMPLE))
    assert correlation["quadratic GLM"][COMPLEX] > 0.8 * highest
    assert max(correlation["GLM"][COMPLEX], correlation["STA-LN"][COMPLEX]) < 0.2 * highest
    for name in ("STA-LN", "GLM", "quadratic GLM"):
        assert best - 0.05 < correlation[name][SIMPLE] < best + 0.02, name
    assert bits["GLM with history"][REFRACTORY] > bits["GLM"][REFRACTORY] + 0.1
    assert abs(bits["GLM with history"][SIMPLE] - bits["GLM"][SIMPLE]) < 0.02


@pytest.mark.parametrize(
    ("members", "widest", "expected"),
    [([4, 7], 3, [[4, 7, 4]]), ([1, 2, 3], 3, [[1, 2, 3]]), (range(40), 40, [range(32), [*range(32, 40), *range(24)]])],
)
def test_equally_many_neurons_of_every_window_are_fitted_at_once(members, widest, expected) -> None:
    found = parts_of(np.array(members), widest)
    assert [part.tolist() for part in found] == [list(part) for part in expected]


@pytest.mark.slow
def test_neurons_of_all_sessions_get_their_own_predictions() -> None:
    """Neurons of sessions that saw clips in other orders, and mirrored, follow one pixel each: all are predicted."""
    told = []
    found = openretina_jax.baselines(
        tiny.dataset(),
        ["train", "validation", "test"],
        frames=7,
        options=OPTIONS,
        progress=lambda *one: told.append(one),
    )
    table = found.neurons()
    assert set(table["split"]) == {"train", "validation", "test"}
    linear = table[(table["model"] == "GLM") & (table["split"] == "test")]
    assert linear["session"].value_counts().to_dict() == tiny.NEURONS
    for _, part in table[table["model"] == "STA-LN"].groupby("session"):
        assert (part[part["split"] == "validation"]["correlation"] > 0.3).mean() > 0.5
    assert [done == total for _, done, total in told].count(True) == 2  # both movies: as it is, and mirrored
    with pytest.raises(UserError, match="was not evaluated"):
        found.evaluations["GLM"].to_xarray("tset")


@pytest.mark.slow
def test_responses_that_are_negative_have_the_squared_error() -> None:
    recorded = energy.dataset(3000, 600)

    def shifted(session):
        tests = {name: trials - 1 for name, trials in session.repeats.items()}
        return dataclasses.replace(session, responses=session.responses - 1, repeats=tests)

    moved = dataclasses.replace(recorded, sessions=tuple(map(shifted, recorded.sessions)))
    found = fit_baselines(moved, frames=4, options=OPTIONS)
    assert (found.link, found.score) == ("identity", "fev")
    assert list(found.evaluations) == ["STA-LN", "GLM", "quadratic GLM"]
    assert (found.table("test")["fev"] > 0.05).all()
    assert found.table("test")["bits_per_spike"].isna().all()


@pytest.mark.slow
def test_spike_history_is_that_of_the_trials_that_were_recorded() -> None:
    recorded = energy.dataset(3000, 600)
    (session,) = recorded.sessions
    trial = session.repeats["test"]
    found = {}
    for name, trials in {"one": trial, "lacks one": np.concatenate([trial, trial * np.nan])}.items():
        data = dataclasses.replace(recorded, sessions=(dataclasses.replace(session, repeats={"test": trials}),))
        evaluation = fit_baselines(data, frames=4, options=OPTIONS).evaluations["GLM with history"]
        found[name] = evaluation.responses["test"][0].predicted
    np.testing.assert_allclose(found["lacks one"], found["one"], rtol=1e-5)
    assert np.isfinite(found["one"]).all()
    means = np.stack([trial[0], np.zeros_like(trial[0])]).mean(axis=0)
    assert (counts(trial[0]), counts(means), counts(-trial[0])) == (True, False, False)


def without_validation(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, validation_clips={})


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (tiny.dataset(), {"frames": 0}, "frames is 0"),
        (tiny.dataset(), {"frames": 25}, "clip of .* has 24 frames"),
        (tiny.dataset(), {"splits": ["tset"]}, 'no split "tset"'),
        (without_validation(tiny.dataset()), {}, "validation_clips is empty"),
    ],
)
def test_mistakes_are_told_before_anything_is_fitted(dataset, options, message) -> None:
    with pytest.raises(UserError, match=message):
        fit_baselines(dataset, **options)


def test_memory_follows_the_frame_rate() -> None:
    assert default_frames(energy.dataset()) == 30
    assert default_frames(tiny.dataset()) == 8


def scored(name: str, noise: list[float], seed: int = 0) -> Evaluation:
    """A model whose predictions of three neurons are so noisy."""
    rng = np.random.default_rng(seed)
    dataset = energy.dataset()
    recorded = dataset.sessions[0].repeats["test"][:, None]
    rate = np.maximum(recorded[0] + 1 + noise * rng.random(recorded.shape[2:]), 0).astype(np.float32)
    return evaluation_of(name, 0, {"test": [SessionResponses("bars", recorded, rate)]}, dataset, OPTIONS)


def test_a_network_is_compared_with_the_best_baseline_of_each_neuron() -> None:
    found = Baselines(
        {
            "STA-LN": scored("STA-LN", [1, 9, 9]),
            "GLM": scored("GLM", [9, 1, 9]),
            "GLM with history": scored("GLM with history", [0, 0, 0]),
        },
        "softplus",
        1,
    )
    network = scored("ours", [0.5, 0.5, 0.5])
    assert found.against(network, "test") == (
        "test: ours wins for 3 of 3 neurons against the best baseline of each (bits per spike)"
    )
    assert "wins for 1 of 3" in found.against(scored("worse", [2, 2, 2]), "test")
    negative = scored("negative", [-50, 0.5, 0.5])
    assert "wins for 2 of 3" in found.against(
        dataclasses.replace(negative, neurons=negative.neurons.assign(bits_per_spike=[np.nan, 9, 9])), "test"
    )
    lines = found.lines(["test"], [network])
    assert lines[0].startswith("test: means over all 3 neurons; baselines see 1 frame, Poisson loss")
    assert [line.split("  ")[0] for line in lines[2:6]] == ["ours", "STA-LN", "GLM", "GLM with history"]
    assert list(found.neurons(network)["model"].unique()) == ["ours", "STA-LN", "GLM", "GLM with history"]
