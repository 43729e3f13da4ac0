import numpy as np
import pytest

from openretina_jax.data.sta import gaussian_2d
from openretina_jax.errors import UserError
from openretina_jax.insilico import decomposition
from openretina_jax.insilico.decomposition import ReceptiveFields, composition, space_time

SHAPE = (20, 24)
CENTRE, SIGMA, THETA = (8.3, 13.6), (3.0, 2.0), 0.6
FRAMES, RATE = 31, 30.0


def course(peak: float, width: float = 1.5) -> np.ndarray:
    """An ON lobe whose peak may lie between frames, after a smaller OFF lobe."""
    frame = np.arange(FRAMES)
    return np.exp(-((frame - peak) ** 2) / 2 / width**2) - 0.4 * np.exp(-((frame - peak + 6) ** 2) / 2 / width**2)


def kernel(peak: float = 26.3, gains: tuple[float, ...] = (1.0, 0.5)) -> np.ndarray:
    """Space times time times colour."""
    image = gaussian_2d(SHAPE, CENTRE, SIGMA, THETA, 1.0)
    return np.einsum("t,hw,c->thwc", course(peak), image, gains).astype(np.float32)


def test_fields_are_described() -> None:
    kernels = np.stack([kernel(), -2 * kernel(), kernel(24.0, (0.3, -0.9)), np.zeros_like(kernel())])
    fields = ReceptiveFields.of(kernels, ["on", "off", "opponent", "none"], RATE)
    table = fields.table().set_index("neuron")
    assert list(table.index) == ["on", "off", "opponent", "none"]
    seen = table.iloc[:3]
    np.testing.assert_allclose(seen.rank_one_share, 1, atol=1e-5)
    np.testing.assert_allclose(seen[["centre_y_px", "centre_x_px"]], [CENTRE] * 3, atol=0.1)
    np.testing.assert_allclose(seen[["sigma_long_px", "sigma_short_px"]], [SIGMA] * 3, rtol=0.03)
    np.testing.assert_allclose(seen.theta, THETA, atol=0.05)
    assert list(seen.polarity) == [1, -1, -1]
    np.testing.assert_allclose(seen.colour, [1 / 3, 1 / 3, -0.5], rtol=1e-4)
    np.testing.assert_allclose(seen.peak_s, [3.7 / RATE, 3.7 / RATE, 6 / RATE], atol=0.05 / RATE)
    np.testing.assert_allclose(seen.biphasic, 0.4, atol=0.02)
    assert table.iloc[3].isna().all()
    assert np.isnan(ReceptiveFields.of(kernels[:1], ["on"]).peak_s).all()


def test_maps_are_positive_in_their_own_centre() -> None:
    """A field in a corner, with a wide surround of the other sign in the middle of the frame."""
    image = gaussian_2d(SHAPE, (2.0, 2.0), (1.0, 1.0), 0.0, 1.0)
    image -= 0.3 * gaussian_2d(SHAPE, (10.0, 12.0), (5.0, 5.0), 0.0, 1.0)
    movie = np.einsum("t,hw->thw", -course(26), image)[..., None]
    spatial, temporal, _ = space_time(movie)
    assert np.unravel_index(spatial.argmax(), SHAPE) == (2, 2)
    assert spatial.max() == 1
    assert temporal[26, 0] < 0


@pytest.mark.parametrize("shape", [(5, 9, 8, 2), (40, 3, 2, 2)], ids=["few frames", "few pixels"])
def test_decomposition_is_the_first_singular_pair(shape: tuple[int, ...]) -> None:
    movies = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    spatial, temporal, share = space_time(movies)
    for number, movie in enumerate(movies):
        left, values, right = np.linalg.svd(movie.transpose(0, 3, 1, 2).reshape(shape[0] * shape[3], -1), False)
        product = np.outer(temporal[number].ravel(), spatial[number].ravel())
        np.testing.assert_allclose(product, values[0] * np.outer(left[:, 0], right[0]), atol=1e-4)
        np.testing.assert_allclose(share[number], values[0] ** 2 / (values**2).sum(), rtol=1e-5)


def test_one_pixel_has_no_size() -> None:
    spatial = np.zeros((1, 5, 4), np.float32)
    spatial[0, 3, 1] = 1
    centre, sigma, theta = decomposition.centres(spatial)
    np.testing.assert_array_equal(centre, [[3, 1]])
    np.testing.assert_array_equal(sigma, 0)
    np.testing.assert_array_equal(theta, 0)


def test_last_lobe_beats_a_larger_one_before_it() -> None:
    lobe = decomposition.last_lobe(np.array([0, -1.0, 0, 0.2, 0.8, 0.8, 0.1]))
    assert lobe == (1, 4.5, 1.25)
    assert decomposition.last_lobe(np.array([-0.1, 0.2, -1.0])) == (-1, 2, 0.2)  # no parabola at the end


def test_frequencies_of_a_stimulus() -> None:
    time = np.arange(60) / RATE
    movie = np.zeros((60, 4, 5, 2))
    movie[:, 1, 2, 0] = np.sin(2 * np.pi * 3 * time)
    movie[:, 2, 2, 1] = np.sin(2 * np.pi * 14 * time)
    parts = composition(movie, RATE)
    assert parts.frequencies_hz[parts.amplitudes[0].argmax()] == pytest.approx(3)
    assert parts.main_frequency_hz[0] == pytest.approx(3, abs=0.3)
    assert parts.amplitudes[1].max() < 0.1 * parts.amplitudes[0].max()  # beyond the low-pass
    assert (parts.spatial[0, 1, 2], parts.spatial[1, 2, 2], parts.time_s[-1]) == (1, 1, 0)
    assert np.isnan(composition(np.zeros((20, 4, 5, 1)), RATE).main_frequency_hz).all()


def test_low_pass_of_short_courses_and_high_cut_offs() -> None:
    courses = np.random.default_rng(0).standard_normal((2, 12))
    assert decomposition.low_pass(courses, RATE).std() < courses.std()
    np.testing.assert_array_equal(decomposition.low_pass(courses, 15.0), courses)
    with pytest.raises(UserError, match="above 0 Hz"):
        decomposition.low_pass(courses, RATE, 0.0)
