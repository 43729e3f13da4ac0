"""What is wrong with alignment and units is named, on neurons whose filters are known, and nothing else is."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import Float

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.frame_times import steady_frame_times
from openretina_jax.data.neuron_quality import (
    dead_stretch,
    longest_stretches,
    neuron_problems,
    neuron_quality,
    twins,
    unrelated,
)
from openretina_jax.data.quality import said_once
from openretina_jax.data.spikes import count_spikes
from openretina_jax.data.triggered_averages import averaged, lags_of, peaks, triggered_averages

FRAMES, TEST_FRAMES, SIDE, TRIALS, LAG = 5000, 300, 10, 8, 3
COURSE = np.array([0.5, 1.0, 0.6, -0.4])  # begins two frames after the light
CENTRES = ((2, 2), (2, 7), (4, 3), (6, 1), (7, 6), (5, 8))
RATE_HZ = 50.0


def rates(movie: np.ndarray) -> Float[np.ndarray, "time neuron"]:
    """Spikes per frame of LN neurons: a Gaussian in space, ``COURSE`` in time, and an exponential."""
    rows, columns = np.mgrid[: movie.shape[1], : movie.shape[2]]
    drives = []
    for row, column in CENTRES:
        mask = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2)
        light = movie.reshape(len(movie), -1) @ (mask / np.linalg.norm(mask)).ravel()
        drives.append(np.convolve(light, np.concatenate([[0, 0], COURSE]))[: len(movie)])
    return np.exp(0.8 * np.stack(drives, axis=1) - 1.3)


class Recorded:
    """A retina that was shown binary noise, with the times of its spikes and of the frames."""

    def __init__(self, seed: int = 0, frames: int = FRAMES):
        self.rng = np.random.default_rng(seed)
        self.movie, self.test = (
            self.rng.choice([-1, 1], (count, SIDE, SIDE)).astype(np.int8) for count in (frames, TEST_FRAMES)
        )
        self.frame_times = steady_frame_times(frames, RATE_HZ, start_s=1.0)
        self.repeats = self.rng.poisson(rates(self.test), (TRIALS, TEST_FRAMES, len(CENTRES))).astype(np.float32)
        counts = self.rng.poisson(rates(self.movie))
        self.spikes = [
            np.repeat(self.frame_times, column) + self.rng.uniform(0, 1 / RATE_HZ, column.sum()) for column in counts.T
        ]

    def dataset(self, frame_times: np.ndarray | None = None, **changes) -> Dataset:
        """The data set of someone who took the frames to appear at other times, or changed something else."""
        responses = count_spikes(self.spikes, self.frame_times if frame_times is None else frame_times)
        arrays = {"movie": self.movie, "responses": responses, **changes}
        test = ArrayTest(arrays.pop("test_movie", self.test), arrays.pop("repeats", self.repeats), "trial time neuron")
        return from_arrays({"retina": ArrayRecording(tests={"frozen": test}, **arrays)}, frame_rate_hz=RATE_HZ)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


def problems(dataset: Dataset) -> list[str]:
    return said_once(neuron_problems(dataset, triggered_averages(dataset)))


def test_an_aligned_recording_has_no_problem(recorded):
    data = recorded.dataset(neurons={"unit": np.arange(10, 16)})
    assert problems(data) == []
    assert unrelated(triggered_averages(data)) == []
    table = neuron_quality(data)
    assert table["unit"].tolist() == list(range(10, 16))
    assert (table["sta_z"] > 8).all()
    np.testing.assert_allclose(table[["lag", "lag_first_third", "lag_last_third"]], LAG, atol=0.5)
    np.testing.assert_allclose(table[["rf_row", "rf_column"]], CENTRES, atol=0.5)
    np.testing.assert_allclose(table["mean_response"], data.sessions[0].responses.mean(axis=0), rtol=1e-6)
    assert (table["reliability"] > 0.7).all()
    assert table["twin"].isna().all()


def doubled(times: np.ndarray) -> np.ndarray:
    """Triggers of which one came twice, and was taken for a frame; the last frame is cut off."""
    return np.insert(times, 2000, (times[1999] + times[2000]) / 2)[: len(times)]


TIMES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "drift": (
        lambda times: 1.0 + (times - 1.0) * (1 - 2.5 / FRAMES),
        r"^retina: responses drift: they come 2\.[4-6] frames later .*, so that a frame lasts 20\.0(09|10)\d* ms",
    ),
    "drift that blurs the whole": (
        lambda times: 1.0 + (times - 1.0) * (1 - 15 / FRAMES),
        r"^retina: responses drift: they come 1[45]\.\d frames later .*, so that a frame lasts 20\.0(5|6)\d* ms",
    ),
    "hundreds of missing frames": (
        lambda times: times + 4.0 * (np.arange(FRAMES) >= 1700),
        r"^retina: responses follow the movie from about frame (0 to 833|833 to 1,667), but hardly elsewhere: the rate",
    ),
    "offset": (
        lambda times: times + 5 / RATE_HZ,
        r"^retina: responses come before the movie: STAs are largest [12]\.\d frames after the response; shift",
    ),
    "doubled trigger": (
        doubled,
        r"^retina: from about frame (1,[89]|2,[012])\d\d on responses come (0\.[89]|1\.[01]) frames later: a trigger",
    ),
    "missing trigger": (
        lambda times: np.append(np.delete(times, 3000), times[-1] + 1 / RATE_HZ),
        r"^retina: from about frame (2,[89]|3,[012])\d\d on responses come (0\.[89]|1\.[01]) frames earlier: a",
    ),
}


@pytest.mark.parametrize("mistake", TIMES)
def test_wrong_times_of_frames_are_named(mistake, recorded):
    change, expected = TIMES[mistake]
    found = problems(recorded.dataset(change(recorded.frame_times)))
    assert len(found) == 1, found
    assert re.search(expected, found[0])


TURNS = {
    "mirror": (lambda movie: movie[:, :, ::-1], "mirrored left to right"),
    "upside down": (lambda movie: movie[:, ::-1], "mirrored top to bottom"),
    "swap": (lambda movie: movie.swapaxes(1, 2), "with height and width swapped"),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_test_movie_in_another_orientation_is_named(turn, recorded):
    change, name = TURNS[turn]
    (line,) = problems(recorded.dataset(test_movie=np.ascontiguousarray(change(recorded.test))))
    assert line.startswith(f'retina: test "frozen" fits the training movie only with its frames {name}; bring')


def test_trials_and_frames_that_were_not_recorded(recorded):
    repeats = recorded.repeats.copy()
    repeats[2:, :50] = repeats[:, 100:110] = repeats[1, :, 3] = np.nan
    responses = recorded.dataset().sessions[0].responses.copy()
    responses[700:900] = responses[:, 5] = np.nan
    assert problems(recorded.dataset(repeats=repeats, responses=responses)) == []
    (line,) = problems(recorded.dataset(repeats=repeats, responses=responses, test_movie=recorded.test[:, ::-1].copy()))
    assert "mirrored top to bottom" in line


def test_a_short_test_tells_nothing(recorded):
    short = {"test_movie": recorded.test[:100, ::-1].copy(), "repeats": recorded.repeats[:, :100]}
    assert problems(recorded.dataset(**short)) == []


def test_a_training_movie_against_known_positions(recorded):
    positions = np.array(CENTRES)
    assert problems(recorded.dataset(neurons={"rf_location": positions})) == []
    (line,) = problems(recorded.dataset(neurons={"rf_location": positions[:, ::-1]}))
    assert "lie where rf_location says only if frames are with height and width swapped" in line


def test_frames_that_were_reshaped_in_a_wrong_order_are_named():
    """Of 8 rows and 12 columns; the neurons see what was shown, and the user another order of pixels."""
    rng = np.random.default_rng(0)
    movie = rng.choice([-1, 1], (FRAMES, 8, 12)).astype(np.int8)
    responses = rng.poisson(rates(movie))

    def found(pixels: np.ndarray, axes: str) -> list[str]:
        recording = ArrayRecording(pixels, responses, movie_axes=axes)
        return problems(from_arrays({"retina": recording}, frame_rate_hz=RATE_HZ))

    assert found(movie, "time height width") == []
    for axes, shape in (("time height width", (12, 8)), ("time width height", (12, 8))):
        (line,) = found(movie.reshape(FRAMES, *shape), axes)
        assert "receptive fields of the STAs are scattered, but compact if the pixels" in line


def test_a_test_that_begins_late_is_named(recorded):
    (line,) = problems(recorded.dataset(repeats=np.roll(recorded.repeats, 2, axis=1)))
    assert line.startswith('retina: test "frozen" has responses 2 frames later after the movie than the training has')


def test_units_that_were_sorted_twice_or_lost(recorded):
    data = recorded.dataset()
    responses = data.sessions[0].responses.copy()
    responses[:, 4] = responses[:, 1]
    responses[np.flatnonzero(responses[:, 1])[::40], 4] += 1
    responses[3000:4200, 2] = responses[3000:4200, 3] = 0
    found = problems(recorded.dataset(responses=responses))
    assert found[0] == "retina neurons 1 and 4: nearly the same responses; keep one of the two"
    assert found[1].startswith("retina neuron 2")
    assert len(found) in (2, 3)
    start, end = dead_stretch(responses[:, 2])
    assert 2940 < start <= 3000
    assert 4199 <= end < 4260
    assert twins(responses) == [(1, 4)]
    assert dead_stretch(responses[:, 0]) is None


def test_stretches_without_a_change():
    response = np.array([[0, 0, 1, 0, 0, 0, np.nan, 0, 2, 2]], np.float32).T
    assert longest_stretches(response, 3).tolist() == [[3, 2, 2]]


def test_equal_problems_of_several_sessions_are_one_line():
    assert said_once([("a", "x; do y"), ("b", "z"), ("c", "x; do y")]) == ["a, c: x; do y", "b: z"]


def test_neurons_that_follow_nothing_are_a_note(recorded):
    rng = np.random.default_rng(0)
    data = recorded.dataset(responses=rng.poisson(1.0, (FRAMES, 6)))
    averages = triggered_averages(data)
    assert neuron_problems(data, averages) == []
    (line,) = unrelated(averages)
    assert line.startswith("retina: no neuron has an STA that chance does not explain (largest z-score")


def test_large_frames_are_averaged():
    frames = np.random.default_rng(0).integers(-128, 127, (7, 5, 6, 2)).astype(np.int8)
    found = averaged(frames, 2)
    assert found.shape == (7, 3, 3, 2)
    np.testing.assert_allclose(found[:, 0, 1], frames[:, :2, 2:4].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, 2, 0], frames[:, 4:, :2].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5)


def test_the_sta_is_that_of_a_loop(recorded):
    """With white noise, whose autoregression is next to nothing, and across trials, whose history is not known."""
    data = dataclasses.replace(
        recorded.dataset(),
        clip_length=100,
        begins={"train": tuple(range(100, FRAMES, 100))},
        validation_clips={"train": (1,)},
    )
    found = triggered_averages(data)["retina"]
    responses = data.sessions[0].responses
    scores = (responses[:, 0] - responses[:, 0].mean()) / responses[:, 0].std()
    light = recorded.movie[:, 2, 2].astype(float)
    expected = [
        sum(scores[t] * light[t - lag] for t in range(FRAMES) if 0 <= t % 100 - lag < 100) / np.sqrt(FRAMES)
        for lag in (1, LAG, 5)
    ]
    assert found.lags[0] == lags_of(RATE_HZ)[0] == -10
    best = found.spatial[0, 2, 2, 0]
    assert best == pytest.approx(expected[1], rel=0.05)
    assert abs(expected[1]) > 5 * abs(expected[0])


def test_peaks_lie_between_samples():
    assert peaks(np.array([0.0, 1.0, 1.0, 0.0])) == pytest.approx(1.5)
    assert peaks(np.array([3.0, 1.0, 0.0])) == 0
