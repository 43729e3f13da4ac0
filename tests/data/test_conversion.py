"""What people have as arrays: taken with the right numbers, or refused in one line."""

import h5py
import numpy as np
import pandas as pd
import pytest

from openretina_jax.data import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.conversion import count_or_clips, number, whole_number
from openretina_jax.errors import UserError

RNG = np.random.default_rng(0)
MOVIE = RNG.integers(0, 255, (100, 4, 4)).astype(np.uint8)
RESPONSES = RNG.random((100, 3)).astype(np.float32)


def dataset(movie=MOVIE, responses=RESPONSES, neurons=None, clip_starts=(), tests=None, **options):
    recording = ArrayRecording(movie, responses, tests=tests or {}, neurons=neurons or {}, clip_starts=clip_starts)
    return from_arrays({"a": recording}, **{"frame_rate_hz": 30.0} | options)


@pytest.mark.parametrize(
    "responses",
    [RESPONSES.tolist(), pd.DataFrame(RESPONSES), np.ma.masked_array(RESPONSES, np.zeros((100, 3), bool))],
    ids=["list", "data frame", "masked array"],
)
def test_responses_of_all_kinds(responses):
    np.testing.assert_array_equal(dataset(responses=responses).sessions[0].responses, RESPONSES)


def test_arrays_of_h5py(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["movie"], file["responses"] = MOVIE, RESPONSES
        made = dataset(file["movie"], file["responses"])
    np.testing.assert_array_equal(made.sessions[0].responses, RESPONSES)
    np.testing.assert_array_equal(made.stimuli["train"].frames[..., 0], MOVIE)


def test_masked_entries_are_missing():
    mask = np.zeros((100, 3), bool)
    mask[:10, 1] = True
    found = dataset(responses=np.ma.masked_array(np.where(mask, 9999, RESPONSES), mask)).sessions[0].responses
    np.testing.assert_array_equal(np.isnan(found), mask)
    np.testing.assert_array_equal(found[~mask], RESPONSES[~mask])


def test_half_floats_do_not_overflow():
    halves, single = (dataset(MOVIE.astype(dtype)).stimuli["train"] for dtype in (np.float16, np.float32))
    assert halves.frames.dtype == np.float16
    assert halves.norm_std == pytest.approx(single.norm_std, rel=1e-5)
    assert halves.normalized().std() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.int8, bool, np.uint8])
def test_small_pixels_are_kept(dtype):
    movie = RNG.choice([-1, 1] if dtype == np.int8 else [0, 1], (100, 4, 4)).astype(dtype)
    shown = dataset(movie).stimuli["train"]
    assert shown.frames.nbytes == movie.nbytes
    wanted = movie.astype(np.float64)
    np.testing.assert_allclose(
        shown.normalized()[..., 0], (wanted - wanted.mean()) / wanted.std(ddof=1), rtol=1e-5, atol=1e-6
    )


def test_facts_about_neurons():
    neurons = {
        "list": ["ON", "OFF", "ON"],
        "bytes": np.array([b"ON", b"OFF", b"ON"]),
        "objects": np.array(["ON", None, b"x"], dtype=object),
        "dates": np.array(["2020-01-01"] * 3, "datetime64[D]"),
        "numbers": pd.Series([1, 2, 3]),
    }
    made = dataset(neurons=neurons).info
    assert made == type(made).from_json(made.to_json())
    assert made.neurons["a"] == {
        "list": ["ON", "OFF", "ON"],
        "bytes": ["ON", "OFF", "ON"],
        "objects": ["ON", "", "x"],
        "dates": ["2020-01-01"] * 3,
        "numbers": [1, 2, 3],
    }


def test_numbers_of_numpy():
    made = dataset(clip_length=np.int64(10), validation_clips=np.int64(2), frame_rate_hz=np.float32(30))
    assert made.clip_length == 10
    assert len(made.validation_clips["train"]) == 2


TEST = ArrayTest(MOVIE, RESPONSES, "time neuron")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_rate_hz": np.inf}, "frame_rate_hz is inf; it must be above 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"seed": 1 << 40}, "it must be at most 4294967295"),
        ({"normalization": (0.0, 0.0)}, "the deviation of normalization is 0.0; it must be above 0"),
        ({"validation_clips": [1, 1]}, "names clip 1 twice"),
        ({"pixel_size_um": -1.0}, "pixel_size_um is -1.0; it must be above 0"),
        ({"responses": [np.arange(3.0), np.arange(4.0)]}, "if these are spike times, count the spikes"),
        ({"movie": [[1.0]], "responses": [[1.0]]}, "must have the 4 axes"),
        ({"movie": np.where(np.arange(100)[:, None, None] < 90, 1.0 * MOVIE, np.nan)}, "NaN or infinity in 10 of 100"),
        ({"clip_starts": [0, 31, 66]}, "the clips have different lengths"),
        ({"neurons": {"cell_type": [1, 2]}}, r'neurons\["cell_type"\] has 2 entries for 3 neurons'),
        ({"neurons": {"cell_type": [{}, {}, {}]}}, r'neurons\["cell_type"\] holds dict'),
        ({"tests": {"validation": TEST}}, 'a test is called "validation", which is the name of a split'),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(UserError, match=message) as caught:
        dataset(**options)
    assert "\n" not in str(caught.value)


def test_statistics_that_are_not_known_are_none():
    info = dataset().info
    other = type(info)(**{field: getattr(info, field) for field in info.__dataclass_fields__} | {"norm_std": np.nan})
    assert other.norm_std is None
    assert "NaN" not in other.to_json()


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda: number("rate", "30"), "rate is '30'; it must be a finite number"),
        (lambda: number("rate", True), "rate is True; it must be a finite number"),
        (lambda: whole_number("length", 30.5, 1), "length is 30.5; it must be a whole number of at least 1"),
        (lambda: whole_number("length", "30", 1), "length is '30'; it must be a whole number"),
        (lambda: count_or_clips("clips", ["a"]), "clips: a clip is 'a'; it must be a whole number"),
        (lambda: count_or_clips("clips", "a"), "clips is 'a'; give a number of clips, or a list"),
    ],
)
def test_other_types_are_refused(convert, message):
    with pytest.raises(UserError, match=message):
        convert()
