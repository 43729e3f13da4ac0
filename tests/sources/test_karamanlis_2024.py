import logging
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.sources import karamanlis_2024_movies
from openretina_jax.sources.karamanlis_2024 import load_block_responses, load_karamanlis_2024
from openretina_jax.sources.karamanlis_2024_movies import SCREEN, render, resizing_matrix
from tests.sources.karamanlis_2024_files import (
    BLOCK_FRAMES,
    CLIP_FRAMES,
    FROZEN_FRAMES,
    N_BLOCKS,
    N_NEURONS,
    N_TRIALS,
    VALIDATION_CLIPS,
    session_values,
    write_session,
    write_sessions,
)

GOLDENS = Path(__file__).parents[1] / "goldens" / "sources"
SPLIT = {"clip_length": CLIP_FRAMES, "validation_clips": VALIDATION_CLIPS}
ARCHIVE = "fixationmovie_data_extracted_stimuli_60_80.npz"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    return write_sessions(tmp_path_factory.mktemp("sessions"))


@pytest.fixture(scope="module")
def dataset(sessions):
    return load_karamanlis_2024(sessions, fr_normalization=2.0, onset_frames=0, **SPLIT)


@pytest.fixture
def values():
    return session_values()


def load_one(tmp_path, values, **options):
    write_session(tmp_path / "sessions", "a_mouse", values)
    return load_karamanlis_2024(tmp_path / "sessions", **(SPLIT | options))


def means(frames):
    return frames.mean(axis=(1, 2, 3))


def test_equals_openretina(dataset: Dataset):
    frozen = np.load(GOLDENS / "karamanlis_2024.npz")
    assert [session.name for session in dataset.sessions] == ["a_mouse_left", "b_mouse_right"]
    assert dataset.stimuli.keys() == {"train", "test"}, "movies that both saw are there once"
    train, test = dataset.stimuli["train"], dataset.stimuli["test"]
    np.testing.assert_allclose([train.norm_mean, train.norm_std], frozen["normalization"], rtol=1e-5)
    close = {"atol": 2e-5, "rtol": 1e-5}
    np.testing.assert_allclose(train.normalized()[[0, 149, 150, 437], ..., 0], frozen["train_frames"], **close)
    np.testing.assert_allclose(test.normalized()[17, ..., 0], frozen["test_frame"], **close)
    np.testing.assert_allclose(means(train.normalized()), frozen["train_means"], **close)
    np.testing.assert_allclose(means(test.normalized()), frozen["test_means"], **close)

    def in_clips(array, clips):
        return np.concatenate([array[clip * CLIP_FRAMES : (clip + 1) * CLIP_FRAMES] for clip in clips])

    kept = dataset.validation_clips["train"]
    others = sorted(set(range(N_BLOCKS * BLOCK_FRAMES // CLIP_FRAMES)) - set(kept))
    np.testing.assert_allclose(means(in_clips(train.normalized(), kept)), frozen["validation_means"], **close)
    for session in dataset.sessions:
        np.testing.assert_array_equal(session.responses.T, frozen[f"{session.name}/responses"])
        np.testing.assert_array_equal(session.repeats["test"].swapaxes(1, 2), frozen[f"{session.name}/repeats"])
        for clips, split in ((kept, "validation"), (others, "training")):
            expected = frozen[f"{session.name}/{split}_responses"]
            np.testing.assert_array_equal(in_clips(session.responses, clips), expected)


def test_what_is_known_of_the_data(dataset: Dataset, sessions):
    assert (dataset.pixel_size_um, dataset.stimuli["train"].frame_rate_hz) == (75.0, 75.0)
    assert dataset.sessions[0].metadata == {"blocks": N_BLOCKS, "block_frames": BLOCK_FRAMES}
    assert dataset.sessions[0].repeats["test"].shape == (N_TRIALS, FROZEN_FRAMES, N_NEURONS)
    assert dataset.source["publication"] == "karamanlis_2024"
    marmoset = load_karamanlis_2024(sessions, species="marmoset", **SPLIT)
    assert [session.name for session in marmoset.sessions] == ["c_marmoset"]
    assert marmoset.stimuli["train"].frame_rate_hz == 85.0


def test_movies_lie_on_the_disk_and_are_rendered_once(dataset: Dataset, sessions, monkeypatch):
    assert isinstance(dataset.stimuli["train"].frames, np.memmap)
    monkeypatch.delattr(karamanlis_2024_movies, "render")
    again = load_karamanlis_2024(sessions, **SPLIT)
    np.testing.assert_array_equal(again.stimuli["test"].frames, dataset.stimuli["test"].frames)


def test_what_follows_a_border_of_blocks_is_masked(sessions):
    responses = load_karamanlis_2024(sessions, onset_frames=7, **SPLIT).sessions[0].responses
    masked = np.isnan(responses).reshape(N_BLOCKS, BLOCK_FRAMES, N_NEURONS)
    assert masked[1:, :7].all()
    assert masked.sum() == (N_BLOCKS - 1) * 7 * N_NEURONS


def test_clips_that_cross_blocks_are_told(sessions, caplog):
    with caplog.at_level(logging.WARNING):
        load_karamanlis_2024(sessions, clip_length=100, validation_clips=1)
    assert "fixationmovie_data.mat: blocks of 150 frames are not whole clips of 100" in caplog.text


def test_sessions_may_be_archives(dataset: Dataset, sessions, tmp_path):
    for session in sessions.iterdir():
        with zipfile.ZipFile(tmp_path / f"{session.name}.zip", "w") as archive:
            for file in session.iterdir():
                archive.write(file, f"{session.name}/{file.name}")
            archive.writestr(f"{session.name}/{session.name}_imagesequence_data.mat", b"")
    loaded = load_karamanlis_2024(tmp_path, **SPLIT)
    assert [session.name for session in loaded.sessions] == ["a_mouse_left", "b_mouse_right"]
    assert len(list(tmp_path.iterdir())) == 3, "nothing is unpacked in place"


def test_movies_kept_by_openretina_are_taken(tmp_path):
    values = {"runningbin": np.zeros((2, 75, 2)), "frozenbin": np.zeros((3, 40, 2))}
    file = write_session(tmp_path, "a_mouse", values, "imagesequence")
    movies = {
        name: np.random.default_rng(n).random((1, n, 60, 80)).astype(np.float32)
        for name, n in (("train_data", 150), ("test_data", 40))
    }
    np.savez_compressed(file.with_name(f"{file.stem}_extracted_stimuli_60_80.npz"), **movies)
    dataset = load_karamanlis_2024(tmp_path, stimulus="imagesequence", clip_length=75, validation_clips=1)
    for name, movie in zip(("train", "test"), movies.values(), strict=True):
        np.testing.assert_array_equal(dataset.stimuli[name].frames, movie[0, ..., None])


def test_responses_need_no_movie(tmp_path):
    values = {"runningbin": np.ones((2, 75, 2)), "frozenbin": np.zeros((3, 40, 2))}
    write_session(tmp_path, "a_mouse", values, "gratingflicker")
    responses = load_block_responses(tmp_path, stimulus="gratingflicker")["a_mouse"]
    assert responses.running.shape == (2, 75, 2)
    assert responses.frozen.shape == (3, 40, 2)
    with pytest.raises(
        UserError, match=r"a_mouse/.*\.mat: has no photographs .* but frozenbin, runningbin; put the movie beside"
    ):
        load_karamanlis_2024(tmp_path, stimulus="gratingflicker")


def test_missing_and_negative_counts_are_masked(tmp_path, values, caplog):
    values["runningbin"][0, 3, 1], values["runningbin"][0, 4, 2] = np.nan, -1
    session = load_one(tmp_path, values, onset_frames=0).sessions[0]
    np.testing.assert_array_equal(np.argwhere(np.isnan(session.responses)), [[3, 1], [4, 2]])
    assert '2 of 1800 values in "runningbin" are negative or not finite; they are left out' in caplog.text


@given(st.integers(1, 50), st.integers(1, 50))
def test_resized_constants_stay_constant(n_pixels, n_smaller):
    weights = resizing_matrix(n_pixels, n_smaller)
    assert weights.shape == (n_smaller, n_pixels)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_same_size_and_halves():
    np.testing.assert_array_equal(resizing_matrix(5, 5), np.eye(5))
    np.testing.assert_allclose(resizing_matrix(8, 4)[1], np.array([0, 1, 3, 3, 1, 0, 0, 0]) / 8)


@pytest.mark.parametrize(("x", "y", "covered"), [(0, 0, np.s_[30:, 40:]), (799, 599, np.s_[:30, :40])])
def test_screen_is_black_where_the_image_ends(x, y, covered):
    white = np.full((1, *SCREEN[::-1]), 255, np.uint8)
    (frames,) = render(white, np.array([[1, x, y], [1, 5000, 300]]), (60, 80))
    frame = frames[0, ..., 0]
    inside = np.zeros(frame.shape, bool)
    inside[covered] = True
    np.testing.assert_allclose(frame[binary_erosion(inside, np.ones((3, 3)), border_value=1)], 255, rtol=1e-5)
    np.testing.assert_array_equal(frame[~binary_dilation(inside, np.ones((3, 3)))], 0)
    np.testing.assert_array_equal(frames[1], 0)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("runningbin", None, r'"runningbin" is missing'),
        ("frozenfixations", None, r'"frozenfixations" is missing'),
        ("frozenImages", None, r'"frozenImages" is missing'),
        ("runningbin", lambda a: a[:0], r'"runningbin" is empty: shape \(0, .*\) \(block, time, neuron\)'),
        ("frozenbin", lambda a: a[:0], r'"frozenbin" is empty: shape \(0,'),
        ("frozenbin", lambda a: a.swapaxes(1, 2), r"of the same neurons: are axes swapped"),
        ("frozenbin", lambda a: a[0], r'"frozenbin" has shape .* but must have the axes \(trial, time, neuron\)'),
        ("runningbin", lambda a: a[:, :-1], r'"runningbin" .* has 596 frames, its movie 600'),
        ("frozenbin", lambda a: a[:, :-1], r'"frozenbin" .* has 89 frames, its movie 90'),
        (
            "runningfixations",
            lambda a: a.swapaxes(1, 2),
            r"must be \(block, time, 3\), but has shape .*: are axes swapped",
        ),
        ("runningfixations", lambda a: a * np.nan, r'"runningfixations" holds NaN'),
        ("frozenfixations", lambda a: a * [0, 1, 1], r'names images 0 to 0, but "frozenImages" has images 1 to 2'),
        ("frozenfixations", lambda a: a * [9, 1, 1], r'names images 9 to 18, but "frozenImages" has images 1 to 2'),
        ("runningbin", lambda a: a.astype("S4"), r'"runningbin" holds \|S4, not numbers'),
    ],
)
def test_damaged_sessions(tmp_path, values, key, change, message):
    values = {name: value for name, value in values.items() if name != key or change is not None}
    if change is not None:
        values[key] = change(values[key])
    with pytest.raises(UserError, match=message) as caught:
        load_one(tmp_path, values)
    assert "a_mouse/a_mouse_fixationmovie_data.mat: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path, values):
    file = write_session(tmp_path, "a_mouse", values)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"a_mouse/.*data\.mat: is truncated or not an HDF5 file"):
        load_karamanlis_2024(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train_data": np.zeros((1, 5, 30, 40))}, r'"train_data" must be bytes or .* \(1, time, 60, 80\), but is'),
        ({"other": np.zeros(3)}, r'has no "train_data"'),
        (None, "is damaged"),
    ],
)
def test_damaged_archives(tmp_path, values, content, message):
    file = write_session(tmp_path / "sessions", "a_mouse", values)
    archive = file.with_name(f"a_mouse_{ARCHIVE}")
    if content is None:
        archive.write_bytes(b"no archive")
    else:
        np.savez(archive, **content)
    with pytest.raises(UserError, match=message):
        load_karamanlis_2024(tmp_path / "sessions")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"species": "macaque"}, r'config\.data\.species is "macaque"; choose among mouse, marmoset'),
        ({"stimulus": "movie"}, r'config\.data\.stimulus is "movie"; choose among fixationmovie,'),
        ({"stimulus": "gratingflicker"}, r"none of 2 sessions \(mouse\) has a file \*gratingflicker_data\.mat"),
        ({"fr_normalization": 0.0}, r"config.data.fr_normalization is 0\.0; it must be above 0"),
        ({"validation_clips": 8}, r"validation takes 8 of 8 clips"),
    ],
)
def test_wrong_settings(sessions, options, message):
    with pytest.raises(UserError, match=message):
        load_karamanlis_2024(sessions, **(SPLIT | options))


def test_no_or_several_files(tmp_path, values):
    (tmp_path / "mouse.txt").touch()
    with pytest.raises(UserError, match=r'holds no session .* with "mouse" in its name, but mouse\.txt'):
        load_karamanlis_2024(tmp_path)
    file = write_session(tmp_path, "a_mouse", values)
    with h5py.File(file.with_name("another_fixationmovie_data.mat"), "w"):
        pass
    with pytest.raises(UserError, match="a_mouse: has several files of fixationmovie"):
        load_karamanlis_2024(tmp_path)
