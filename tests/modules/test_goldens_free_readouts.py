"""Readouts whose weights have no particular shape: factorized, LNP and spatial contrast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.modules.readouts.receptive_field import crop_patch, patch_corners
from tests import reference
from tests.goldens_case import Case, case, cases, every_case
from tests.module_goldens import check_module
from tests.reference import make_readout

ELSEWHERE = {"GaussianMaskReadout", "PointGaussianReadout", "ClonedReadout"}
READOUT_CASES = [c for c in cases("readout") if c.entry["path"].rsplit(".", 1)[1] not in ELSEWHERE]
LNP_CELL_CASES = [c for c in cases("model") if c.entry["path"].endswith("SingleCellSeparatedLNP")]
CROP_CASES = [c for c in cases("model") if c.entry["path"].endswith("SingleCellSeparatedLNP.crop_input")]
CONTRAST_CELL_CASES = [
    c for c in cases("sta") if c.entry["path"].endswith("SingleCellSpatialContrast") and c.entry["kind"] == "module"
]


def test_no_case_is_missed() -> None:
    assert READOUT_CASES
    assert CONTRAST_CELL_CASES
    names = {c.name for c in cases("model") if "lnp_cell" in c.name}
    assert names == {c.name for c in LNP_CELL_CASES + CROP_CASES} != set()


def check_readout(case: Case, readout: nnx.Module) -> None:
    """Output, gradients, constrained parameters and penalty of a readout of one session."""
    one_session = jnp.zeros(readout.n_neurons, int)
    check_module(case, readout, call=with_projection, penalty=lambda readout: readout.penalty(0, one_session, 1))


def with_projection(readout: nnx.Module, x: jax.Array) -> jax.Array:
    """The reference constrains the stored weights whenever it is called."""
    output = readout(x)
    readout.project(jnp.ones(readout.n_neurons, bool))
    return output


@every_case(READOUT_CASES)
def test_readout_group(case: Case) -> None:
    channels, _, height, width = case.kwargs["in_shape"]
    options = {}
    if case.entry["path"].endswith("FactorizedReadout"):
        options["average_penalty"] = "reduction='mean'" in case.entry["doc"]
    elif case.entry["path"].endswith("SpatialContrastReadout"):
        options["temporal_frames"] = case.array("param/temporal_filters").shape[1]
    readout = make_readout(
        case.entry["path"], case.kwargs, (channels, height, width), case.kwargs["outdims"], **options
    )
    check_readout(case, readout)


@every_case(LNP_CELL_CASES)
def test_separable_lnp(case: Case) -> None:
    """The reference crops the movie before it calls the model: the patch is the whole image."""
    patch = case.array("input/x").shape[3:]
    channels, frames = case.kwargs["in_shape"][:2]
    readout = make_readout(case.entry["path"], case.kwargs, (channels, *patch), 1, temporal_frames=frames)
    check_readout(case, readout)


@every_case(CROP_CASES)
def test_patch_around_receptive_field(case: Case) -> None:
    """Inside the image the patch is the reference's; near the border ours is shifted, where the reference's shrinks."""
    movie = case.array("input/x")
    for variant, kwargs in case.kwargs.items():
        image, patch = movie.shape[3:], tuple(kwargs["spat_kernel_size"])
        location = kwargs["rf_location"] or (image[0] // 2, image[1] // 2)
        (corner,) = np.asarray(patch_corners(np.array([location]), patch, image))
        ours = np.asarray(crop_patch(jnp.asarray(movie), jnp.asarray(corner), patch))
        reference = case.array(f"output/{variant}")
        first = np.maximum(np.subtract(location, np.floor_divide(patch, 2)), 0) - corner
        last = first + reference.shape[3:]
        np.testing.assert_array_equal(ours[..., first[0] : last[0], first[1] : last[1]], reference)
        assert ours.shape[3:] == patch, variant


@every_case(CONTRAST_CELL_CASES)
def test_spatial_contrast_of_one_cell(case: Case) -> None:
    channels, _, *image = case.kwargs["in_shape"]
    spatial, temporal = case.array("param/spatial_filter"), case.array("param/temporal_filter")
    readout = make_readout(case.entry["path"], case.kwargs, (channels, *image), 1, temporal_frames=len(temporal))
    # the case does not say where the patch lies, but the gradient does
    corner = first_pixel(case.array("grad_input")) - first_pixel(spatial)
    filters = np.zeros((1, *image), np.float32)
    filters[0, corner[0] :, corner[1] :][: spatial.shape[0], : spatial.shape[1]] = spatial
    centre = corner + np.floor_divide(spatial.shape, 2)
    readout.set_filters(filters, temporal[None], centre[None])
    np.testing.assert_array_equal(readout.spatial[...][0], spatial)
    np.testing.assert_array_equal(readout.corner[...][0], corner)
    check_readout(case, readout)


def first_pixel(array: np.ndarray) -> np.ndarray:
    """First row and first column of the last two axes that is not 0."""
    seen = (array != 0).any(axis=tuple(range(array.ndim - 2)))
    return np.array([seen.any(axis=1).argmax(), seen.any(axis=0).argmax()])


@pytest.mark.parametrize("kind", ["factorized", "lnp", "lnp_cell"])
def test_initial_weights(kind: str) -> None:
    """Means and standard deviations of fresh parameters."""
    module = case("init", "parameter_statistics").entry["modules"][kind]
    kwargs = {name: value for name, value in module["kwargs"].items() if name != "mean_activity"}
    channels, frames, height, width = kwargs["in_shape"]
    options = {"temporal_frames": frames} if kind == "lnp_cell" else {}
    readout = make_readout(module["path"], kwargs, (channels, height, width), kwargs.get("outdims", 1), **options)
    variables = reference.variables(readout)
    shaped = {name: np.zeros(statistics["shape"]) for name, statistics in module["state"].items()}
    for name, place in reference.places(readout, shaped).items():
        if place.path == "bias" and "mean_activity" in module["kwargs"]:
            continue
        statistics, values = module["state"][name], np.asarray(variables[place.path][...])
        error = statistics["std"] / values.size**0.5
        np.testing.assert_allclose(values.mean(), statistics["mean"], atol=8 * error, err_msg=name)
        np.testing.assert_allclose(values.std(), statistics["std"], atol=8 * error, err_msg=name)
