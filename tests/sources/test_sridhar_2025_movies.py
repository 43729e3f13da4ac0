import os

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.sources.sridhar_2025.movies import Crop, Screen, fixation_movie, noise_movie, read_fixations


def test_wrong_sizes():
    with pytest.raises(UserError, match="even numbers of pixels, but is 15 x 20"):
        Screen(15, 20)
    with pytest.raises(UserError, match="every at least 1"):
        Crop(every=0)


@pytest.mark.parametrize(
    "line",
    ["", "1 0.0 11.8 12\n", "one 0.0 11.8 12 10 1\n", "1 0.0 11.8 inf 10 1\n", "1 0.0 11.8 12 10 "],
)
def test_wrong_fixations(tmp_path, line):
    file = tmp_path / "fixations.txt"
    file.write_text(f"3 0.0 11.8 12.7 10 0\n{line}" if line else "")
    with pytest.raises(UserError, match="line 2 is" if line else "holds no fixations"):
        read_fixations(file)


def test_numbers_of_fixations_may_have_fractions(tmp_path):
    file = tmp_path / "fixations.txt"
    file.write_text("3.0 0.0 11.8 12.7 10 0\n4 0.0 11.8 -1 9.9 1\n")
    shown = read_fixations(file)
    assert [array.tolist() for array in (shown.image, shown.x, shown.y)] == [[3, 4], [12, -1], [10, 9]]
    assert shown.mirrored.tolist() == [True, False]
    assert read_fixations(file, opposite_flips=True).mirrored.tolist() == [False, True]


def test_a_movie_is_rendered_again_when_an_image_changes(tmp_path):
    file, fixations = tmp_path / "0_img_0.npy", tmp_path / "fixations.txt"
    fixations.write_text("0 0.0 11.8 2 2 1\n")
    for level in (51.0, 102.0):
        np.save(file, np.full((4, 4), level))
        os.utime(file, ns=(0, int(level)))
        movie = fixation_movie([file], read_fixations(fixations), Screen(2, 2, 0), Crop())
        np.testing.assert_array_equal(movie, np.full((1, 2, 2, 1), level / 255, np.float16))


@pytest.mark.parametrize(
    ("pixels", "dtype"),
    [
        (np.array([False, True]), np.uint8),
        (np.array([0, 255]), np.uint8),
        (np.array([-1, 1], np.int8), np.float16),
        (np.array([0.0, 1.0]), np.uint8),
        (np.array([0.0, 0.5]), np.float16),
        (np.array([0.0, 1 / 3], np.float32), np.float32),
        (np.array([0, 70000]), np.float32),
    ],
)
def test_white_noise_is_stored_exactly_and_narrowly(tmp_path, pixels, dtype):
    trials = []
    for number, last in enumerate(pixels):
        trial = np.full((2, 3, 4), pixels[0])
        trial[1, 2, 3] = last
        trials.append(tmp_path / f"{pixels.dtype}_{float(pixels[1])}_{number}.npy")
        np.save(trials[-1], trial)
    movie = noise_movie(trials, 4, Crop())
    assert (movie.shape, movie.dtype) == ((8, 2, 3, 1), dtype)
    assert movie[3, 1, 2, 0] == pixels[0]
    assert movie[7, 1, 2, 0] == pixels[1]
