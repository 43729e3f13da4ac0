"""Recordings of neurons whose receptive fields move over the screen with the eye, and the traces of the eye."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from openretina_jax.data import ArrayRecording, ArrayTest

SIDE, MARGIN, REACH = 18, 5, 3.0  # pixels: of the screen, around receptive fields, of eye movements
FIXATION = (20, 60)  # frames
KERNEL = np.array([1.0, 0.6, 0.2, -0.3, -0.2])  # weights of the newest frames
RF_SD_PX = 1.0


class Recorded(NamedTuple):
    """A recording with its behaviour, and the true position of the eye.

    Attributes:
        recording: two channels of behaviour, in units of the tracker.
        eye: ``(time, 2)`` true shift along height and width, in pixels, during the training movie.
        test_eye: the same in every trial of the test, ``(trial, time, 2)``.
    """

    recording: ArrayRecording
    eye: np.ndarray
    test_eye: np.ndarray


def recorded(seed: int, *, neurons: int = 12, frames: int = 6000, test_frames: int = 300, trials: int = 8) -> Recorded:
    """Simulate a recording; a tracker of its own tells where the eye was, turned, scaled and with an offset."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(MARGIN, SIDE - 1 - MARGIN, (neurons, 2))
    signs = rng.choice([-1.0, 1.0], neurons)
    turn = rng.uniform(0, 2 * np.pi)
    tracker = rng.uniform(0.3, 3) * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    def responses(movie: np.ndarray, eye: np.ndarray) -> np.ndarray:
        light = gaussian_filter(movie, (0, RF_SD_PX, RF_SD_PX))
        at = centres[None] + eye[:, None]  # (time, neuron, 2)
        time = np.broadcast_to(np.arange(len(movie))[:, None], at.shape[:2])
        seen = map_coordinates(light, [time, at[..., 0], at[..., 1]], order=1, mode="nearest")
        seen = seen / seen.std()
        drive = sum(w * np.roll(seen, lag, axis=0) for lag, w in enumerate(KERNEL))
        return rng.poisson(np.logaddexp(0, 2 * signs * drive - 1)).astype(np.float32)

    def behaviour(eye: np.ndarray) -> np.ndarray:
        return eye @ tracker + rng.normal(0, 0.05, eye.shape) + [5.0, -2.0]

    movie, test_movie = _movie(rng, frames), _movie(rng, test_frames)
    eye, test_eye = _eye(rng, frames), np.stack([_eye(rng, test_frames) for _ in range(trials)])
    repeats = np.stack([responses(test_movie, one) for one in test_eye])
    test = ArrayTest(test_movie, repeats, "trial time neuron", behaviour(test_eye))
    recording = ArrayRecording(movie, responses(movie, eye), {"test": test}, behaviour=behaviour(eye))
    return Recorded(recording, eye, test_eye)


def _movie(rng: np.random.Generator, frames: int) -> np.ndarray:
    noise = gaussian_filter(rng.standard_normal((frames, SIDE, SIDE)), (0.7, 0.8, 0.8))
    return (noise / noise.std()).astype(np.float32)


def _eye(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Fixations at random places, with a saccade between two of them."""
    lengths = rng.integers(*FIXATION, size=frames // FIXATION[0] + 1)
    places = rng.uniform(-REACH, REACH, (len(lengths), 2))
    return np.repeat(places, lengths, axis=0)[:frames]
