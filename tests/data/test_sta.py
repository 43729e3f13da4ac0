"""Spike-triggered averages: known Gaussians are found again, and wrong files and names are named."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.sta import (
    contour_mask,
    filters_of_sta,
    fit_gaussian,
    gaussian_2d,
    load_session_filters,
    load_sta,
)
from openretina_jax.errors import UserError

SHAPE = (14, 17)
CENTRE, SIGMA, THETA = (6.3, 9.1), (3.0, 1.5), 0.6
COURSE = np.array([0.1, -0.5, 0.2, 1.0, 0.3])


def known_sta(amplitude: float = 1.0) -> np.ndarray:
    """Without noise: a Gaussian times a time course."""
    gaussian = gaussian_2d(SHAPE, CENTRE, SIGMA, THETA, amplitude)
    return (COURSE[:, None, None] * gaussian).astype(np.float32)


def saved(file: Path, sta: np.ndarray) -> Path:
    np.save(file, sta)
    return file


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 4.0), st.floats(0.5, 4.0), st.floats(-math.pi, math.pi), st.floats(0.5, 3.0))
def test_a_contour_is_where_the_gaussian_has_fallen_to(first: float, second: float, theta: float, n: float) -> None:
    height = gaussian_2d(SHAPE, CENTRE, (first, second), theta, 1.0)
    mask = contour_mask(SHAPE, CENTRE, (first, second), theta, n)
    assert (height[mask] >= math.exp(-(n**2) / 2) * (1 - 1e-9)).all()
    assert (height[~mask] <= math.exp(-(n**2) / 2) * (1 + 1e-9)).all()


def test_theta_turns_the_first_axis_from_x_towards_y() -> None:
    for theta, along, across in ((0.0, (5, 8), (8, 5)), (math.pi / 2, (8, 5), (5, 8)), (math.pi / 4, (7, 7), (7, 3))):
        gaussian = gaussian_2d((11, 11), (5.0, 5.0), (3.0, 0.5), theta, 1.0)
        assert gaussian[along] > 0.3
        assert gaussian[across] < 1e-3


@settings(deadline=None, max_examples=20)
@given(
    st.floats(3.0, 10.0), st.floats(3.0, 13.0), st.floats(1.0, 3.0), st.floats(1.0, 3.0), st.sampled_from([-2.0, 0.5])
)
def test_a_known_gaussian_is_found(y: float, x: float, first: float, second: float, amplitude: float) -> None:
    """Upright, because the search may stop at the largest angle before the best."""
    frame = gaussian_2d(SHAPE, (y, x), (first, second), 0.0, amplitude)
    fit = fit_gaussian(frame)
    assert fit.success
    assert fit.covariance is not None
    np.testing.assert_allclose(fit.centre, (y, x), atol=1e-3)
    assert fit.amplitude == pytest.approx(amplitude, rel=1e-3)
    found = gaussian_2d(SHAPE, fit.centre, fit.sigma, fit.theta, fit.amplitude)
    np.testing.assert_allclose(found, frame, atol=1e-3 * abs(amplitude))


@settings(deadline=None, max_examples=20)
@given(st.floats(1.0, 2.0), st.floats(2.2, 3.0), st.floats(-1.5, 1.5), st.booleans())
def test_a_fit_has_its_long_axis_first_and_one_angle(short: float, long: float, theta: float, swapped: bool) -> None:
    axes, angle = ((short, long), theta + math.pi / 2) if swapped else ((long, short), theta)
    fit = fit_gaussian(gaussian_2d(SHAPE, (6.3, 8.1), axes, angle, 1.0))
    assert fit.sigma[0] >= fit.sigma[1]
    assert 0 <= fit.theta < math.pi
    np.testing.assert_allclose(fit.sigma, (long, short), atol=1e-3)
    assert math.cos(2 * (fit.theta - theta)) == pytest.approx(1, abs=1e-3)


def test_an_image_without_room_for_a_gaussian_keeps_the_guess() -> None:
    fit = fit_gaussian(np.array([[0.0, 1.0, 3.0]]))
    assert (fit.success, fit.covariance) == (False, None)
    assert (fit.centre, fit.amplitude) == ((0.0, 2.0), 3.0)


@pytest.mark.parametrize("amplitude", [1.0, -1.0])
def test_filters(amplitude: float) -> None:
    """The spatial filter is positive for both polarities; the temporal one keeps the sign."""
    filters = filters_of_sta(known_sta(amplitude), sigma_contour=2.0)
    expected = np.sign(amplitude) * COURSE / np.linalg.norm(COURSE)
    np.testing.assert_allclose(filters.temporal, expected, rtol=1e-4)
    assert filters.fit.amplitude > 0
    assert (filters.spatial >= 0).all()
    assert np.linalg.norm(filters.spatial) == pytest.approx(1, rel=1e-5)
    assert np.unravel_index(filters.spatial.argmax(), SHAPE) == (6, 9)
    np.testing.assert_array_equal(filters.spatial > 0, contour_mask(SHAPE, CENTRE, SIGMA, THETA, 2.0))


@pytest.mark.parametrize("frames", [1, 3, 5, 9, None])
def test_the_most_recent_frames_are_kept(frames: int | None) -> None:
    course = COURSE if frames is None else COURSE[-frames:]
    temporal = filters_of_sta(known_sta(), frames).temporal
    np.testing.assert_allclose(temporal, course / np.linalg.norm(course), rtol=1e-4)


@pytest.mark.parametrize(("value", "frames", "length"), [(np.nan, 2, 2), (np.inf, 9, 5), (-np.inf, None, 5)])
def test_values_that_are_not_finite_give_zeros(
    value: float, frames: int | None, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    sta = known_sta()
    sta[0, 0, 0] = value
    with caplog.at_level(logging.WARNING):
        filters = filters_of_sta(sta, frames, name="cell 3")
    assert "cell 3: has values that are not finite" in caplog.text
    assert not filters.fit.success
    np.testing.assert_array_equal(filters.spatial, np.zeros(SHAPE))
    np.testing.assert_array_equal(filters.temporal, np.zeros(length))


def test_an_empty_sta_gives_zeros() -> None:
    filters = filters_of_sta(np.zeros((3, 5, 6)))
    assert not filters.spatial.any()
    assert not filters.temporal.any()


@pytest.mark.parametrize(
    ("frames", "sigma_contour", "message"),
    [(0, 3.0, "temporal_frames is 0"), (-1, 3.0, "temporal_frames is -1"), (None, 0.0, "sigma_contour is 0.0")],
)
def test_options_out_of_range(frames: int | None, sigma_contour: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        filters_of_sta(known_sta(), frames, sigma_contour)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose values are 100 row + column."""
    values = 100 * np.arange(14)[:, None] + np.arange(17)
    return saved(tmp_path_factory.mktemp("sta") / "counting.npy", values[None])


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 14), width=st.integers(1, 17), flip=st.booleans())
def test_a_crop_is_centred_after_the_flip(counting: Path, height: int, width: int, flip: bool) -> None:
    sta = load_sta(counting, flip, (height, width))
    top, left = (14 - height) // 2, (17 - width) // 2
    rows = np.arange(14)[top : top + height, None]
    columns = np.arange(17)[::-1] if flip else np.arange(17)
    np.testing.assert_array_equal(sta[0], 100 * rows + columns[left : left + width])


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", "int16", "bool"])
def test_numbers_of_any_type_are_read(tmp_path: Path, dtype: str) -> None:
    values = np.ones((2, 3, 4), dtype)
    sta = load_sta(saved(tmp_path / "a.npy", values))
    assert sta.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(sta, values)


def message_of(error: pytest.ExceptionInfo[UserError], file: Path) -> str:
    """The one line that names the file."""
    message = str(error.value)
    assert str(file) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 4)), r"of shape \(3, 4\), but must hold real numbers with the axes \(frame, height, width\)"),
        (np.ones((1, 3, 4, 5)), r"of shape \(1, 3, 4, 5\)"),
        (np.ones((0, 4, 5)), r"of shape \(0, 4, 5\), .* none of them empty"),
        (np.ones((2, 3, 4), complex), "holds complex128 of shape .* must hold real numbers"),
        (np.full((2, 3, 4), "a"), "holds <U1"),
        (np.array([[[{}]]], object), "is not a whole .npy file of numbers .*Python objects"),
    ],
)
def test_arrays_that_are_no_sta(tmp_path: Path, values: np.ndarray, message: str) -> None:
    file = saved(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match=message) as error:
        load_sta(file)
    message_of(error, file)


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read .No such file .*; check the folder") as error:
        load_sta(tmp_path / "missing.npy")
    message_of(error, tmp_path / "missing.npy")
    with pytest.raises(UserError, match=r"cannot be read .Is a directory") as error:
        load_sta(tmp_path)
    message_of(error, tmp_path)
    whole = saved(tmp_path / "whole.npy", known_sta()).read_bytes()
    np.savez(tmp_path / "many.npz", known_sta())
    for content in (b"", b"text", whole[:-100], whole[:20], (tmp_path / "many.npz").read_bytes()):
        (tmp_path / "broken.npy").write_bytes(content)
        with pytest.raises(UserError, match=r"whole .npy file of numbers") as error:
            load_sta(tmp_path / "broken.npy")
        message_of(error, tmp_path / "broken.npy")


@pytest.mark.parametrize("shape", [(15, 17), (14, 18), (20, 3)])
def test_an_sta_must_not_be_smaller_than_the_stimulus(counting: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"has 14x17 pixels, but the stimulus has {shape[0]}x{shape[1]}") as error:
        load_sta(counting, shape=shape)
    message_of(error, counting)


@pytest.mark.parametrize(
    "pattern",
    [
        "data_{session}_cell_{cell}.npy",
        "data_{retina_index}_cell_{cell_index}.npy",
        "data_{session:>2}_cell_{cell:d}.npy",
    ],
)
def test_the_filters_of_a_session(tmp_path: Path, pattern: str) -> None:
    amplitudes = {4: 1.0, 7: -1.0}
    for cell, amplitude in amplitudes.items():
        saved(tmp_path / f"data_01_cell_{cell}.npy", known_sta(amplitude))
    found = load_session_filters(tmp_path, pattern, "01", [7, 4], flip=True, shape=(12, 15), temporal_frames=4)
    assert found.spatial.shape == (2, 12, 15)
    assert found.temporal.shape == (2, 4)
    for number, cell in enumerate((7, 4)):
        sta = load_sta(tmp_path / f"data_01_cell_{cell}.npy", True, (12, 15))
        alone = filters_of_sta(sta, 4)
        np.testing.assert_array_equal(found.spatial[number], alone.spatial)
        np.testing.assert_array_equal(found.temporal[number], alone.temporal)
        assert found.fits[number].centre == alone.fit.centre


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("sta_{sesion}_{cell}.npy", r'has the placeholder \{sesion\}; did you mean "session"\?'),
        ("sta_{}_{cell}.npy", r"has the placeholder \{\}; choose among session, cell, "),
        ("sta_{cell.real}.npy", r"has the placeholder \{cell.real\}"),
        ("sta_{session}.npy", r"needs \{cell\}"),
        ("sta_{cell.npy", "cannot be filled in"),
        ("sta_{session:d}_{cell}.npy", "cannot be filled in"),
    ],
)
def test_patterns_that_are_wrong(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_session_filters(tmp_path, pattern, "01", [1])
    assert pattern in str(error.value)
    assert "\n" not in str(error.value)


def test_the_neurons_of_a_session_need_filters_of_one_size(tmp_path: Path) -> None:
    saved(tmp_path / "1.npy", known_sta())
    saved(tmp_path / "2.npy", known_sta()[:, 1:])
    with pytest.raises(UserError, match=r"its filters have 13x17 pixels and 5 frames, those of 1\.npy 14x17") as error:
        load_session_filters(tmp_path, "{cell}.npy", "a", [1, 2])
    message_of(error, tmp_path / "2.npy")
    with pytest.raises(UserError, match="a: has no neurons"):
        load_session_filters(tmp_path, "{cell}.npy", "a", [])
    assert load_session_filters(tmp_path, "{cell}.npy", "a", [1, 2], shape=(12, 12)).spatial.shape == (2, 12, 12)
