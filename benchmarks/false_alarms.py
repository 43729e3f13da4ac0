"""Recordings in which nothing is wrong, checked: every problem that ``openretina_jax.check`` names is a false alarm.

    python -m benchmarks.false_alarms [--count=200] [--first=0]

Recordings have 1 to 8 LN neurons, some hardly driven; binary or Gaussian white noise, or a movie that is smooth in
space and time; some are interrupted by frozen repeats, or have a stretch that was not recorded.
"""

import argparse
import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.neuron_quality import neuron_problems
from openretina_jax.data.quality import dataset_problems, said_once
from openretina_jax.data.triggered_averages import triggered_averages

KINDS = ("binary", "gaussian", "smooth")
COURSE = np.array([0.0, 0.5, 1.0, 0.6, -0.4])  # weights of the last frames
SMOOTHNESS = (2, 1, 1)  # deviations in frames and pixels


def main() -> None:
    """Read the flags, print every false alarm and their number; exit status 1 if there are some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    flags = parser.parse_args()
    begin, alarms, significant, neurons = time.process_time(), 0, 0, 0
    for seed in range(flags.first, flags.first + flags.count):
        dataset = sound_dataset(seed)
        averages = triggered_averages(dataset)
        for line in [*dataset_problems(dataset), *said_once(neuron_problems(dataset, averages))]:
            alarms += 1
            print(f"seed {seed}: {line}", flush=True)
        significant += int(averages["retina"].significant.sum())
        neurons += dataset.n_neurons
    print(
        f"{alarms} false alarms in {flags.count} recordings of {neurons} neurons, {significant} of them with an STA; "
        f"{time.process_time() - begin:.0f} s of one core"
    )
    sys.exit(min(alarms, 1))


def sound_dataset(seed: int) -> Dataset:
    """A recording in which nothing is wrong."""
    rng = np.random.default_rng(seed)
    frames, test_frames = int(rng.choice([1500, 4000, 9000])), int(rng.choice([100, 300, 900]))
    height, trials = int(rng.choice([6, 12])), int(rng.integers(1, 12))
    size = height, height + int(rng.integers(4))
    shown, test = (_movie(rng, KINDS[seed % len(KINDS)], count, size) for count in (frames, test_frames))
    centres = 1 + rng.random((int(rng.integers(1, 9)), 2)) * (np.array(size) - 3)
    gain = rng.uniform(0.2, 1.3)
    responses = rng.poisson(_rates(shown, centres, gain)).astype(np.float32)
    repeats = rng.poisson(_rates(test, centres, gain), (trials, test_frames, len(centres)))
    if rng.random() < 0.2:
        lost = int(rng.integers(9 * frames // 10))
        responses[lost : lost + frames // 10] = np.nan
    starts = range(0, frames, frames // 10) if rng.random() < 0.3 else ()
    frozen = {"frozen": ArrayTest(test, repeats, "trial time neuron")}
    return from_arrays({"retina": ArrayRecording(shown, responses, frozen, clip_starts=starts)}, frame_rate_hz=30.0)


def _movie(rng: np.random.Generator, kind: str, frames: int, size: tuple[int, int]) -> np.ndarray:
    if kind == "binary":
        return rng.choice([-1, 1], (frames, *size)).astype(np.int8)
    noise = rng.standard_normal((frames, *size))
    movie = gaussian_filter(noise, SMOOTHNESS) if kind == "smooth" else noise
    return (movie / movie.std()).astype(np.float32)


def _rates(movie: np.ndarray, centres: np.ndarray, gain: float) -> np.ndarray:
    """Spikes per frame of LN neurons with Gaussian receptive fields of one pixel; drives have the deviation 1."""
    rows, columns = np.mgrid[: movie.shape[1], : movie.shape[2]]
    masks = np.exp(-((rows - centres[:, :1, None]) ** 2 + (columns - centres[:, 1:, None]) ** 2) / 2)
    light = movie.reshape(len(movie), -1) @ masks.reshape(len(masks), -1).T
    drive = np.stack([np.convolve(one, COURSE)[: len(movie)] for one in light.T], axis=1)
    return np.exp(gain * drive / drive.std(axis=0) - 1.5)


if __name__ == "__main__":
    main()
