import os
import shutil

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.sources.movie_cache import cached_movie

SHAPE = (5, 2, 3, 1)
MOVIE = np.arange(30, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def folder(cache):
    return cache / "movies"


def must_not_run():
    raise AssertionError


def test_a_movie_is_computed_once(folder):
    recipe = {"of": "what", "version": 1}
    movie = cached_movie(recipe, SHAPE, lambda: [MOVIE[:2], MOVIE[2:]])
    assert isinstance(movie, np.memmap)
    np.testing.assert_array_equal(movie, MOVIE)
    np.testing.assert_array_equal(cached_movie(recipe, SHAPE, must_not_run), MOVIE)
    assert sorted(file.suffix for file in folder.iterdir()) == [".npy", ".sha256"]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_blocks_become_the_wanted_type(folder, dtype):
    movie = cached_movie({}, SHAPE, lambda: [MOVIE], dtype=dtype)
    assert movie.dtype == dtype
    np.testing.assert_array_equal(movie, MOVIE)


def test_another_recipe_size_or_type_is_another_movie(folder):
    for recipe, shape, dtype in (
        ({"of": 1}, SHAPE, np.float32),
        ({"of": 2}, SHAPE, np.float32),
        ({"of": 1}, (4, 2, 3, 1), np.float32),
        ({"of": 1}, SHAPE, np.uint8),
    ):
        cached_movie(recipe, shape, lambda frames=shape[0]: [MOVIE[:frames]], dtype=dtype)
    assert len(list(folder.glob("*.npy"))) == 4


def test_nothing_is_left_of_a_movie_that_failed(folder):
    def fails():
        yield MOVIE[:2]
        raise RuntimeError("no more frames")

    with pytest.raises(RuntimeError, match="no more frames"):
        cached_movie({}, SHAPE, fails)
    with pytest.raises(ValueError, match="2 frames were computed for a movie of 5"):
        cached_movie({}, SHAPE, lambda: [MOVIE[:2]])
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match=r"\.npy cannot be written \(it needs 120 bytes, .* has 0\); check the disk"):
        cached_movie({}, SHAPE, must_not_run)


def flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, 150),
        lambda file: file.write_bytes(b""),
        lambda file: np.save(file, np.zeros((3, 3))),
        flip,
        lambda file: file.with_suffix(".sha256").unlink(),
    ],
    ids=["cut", "empty", "another", "a byte", "no hash"],
)
def test_a_movie_that_changed_is_computed_again(folder, damage):
    cached_movie({}, SHAPE, lambda: [MOVIE])
    damage(next(folder.glob("*.npy")))
    np.testing.assert_array_equal(cached_movie({}, SHAPE, lambda: [MOVIE]), MOVIE)
    np.testing.assert_array_equal(cached_movie({}, SHAPE, must_not_run), MOVIE)
