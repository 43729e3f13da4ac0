"""Tables of free masks, LNP models and spatial contrast: slices, sessions, constraints, patches, errors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.modules.readouts.receptive_field import filter_each_in_time, filter_in_time

N, HEIGHT, WIDTH, FRAMES = 5, 6, 7, 3
KINDS = {
    "factorized": {
        "mask_constraint": "abs",
        "feature_constraint": "absnorm",
        "init_features": (0.0, 3.0),
        "average_penalty": True,
    },
    "lnp": {"bias": True, "gamma_smooth": 0.7, "gamma_sparse": 0.3, "smoothness": "gaussian_laplace"},
    "separable_lnp": {
        "temporal_frames": FRAMES,
        "spatial_size": (4, 3),
        "rank": 2,
        "gamma_smooth_space": 0.7,
        "gamma_smooth_time": 0.4,
        "gamma_sparse": 0.3,
    },
    "spatial_contrast": {"temporal_frames": FRAMES, "patch": (4, 3), "neurons_per_chunk": 2, "nonnegative": "w"},
}
PENALTIES = [
    ("factorized", "gamma_mask"),
    ("factorized", "gamma_features"),
    ("factorized", "gamma_laplace"),
    ("lnp", "gamma_smooth"),
    ("lnp", "gamma_sparse"),
    ("separable_lnp", "gamma_smooth_space"),
    ("separable_lnp", "gamma_smooth_time"),
    ("separable_lnp", "gamma_sparse"),
]


def features_of(kind: str) -> int:
    return 1 if kind == "spatial_contrast" else 2


def make(kind: str, n: int = N, image: tuple[int, int] = (HEIGHT, WIDTH), **options: Any) -> Any:
    """A readout of that kind with different parameters in every row."""
    given = {name: options.pop(name) for name in ("rf_location", "session_sizes", "mean_activity") if name in options}
    given |= {"in_shape": (*image, features_of(kind)), "n_neurons": n, "rngs": nnx.Rngs(0)}
    readout = READOUTS.make({"kind": kind, **KINDS[kind], **options}, given)
    if kind == "spatial_contrast":
        random = np.random.default_rng(0)
        spatial, temporal = random.random((n, *image)), random.standard_normal((n, readout.frames))
        readout.set_filters(spatial, temporal, random.integers(0, 7, (n, 2)))
        for name in "wabc":
            getattr(readout, name)[...] = jnp.asarray(random.standard_normal(n), jnp.float32)
    return readout


@functools.partial(nnx.jit, static_argnames="width")
def compiled(readout: Readout, x: jax.Array, first: jax.Array, width: int | None) -> jax.Array:
    return readout(x, first, width)


def respond(readout: Readout, x: Any, first: int = 0, width: int | None = None) -> np.ndarray:
    """Responses, by a program that is compiled once for readouts of one kind and shape."""
    return np.asarray(compiled(readout, jnp.asarray(x), jnp.asarray(first), width=width))


def arrays(readout: Readout) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(readout))]


def movie(kind: str, time: int = FRAMES + 2, image: tuple[int, int] = (HEIGHT, WIDTH)) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (2, time, *image, features_of(kind)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_slices_equal_the_whole(kind: str) -> None:
    readout, x = make(kind), movie(kind)
    whole = np.asarray(readout(x))
    assert whole.shape == (2, x.shape[1] - readout.frames + 1, N)
    np.testing.assert_allclose(respond(readout, x, 2, 3), whole[..., 2:], rtol=1e-5)
    both = jax.jit(jax.vmap(lambda x, first: readout(x, first, 3)))
    parts = np.asarray(both(jnp.stack([x, 2 * x]), jnp.array([1, 0])))
    np.testing.assert_allclose(parts[0], whole[..., 1:4], rtol=1e-5)
    np.testing.assert_allclose(parts[1], respond(readout, 2 * x)[..., :3], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_maps(kind: str) -> None:
    readout, x = make(kind), movie(kind)
    half = respond(readout, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, respond(readout, x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_projection_moves_only_its_rows_and_no_response(kind: str) -> None:
    readout, x = make(kind), movie(kind)
    before, responses = arrays(readout), respond(readout, x)
    rows = jnp.arange(N) < 3
    readout.project(rows)
    np.testing.assert_allclose(respond(readout, x), responses, rtol=1e-4, atol=1e-5)
    moved = 0
    for old, new in zip(before, arrays(readout), strict=True):
        np.testing.assert_array_equal(new[3:], old[3:])
        moved += int((new[:3] != old[:3]).any())
    assert moved == {"factorized": 2, "lnp": 0, "separable_lnp": 2, "spatial_contrast": 1}[kind]


@pytest.mark.parametrize("kind", ["factorized", "lnp", "separable_lnp"])
def test_penalty_of_two_sessions_in_a_slice(kind: str) -> None:
    """The sum of the penalties of both; rows of neither do not count."""
    readout = make(kind, n=6)
    of_both = nnx.jit(lambda readout: readout.penalty(1, jnp.array([0, 0, 1, 2, 1]), 2))
    both = of_both(readout)
    first, second = nnx.jit(
        lambda readout: (
            readout.penalty(1, jnp.array([0, 0]), 1),
            readout.penalty(1, jnp.array([1, 1, 0, 1, 0]), 1),
        )
    )(readout)
    np.testing.assert_allclose(both, first + second, rtol=1e-5)
    nnx.update(readout, jax.tree.map(lambda rows: rows.at[4].set(100.0), nnx.state(readout, nnx.Param)))
    np.testing.assert_allclose(of_both(readout), both, rtol=1e-5)


@pytest.mark.parametrize(("kind", "gamma"), PENALTIES)
def test_penalties_have_gradients(kind: str, gamma: str) -> None:
    gammas = {name: 0.0 for of, name in PENALTIES if of == kind}
    readout = make(kind, **gammas | {gamma: 1.0})
    gradients = gradient_of(readout, lambda readout: readout.penalty(0, jnp.zeros(N, int), 1))
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    assert 0 < largest < np.inf


def test_no_roughness_of_small_kernels_without_its_weight() -> None:
    readout = make("factorized", image=(2, 2), gamma_laplace=0.0)
    assert np.isfinite(readout.penalty(0, jnp.zeros(N, int), 1))
    with pytest.raises(UserError, match="larger kernels"):
        make("factorized", image=(2, 2)).penalty(0, jnp.zeros(N, int), 1)


@pytest.mark.parametrize("kind", ["separable_lnp", "spatial_contrast"])
def test_patches_at_the_border(kind: str) -> None:
    """A patch that would leave the image is shifted: the neuron sees what one of the cropped movie sees."""
    where = np.array([[0, 0], [5, 6], [3, 3], [0, 6], [5, 0]])
    corners = [[0, 0], [2, 4], [1, 2], [0, 4], [2, 0]]
    readout, x = make(kind, rf_location=jnp.asarray(where)) if kind == "separable_lnp" else make(kind), movie(kind)
    if kind == "spatial_contrast":
        spatial = np.random.default_rng(1).random((N, HEIGHT, WIDTH))
        readout.set_filters(spatial, np.asarray(readout.temporal[...]), where + 0.9)
    np.testing.assert_array_equal(readout.corner[...], corners)
    responses = respond(readout, x)
    small = make(kind, image=(4, 3))
    nnx.update(small, nnx.state(readout))
    small.corner[...] = jnp.zeros((N, 2), jnp.int32)
    for neuron, (row, column) in enumerate(corners):
        cropped = np.asarray(x)[:, :, row : row + 4, column : column + 3]
        np.testing.assert_allclose(
            respond(small, cropped, neuron, 1)[..., 0], responses[..., neuron], rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(("time", "frames"), [(9, 1), (9, 4), (9, 8), (9, 9), (23, 4)])
def test_filter_in_time(time: int, frames: int) -> None:
    x, kernel = jax.random.normal(jax.random.key(0), (2, time, 3)), jax.random.normal(jax.random.key(1), (frames,))
    expected = np.apply_along_axis(np.correlate, 1, x, kernel, "valid")
    np.testing.assert_allclose(jax.jit(filter_in_time)(x, kernel), expected, rtol=1e-4, atol=1e-5)
    kernels = jnp.stack([kernel, 0 * kernel, -kernel], axis=1)
    each = jax.jit(filter_each_in_time)(x, kernels)
    np.testing.assert_allclose(each, expected * np.array([1, 0, -1]), rtol=1e-4, atol=1e-5)


def test_weights_of_factorized_and_lnp() -> None:
    readout = make("factorized")
    assert (readout.masks() >= 0).all()
    np.testing.assert_allclose(jnp.linalg.norm(readout.feature_weights(), axis=1), 1, rtol=1e-2)
    lnp = make("lnp", mean_activity=jnp.arange(N, dtype=jnp.float32))
    np.testing.assert_array_equal(lnp.bias[...], np.arange(N))
    norm = jnp.sqrt(jnp.square(lnp.kernel[...]).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(jnp.linalg.norm(lnp.masks(), axis=(1, 2)), norm, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(lnp.feature_weights(), axis=1), norm, rtol=1e-5)


def test_initial_lnp_kernels_depend_on_their_own_session() -> None:
    one, two = make("lnp", n=400), make("lnp", n=400, session_sizes=(2, 398))
    assert two.kernel[...].shape == one.kernel[...].shape
    np.testing.assert_allclose(two.kernel[...][2:].std() / one.kernel[...].std(), 1, atol=0.05)
    np.testing.assert_allclose(two.kernel[...][:2].std() / one.kernel[...].std(), (402 / 4) ** 0.5, rtol=0.2)


def test_separable_kernels() -> None:
    """Responses and weights are those of the sum of the products of kernels."""
    readout, x = make("separable_lnp", normalize=False), movie("separable_lnp")
    kernels = jnp.einsum("nrchw,nrt->nthwc", readout.spatial[...], readout.temporal[...])
    row, column = np.asarray(readout.corner[...][0])
    patch = x[:, :, row : row + 4, column : column + 3]
    windows = jnp.stack([patch[:, n : n + 3] for n in range(FRAMES)], axis=2)
    drive = jnp.einsum("bstyxc,ntyxc->bsn", windows, kernels)
    np.testing.assert_allclose(readout(x), jax.nn.softplus(drive), rtol=1e-4)
    np.testing.assert_allclose(readout.feature_weights(), jnp.sqrt((kernels**2).sum((1, 2, 3))), rtol=1e-4)
    masks = readout.masks()
    np.testing.assert_allclose(
        masks[:, row : row + 4, column : column + 3], jnp.sqrt((kernels**2).sum((1, 4))), rtol=1e-4
    )
    assert masks.shape == (N, HEIGHT, WIDTH)


def test_normalized_kernels() -> None:
    readout = make("separable_lnp")
    readout.spatial[...] = readout.spatial[...].at[0].set(0)
    readout.project(jnp.ones(N, bool))
    for kernels in (readout.spatial[...], readout.temporal[...]):
        norms = jnp.sqrt(jnp.square(kernels).sum(axis=tuple(range(1, kernels.ndim))))
        np.testing.assert_allclose(norms[1:], 1, rtol=1e-5)
    assert not readout.spatial[...][0].any()


@pytest.mark.parametrize("nonlinearity", ["softplus", "exp"])
def test_nonlinearity_without_parameters(nonlinearity: str) -> None:
    readout = make("separable_lnp", nonlinearity=nonlinearity)
    assert readout.bias is None is readout.scale
    assert np.isfinite(readout(movie("separable_lnp"))).all()


def test_contrast_does_not_depend_on_chunks_or_empty_pixels() -> None:
    x = movie("spatial_contrast")
    readout = make("spatial_contrast")
    whole = make("spatial_contrast", patch=None, neurons_per_chunk=100)
    corner, masks = readout.corner[...], readout.masks()
    nnx.update(whole, nnx.state(readout, nnx.Param))
    whole.set_filters(np.asarray(masks), np.asarray(readout.temporal[...]), np.zeros((N, 2)))
    np.testing.assert_allclose(respond(whole, x), respond(readout, x), rtol=1e-4, atol=1e-6)
    assert (corner != 0).any()
    ours, theirs = (gradient_of(r, lambda r: (r(x) ** 2).sum()) for r in (readout, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, theirs)


@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_image_without_contrast(floor: float) -> None:
    """A uniform image has variance exactly 0: responses and all gradients are finite."""
    readout = make("spatial_contrast", variance_floor=floor)
    uniform = jnp.zeros_like(movie("spatial_contrast"))
    responses, gradient = jax.jit(jax.value_and_grad(lambda x: readout(x).sum()))(uniform)
    assert np.isfinite(responses)
    assert np.isfinite(gradient).all()
    assert (gradient != 0).any()
    gradients = gradient_of(readout, lambda r: r(uniform).sum())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_contrast_clips_what_it_should() -> None:
    for nonnegative in ("a", "w", None):
        readout = make("spatial_contrast", nonnegative=nonnegative)
        readout.project(jnp.ones(N, bool))
        for name in "wabc":
            assert bool((getattr(readout, name)[...] >= 0).all()) == (name == nonnegative), (nonnegative, name)


def test_fresh_contrast_readout_has_no_filters() -> None:
    options = {"kind": "spatial_contrast", "sta_folder": "stas", "flip_sta": True}
    given = {"in_shape": (HEIGHT, WIDTH, 1), "n_neurons": N, "mean_activity": jnp.ones(N), "rngs": nnx.Rngs(0)}
    readout = READOUTS.make(options, given)
    assert (readout.sta_folder, readout.flip_sta, readout.frames) == ("stas", True, 30)
    assert not readout.masks().any()
    assert not readout.penalty(0, jnp.zeros(N, int), 1)
    assert np.isfinite(readout(jnp.ones((1, 30, HEIGHT, WIDTH, 1)))).all()


def test_mistakes() -> None:
    given = {"in_shape": (HEIGHT, WIDTH, 2), "n_neurons": N, "rngs": nnx.Rngs(0)}
    with pytest.raises(UserError, match=r"one feature, not 2.*color_weights"):
        READOUTS.make({"kind": "spatial_contrast"}, given)
    with pytest.raises(UserError, match="15 x 15 pixels is larger than the image, 6 x 7"):
        READOUTS.make({"kind": "separable_lnp", "temporal_frames": 3}, given)
    with pytest.raises(UserError, match="needs temporal_frames"):
        READOUTS.make({"kind": "separable_lnp"}, given)
    with pytest.raises(UserError, match="feature_constraint is 'norms'"):
        READOUTS.make({"kind": "factorized", "feature_constraint": "norms"}, given)
    with pytest.raises(UserError, match="smoothness is 'LaplaceL2norm'"):
        READOUTS.make({"kind": "lnp", "smoothness": "LaplaceL2norm"}, given)
    with pytest.raises(UserError, match='"softplu" is unknown'):
        READOUTS.make({"kind": "lnp", "nonlinearity": "softplu"}, given)
    for kind in ("separable_lnp", "spatial_contrast"):
        with pytest.raises(UserError, match="2 frames are too few for temporal filters of 3"):
            make(kind)(movie(kind, time=2))
    readout = make("spatial_contrast")
    with pytest.raises(UserError, match=r"temporal filters .* have shape \(5, 4\), the readout needs \(5, 3\)"):
        readout.set_filters(np.ones((N, HEIGHT, WIDTH)), np.ones((N, 4)), np.zeros((N, 2)))


def gradient_of(readout: Readout, scalar: Any) -> nnx.State:
    """Gradient of a number with respect to the parameters of a readout."""
    graph, params, rest = nnx.split(readout, nnx.Param, ...)
    return jax.jit(jax.grad(lambda params: scalar(nnx.merge(graph, params, rest, copy=True))))(params)
