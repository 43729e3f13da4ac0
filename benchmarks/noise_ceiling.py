"""The score that a perfect model would have on simulated recordings: that of their responses without noise."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.evaluation.splits import SessionResponses, paired_responses, split_timelines
from openretina_jax.evaluation.tables import score_table
from openretina_jax.experiment.data import make_dataset

IDENTITY = "roi_id"  # of neurons that a quality check may leave out of one simulation and not of the other


def noise_ceiling(
    data: Mapping[str, Any], dataset: Dataset, splits: Sequence[str], lag: int, cache: Path
) -> dict[str, pd.DataFrame]:
    """Score responses without noise as if a model had predicted them.

    The same retinas are simulated once more without noise, and read by the same loader, so that smoothing, imaging and
    the choice of clips are those of the recordings.

    Args:
        data: ``config.data`` of simulated recordings.
        dataset: the recordings.
        splits: "train", "validation" or names of test movies.
        lag: first frames of a clip that are not scored.
        cache: folder of simulated files.

    Returns:
        By split the table of ``tables.score_table``, a row per neuron.

    Raises:
        UserError: the data are not simulated.
    """
    if not data.get("simulated", {}).get("enabled"):
        raise UserError("the noise ceiling is known of simulated recordings alone; add the word simulated")
    truth = make_dataset({**data, "simulated": {**data["simulated"], "noise": 0}}, cache)
    tables, tables_of_truth, columns = Tables(dataset), Tables(truth), matched_neurons(dataset, truth)
    ceiling = {}
    for split in splits:
        expected = {one.session: one.recorded.mean(axis=0) for one in recorded(split, tables_of_truth, lag)}
        perfect = [
            dataclasses.replace(one, predicted=expected[one.session][..., columns[one.session]])
            for one in recorded(split, tables, lag)
        ]
        ceiling[split] = score_table(perfect)
    return ceiling


def recorded(split: str, tables: Tables, lag: int) -> list[SessionResponses]:
    """The responses of every session to a split, from the first frame on that a model with this lag predicts."""
    timelines = split_timelines(split, tables)
    nothing = [
        np.zeros((len(one) // one.clip_length, one.clip_length - lag, one.n_neurons), np.float32) for one in timelines
    ]
    return paired_responses(split, tables, timelines, nothing)


def matched_neurons(dataset: Dataset, truth: Dataset) -> dict[str, np.ndarray]:
    """Places of the recorded neurons among those without noise, by session."""
    of_truth = {session.name: session for session in truth.sessions}
    return {session.name: _places(session, of_truth[session.name]) for session in dataset.sessions}


def _places(session: Session, truth: Session) -> np.ndarray:
    if IDENTITY not in session.neurons:
        assert session.n_neurons == truth.n_neurons, session.name
        return np.arange(session.n_neurons)
    place_of = {identity: place for place, identity in enumerate(truth.neurons[IDENTITY].tolist())}
    return np.array([place_of[identity] for identity in session.neurons[IDENTITY].tolist()])
