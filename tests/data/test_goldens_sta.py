"""Spike-triggered averages of the reference: fits, masks, filters, files."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from openretina_jax.data.sta import (
    GaussianFit,
    StaFilters,
    contour_mask,
    filters_of_sta,
    fit_gaussian,
    gaussian_2d,
    load_sta,
)
from tests.goldens_case import Case, cases

ROUNDING = 1e-12
FIT_TOLERANCE = 1e-3  # of a search that ends where it no longer gains much


def place(case: Case) -> tuple[tuple[int, int], tuple[float, float], tuple[float, float], float]:
    """Shape, centre, sigma and angle."""
    height, width = case.kwargs["shape"]
    y, x, first, second, theta = (
        float(case.kwargs[name]) for name in ("center_y", "center_x", "sigma_x", "sigma_y", "theta")
    )
    return (height, width), (y, x), (first, second), theta


def check_gaussian(case: Case) -> None:
    case.check("output", gaussian_2d(*place(case), float(case.kwargs["amplitude"])))


def check_mask(case: Case) -> None:
    for number, sigma_contour in enumerate(map(float, case.kwargs["n_sigma"])):
        # a pixel on the contour itself is inside or outside by the last bit of a sine
        inner, outer = (contour_mask(*place(case), sigma_contour * (1 + sign * ROUNDING)) for sign in (-1, 1))
        reference = case.array(f"output/n{number}")
        np.testing.assert_array_equal(reference[inner == outer], inner[inner == outer])
        np.testing.assert_array_equal(contour_mask(*place(case), sigma_contour)[inner == outer], inner[inner == outer])


def canonical(values: np.ndarray) -> np.ndarray:
    """The parameters (x, y, first sigma, second sigma, theta, amplitude) with the long axis first, theta in [0, pi)."""
    x, y, first, second, theta, amplitude = values
    if first < second:
        first, second, theta = second, first, theta + np.pi / 2
    return np.array([x, y, first, second, theta % np.pi, amplitude])


def check_fit_values(case: Case, name: str, fit: GaussianFit) -> None:
    y, x = fit.centre
    values, expected = np.array([x, y, *fit.sigma, fit.theta, fit.amplitude]), canonical(case.array(name))
    # angles just below pi are near to 0; that of a round Gaussian means nothing
    turn = (values[4] - expected[4] + np.pi / 2) % np.pi - np.pi / 2
    assert abs(turn) * (1 - expected[3] / expected[2]) < FIT_TOLERANCE, (case.name, values, expected)
    values[4] = expected[4] = 0
    np.testing.assert_allclose(values, expected, rtol=FIT_TOLERANCE, atol=FIT_TOLERANCE, err_msg=case.name)


def check_fit(case: Case) -> None:
    frame = case.array("input/frame")
    fit = fit_gaussian(frame)
    assert fit.success
    check_fit_values(case, "output/params", fit)
    _, _, first, second, *_ = case.array("output/params")
    order = [0, 1, 3, 2, 4, 5] if first < second else [0, 1, 2, 3, 4, 5]
    covariance = case.array("output/covariance")[np.ix_(order, order)]
    np.testing.assert_allclose(fit.covariance, covariance, rtol=FIT_TOLERANCE, atol=1e-5)
    (centre,) = re.findall(r"\((\d+), (\d+)\) for params_initial_center", case.kwargs["initial_center"])
    y, x = map(int, centre)
    check_fit_values(case, "output/params_initial_center", fit_gaussian(frame, (y, x)))


def check_filters(case: Case, filters: StaFilters) -> None:
    case.check("output/spatial_filter", filters.spatial)
    case.check("output/temporal_filter", filters.temporal)
    check_fit_values(case, "output/gaussian_params", filters.fit)
    assert filters.fit.success == case.array("output/success")


def check_extraction(case: Case) -> None:
    kwargs = case.kwargs
    check_filters(
        case,
        filters_of_sta(case.array("input/sta"), kwargs.get("temporal_crop_frames"), kwargs.get("sigma_contour", 3.0)),
    )


def check_file(case: Case) -> None:
    kwargs = case.kwargs
    shape = kwargs.get("target_spatial_shape")
    sta = load_sta(
        case.directory / kwargs["sta_dir"] / kwargs["file_name"],
        flip=kwargs.get("flip_sta", False),
        shape=None if shape is None else tuple(shape),
    )
    check_filters(case, filters_of_sta(sta, kwargs.get("temporal_crop_frames"), kwargs.get("sigma_contour", 3.0)))


CHECKS: dict[str, Callable[[Case], None]] = {
    "gaussian_2d": check_gaussian,
    "create_gaussian_mask": check_mask,
    "fit_2d_gaussian": check_fit,
    "extract_filters_on": check_extraction,
    "extract_filters_off_crop": check_extraction,
    "extract_filters_on_crop_longer_than_sta": check_extraction,
    "extract_filters_nan": check_extraction,
    "load_sta_plain": check_file,
    "load_sta_flip": check_file,
    "load_sta_target_shape": check_file,
    "load_sta_flip_target": check_file,
}

# those of the spatial contrast readout are among the tests of the modules
CASES = [case for case in cases("sta") if not case.name.startswith("sc_")]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden(case: Case) -> None:
    assert case.name in CHECKS, f"{case.name} is not known"
    CHECKS[case.name](case)
