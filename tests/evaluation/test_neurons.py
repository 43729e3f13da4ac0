"""The table of neurons, and test scores against plain numpy."""

import dataclasses

import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset
from openretina_jax.evaluation import neurons
from tests import tiny

TIME = tiny.TEST_LENGTH - 6
RNG = np.random.default_rng(0)
PREDICTED = RNG.random((TIME, sum(tiny.NEURONS.values()))).astype(np.float32)
PREDICTED[:, 3] = 0.5  # a constant prediction


@pytest.fixture(scope="module")
def data() -> Dataset:
    """The tiny data set; one session has a single trial, one was not shown the movie."""
    first, second, left = tiny.dataset().sessions
    single = dataclasses.replace(second, repeats={"test": second.repeats["test"][:1]})
    return dataclasses.replace(tiny.dataset(), sessions=(first, single, dataclasses.replace(left, repeats={})))


def test_table_of_neurons() -> None:
    table = neurons.neuron_table(tiny.dataset())
    assert list(table.columns) == ["session", "neuron", "cell_type", "roi_coords_0", "roi_coords_1"]
    assert table["session"].tolist() == ["right_1"] * 3 + ["right_2"] * 5 + ["left"] * 4
    assert table["neuron"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3]
    left = tiny.dataset().sessions[-1]
    np.testing.assert_array_equal(table[["roi_coords_0", "roi_coords_1"]].to_numpy()[8:], left.neurons["roi_coords"])


def test_metadata_that_only_some_sessions_have() -> None:
    first, *others = tiny.dataset().sessions
    bare = dataclasses.replace(first, neurons={})
    table = neurons.neuron_table(dataclasses.replace(tiny.dataset(), sessions=(bare, *others)))
    assert table["cell_type"].isna().tolist() == [True] * 3 + [False] * 9


def test_scores_of_every_neuron(data: Dataset) -> None:
    scores = neurons.test_scores(data, "test", PREDICTED)
    number = 0
    for session in data.sessions[:2]:
        trials = session.repeats["test"][:, -TIME:].astype(np.float64)
        for neuron in range(session.n_neurons):
            own, prediction = trials[:, :, neuron], PREDICTED[:, number].astype(np.float64)
            np.testing.assert_allclose(scores["mse"][number], np.mean((prediction - own.mean(axis=0)) ** 2))
            if number == 3:
                assert scores["correlation"][number] == scores["correlation_single_trials"][number] == 0
            else:
                correlation = np.corrcoef(prediction, own.mean(axis=0))[0, 1]
                np.testing.assert_allclose(scores["correlation"][number], correlation)
                singles = [np.corrcoef(prediction, trial)[0, 1] for trial in own]
                np.testing.assert_allclose(scores["correlation_single_trials"][number], np.mean(singles))
            number += 1


def test_reliability_needs_two_trials(data: Dataset) -> None:
    reliability = neurons.test_scores(data, "test", PREDICTED)["reliability"]
    trials = data.sessions[0].repeats["test"][:, -TIME:].astype(np.float64)
    for neuron in range(3):
        first, second, third = trials[:, :, neuron]
        pairs = [(first, second + third), (second, first + third), (third, first + second)]
        np.testing.assert_allclose(reliability[neuron], np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
    assert np.isnan(reliability[3:]).all()


def test_neurons_that_were_not_shown_the_movie(data: Dataset) -> None:
    for values in neurons.test_scores(data, "test", PREDICTED).values():
        assert np.isnan(values[8:]).all()


def test_unrecorded_frames() -> None:
    first, *others = tiny.dataset().sessions
    trials = first.repeats["test"].copy()
    trials[1, -3, 0] = np.nan  # two trials are left
    trials[:, -5, 1] = np.nan  # none is left
    trials[:, :, 2] = np.nan
    gap = dataclasses.replace(first, repeats={"test": trials})
    data = dataclasses.replace(tiny.dataset(), sessions=(gap, *others))
    scores = neurons.test_scores(data, "test", PREDICTED)
    for neuron in (0, 1):
        prediction, own = PREDICTED[:, neuron].astype(np.float64), trials[:, -TIME:, neuron].astype(np.float64)
        recorded = np.isfinite(own).any(axis=0)
        mean = np.nanmean(own[:, recorded], axis=0)
        correlation = np.corrcoef(prediction[recorded], mean)[0, 1]
        np.testing.assert_allclose(scores["correlation"][neuron], correlation)
        np.testing.assert_allclose(scores["mse"][neuron], np.square(prediction[recorded] - mean).mean())
    for values in scores.values():
        assert np.flatnonzero(np.isnan(values)).tolist() == [2]
