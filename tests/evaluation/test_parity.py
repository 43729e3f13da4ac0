"""The table of neurons and its summary against those of the reference's own evaluation, column by column."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.evaluation.tables import SummaryOptions, score_table, summarize, with_metadata

FOLDER = Path(__file__).parent.parent / "goldens" / "evaluation"
SESSIONS = ("first", "second")
LAG, CLIPS, TRIALS = 6, 2, 3

# what the reference's columns are called here
COLUMNS = {
    "session": "session",
    "neuron_relative_idx": "neuron",
    "poisson_loss_to_average": "poisson_loss",
    "corr_to_average": "correlation",
    "mse_to_average": "mse",
    "feve": "feve",
    "jackknife": "jackknife",
    "var_ratio": "variance_ratio",
    **{f"corr_{k}": f"correlation_{k}" for k in range(TRIALS)},
    **{f"mse_{k}": f"mse_{k}" for k in range(TRIALS)},
    "group_assignment": "cell_type",
    "eye": "eye",
}
SUMMARY = {
    "corr_to_avg_mean": "correlation",
    "mse_to_avg_mean": "mse",
    "feve_mean": "feve",
    "fev_mean": "variance_ratio",
    "poisson_loss_mean": "poisson_loss",
    "jackknife_mean": "jackknife",
}


def responses(clips: int) -> list[SessionResponses]:
    """What went into the reference, cut into clips."""
    result = []
    with np.load(FOLDER / "responses.npz") as arrays:
        for session in SESSIONS:
            trials, predicted = arrays[f"{session}/trials"], arrays[f"{session}/predicted"]
            recorded = trials if clips == 1 else trials.mean(axis=0, keepdims=True)
            recorded = recorded.reshape(len(recorded), clips, -1, recorded.shape[-1])[:, :, LAG:]
            result.append(SessionResponses(session, recorded, predicted.reshape(clips, -1, trials.shape[-1])[:, LAG:]))
    return result


@pytest.fixture(scope="module")
def data() -> Dataset:
    """The sessions with their metadata."""
    sessions = []
    with np.load(FOLDER / "responses.npz") as arrays:
        for name in SESSIONS:
            trials = arrays[f"{name}/trials"]
            sessions.append(
                Session(
                    name=name,
                    stimulus="train",
                    responses=trials[0],
                    frame_index=np.arange(trials.shape[1], dtype=np.int32),
                    repeats={},
                    neurons={"cell_type": arrays[f"{name}/cell_type"]},
                    metadata={"eye": "right"},
                )
            )
    movie = Stimulus("train", np.zeros((trials.shape[1], 2, 2, 1), np.float32), 30.0)
    return Dataset({"train": movie}, tuple(sessions), clip_length=trials.shape[1], validation_clips={})


def test_table_of_a_test_movie(data: Dataset) -> None:
    expected = pd.read_csv(FOLDER / "test.csv", index_col=0)
    table = with_metadata(score_table(responses(1)), data)
    assert set(expected.columns) == {*COLUMNS, "data_split"}
    for theirs, ours in COLUMNS.items():
        if expected[theirs].dtype.kind == "f":
            np.testing.assert_allclose(table[ours], expected[theirs], rtol=2e-5, atol=1e-6, err_msg=ours)
        else:
            assert table[ours].tolist() == expected[theirs].tolist()


def test_summary_of_a_test_movie() -> None:
    expected = json.loads((FOLDER / "test.json").read_text())
    given = responses(1)
    summary = summarize("test", given, score_table(given), SummaryOptions(resamples=10))
    counts = (summary.neurons, summary.kept, *summary.trials)
    names = ("n_neurons_total", "n_neurons_filtered", *(f"n_test_repeats_{n}" for n in ("min", "max", "avg")))
    assert counts == tuple(expected[name] for name in names)
    for theirs, ours in SUMMARY.items():
        np.testing.assert_allclose(summary.scores["mean"][ours], expected[theirs], rtol=1e-5, err_msg=ours)
    for theirs, ours in (("corr", "correlation"), ("mse", "mse")):
        both = [expected[f"{theirs}_by_trial_{name}"] for name in ("mean", "std")]
        np.testing.assert_allclose(summary.by_trial[ours], both, rtol=1e-5)


def test_validation_clips_are_aligned_one_by_one() -> None:
    """The reference drops the lag of all clips from the first ones: its predictions belong to other frames."""
    expected = pd.read_csv(FOLDER / "validation.csv", index_col=0)
    given = responses(CLIPS)
    table = score_table(given)
    assert table["correlation"].mean() > 1.5 * expected["corr_to_average"].mean()
    for one, (_, theirs) in zip(given, expected.groupby("session"), strict=True):
        whole = np.load(FOLDER / "responses.npz")[f"{one.session}/trials"].mean(axis=0)
        shifted = SessionResponses(one.session, whole[None, None, CLIPS * LAG :], one.prediction[None])
        np.testing.assert_allclose(score_table([shifted])["correlation"], theirs["corr_to_average"], rtol=1e-5)
