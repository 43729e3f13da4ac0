"""Grey levels and the units of a model: there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openretina_jax.data.normalization import Normalization
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.errors import UserError
from openretina_jax.sources.hoefling_2024.sessions import NORMALIZATION_18X16, NORMALIZATION_72X64
from tests import tiny

BYTES = np.arange(256, dtype=np.uint8).reshape(2, 8, 8, 2)


@given(mean=st.floats(0, 255), std=st.floats(0.1, 100), other=st.floats(0.1, 100))
def test_bytes_come_back(mean: float, std: float, other: float) -> None:
    for normalization in (Normalization(mean, std), Normalization((mean, 0.0), (std, other))):
        np.testing.assert_array_equal(normalization.displayed(normalization.normalized(BYTES)), BYTES)


@pytest.mark.parametrize("normalization", [NORMALIZATION_18X16, NORMALIZATION_72X64])
def test_a_movie_comes_back(normalization: Normalization) -> None:
    movie = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    levels = normalization.levels(movie)
    exact = movie[..., 1].astype(np.float64) * normalization.std[1] + normalization.mean[1]
    np.testing.assert_allclose(levels[..., 1], exact, rtol=1e-6)
    np.testing.assert_allclose(normalization.normalized(levels), movie, atol=1e-5)


def test_it_is_that_of_the_stimulus() -> None:
    stimulus = Stimulus("train", BYTES, 30.0, norm_mean=37.2, norm_std=30.3, raw=True)
    normalization = Normalization.of(stimulus)
    np.testing.assert_allclose(normalization.normalized(stimulus.frames), stimulus.normalized(), atol=1e-6)
    np.testing.assert_array_equal(normalization.displayed(stimulus.normalized()), stimulus.frames)


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"are not known, .* give Normalization\(mean, std\)"):
        Normalization.of(tiny.dataset().info)
    with pytest.raises(UserError, match="deviation of grey levels is 0"):
        Normalization(1.0, 0.0)
    movie = np.zeros((1, 1, 4, 1), np.float32)
    movie[0, 0, 0] = -2  # of four pixels
    with pytest.raises(UserError, match=r"go from -20 to 100, with 25.0% of all pixels outside 0 to 255; clip it"):
        Normalization(100.0, 60.0).displayed(movie)
