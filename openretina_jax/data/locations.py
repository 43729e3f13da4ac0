"""Where the receptive fields of neurons lie, by their spike-triggered averages (STAs)."""

import dataclasses

import numpy as np
from jaxtyping import Float

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.triggered_averages import TriggeredAverages, triggered_averages

LOCATION = "rf_location"  # of a neuron: row and column of the stimulus
_STEPS = 4  # of a pixel, to which locations are rounded, so that every host of a run finds the same


def with_locations(dataset: Dataset) -> Dataset:
    """Add the locations of receptive fields to neurons of which they are not known.

    They are the centres of the STAs of the training clips; validation clips take no part. Of neurons whose STA chance
    explains they are NaN.
    """
    if all(LOCATION in session.neurons for session in dataset.sessions):
        return dataset
    training = dataclasses.replace(
        dataset, sessions=tuple(_without_validation(dataset, session) for session in dataset.sessions)
    )
    averages = triggered_averages(training)
    sessions = tuple(
        session
        if LOCATION in session.neurons
        else dataclasses.replace(session, neurons={**session.neurons, LOCATION: _located(averages, session)})
        for session in dataset.sessions
    )
    return dataclasses.replace(dataset, sessions=sessions)


def _without_validation(dataset: Dataset, session: Session) -> Session:
    kept = np.isin(session.frame_index // dataset.clip_length, dataset.kept_for_validation(session))
    return dataclasses.replace(session, responses=np.where(kept[:, None], np.float32(np.nan), session.responses))


def _located(averages: dict[str, TriggeredAverages], session: Session) -> Float[np.ndarray, "neuron 2"]:
    found = averages[session.name]
    rounded = np.round(centres(found, session) * _STEPS) / _STEPS
    return np.where(found.significant[:, None], rounded, np.nan)


def centres(averages: TriggeredAverages, session: Session) -> Float[np.ndarray, "neuron 2"]:
    """Compute the centres of mass of the STAs of a session, in pixels of the movie as the session saw it."""
    return centres_of_mass(power_maps(averages, session), averages.whitening.square)


def power_maps(averages: TriggeredAverages, session: Session) -> Float[np.ndarray, "neuron height width"]:
    """Compute the power of the STAs, in space as the session saw the movie."""
    maps = np.square(averages.weights.reshape(-1, *averages.size)).sum(axis=-1)
    return maps[:, :, ::-1] if session.mirrored else maps


def centres_of_mass(maps: Float[np.ndarray, "neuron height width"], square: int) -> Float[np.ndarray, "neuron 2"]:
    """Compute centres of mass, as rows and columns of the pixels of the movie.

    Args:
        maps: one of each neuron, averaged over squares of pixels.
        square: side of the squares in pixels.
    """
    total = np.maximum(maps.sum(axis=(1, 2)), 1e-12)
    row = (maps.sum(axis=2) @ np.arange(maps.shape[1])) / total
    column = (maps.sum(axis=1) @ np.arange(maps.shape[2])) / total
    return (np.stack([row, column], axis=1) + 0.5) * square - 0.5
