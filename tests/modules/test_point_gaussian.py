"""The readout that reads the feature maps at points: sampling, slices, sharing, options."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.readouts import READOUTS, point_gaussian
from openretina_jax.modules.readouts.point_gaussian import PointGaussianReadout, read_at

HEIGHT, WIDTH, CHANNELS = 5, 7, 3
N, SIZES = 5, (2, 3)
SOURCE = [[1.0, 2.0], [0.0, 1.0], [3.0, 1.0], [2.0, 2.0], [0.0, 5.0]]


def make(n: int = N, sizes: tuple[int, ...] = SIZES, **options: Any) -> PointGaussianReadout:
    given = {"in_shape": (HEIGHT, WIDTH, CHANNELS), "n_neurons": n, "session_sizes": sizes, "rngs": nnx.Rngs(0)}
    return READOUTS.make({"kind": "point_gaussian", **options}, given)


@nnx.jit
def respond(readout: PointGaussianReadout, x: jax.Array, **options: Any) -> jax.Array:
    return readout(x, **options)


def maps(batch: int = 2, time: int = 3) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (batch, time, HEIGHT, WIDTH, CHANNELS))


def coordinate_maps(batch: int, time: int) -> jax.Array:
    """Features 0 and 1 are the coordinates along width and height."""
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-1, 1, HEIGHT))
    features = np.stack([x, y, 0 * x], axis=-1).astype(np.float32)
    return jnp.asarray(np.broadcast_to(features, (batch, time, *features.shape)))


@pytest.mark.parametrize("gaussian", ["full", "uncorrelated", "isotropic"])
def test_positions_have_the_mean_and_covariance_of_the_gaussian(gaussian: str) -> None:
    readout = make(gaussian=gaussian, nonlinearity="identity", bias=False, init_sigma=0.1)
    direction = np.array([[1, 0], [0, 1], [1, 1], [1, -1], [2, 1]], np.float32)
    readout.features[...] = np.pad(direction, ((0, 0), (0, 1)))
    seen = np.asarray(respond(readout, coordinate_maps(50, 100), key=jax.random.key(0))).reshape(-1, N)
    mean = (np.asarray(readout.positions(0, N)) * direction).sum(axis=1)
    sigma = np.asarray(readout.sigma[...])
    root = sigma if gaussian == "full" else sigma[:, :, None] * np.eye(2)
    expected = np.linalg.norm(np.einsum("nij,ni->nj", root, direction), axis=1)
    np.testing.assert_allclose(seen.mean(axis=0), mean, atol=5 * expected.max() / len(seen) ** 0.5)
    np.testing.assert_allclose(seen.std(axis=0), expected, rtol=0.05)
    assert len(np.unique(seen[:, 0])) > 0.99 * len(seen)


@pytest.mark.parametrize("align_corners", [True, False])
def test_points_begin_where_receptive_fields_are(align_corners: bool) -> None:
    pixels = jnp.asarray([[0.0, 0], [4, 6], [1, 2.5], [-3, 9], [jnp.nan, jnp.nan]])
    options = {"align_corners": align_corners, "nonlinearity": "identity", "bias": False}
    given = {"in_shape": (HEIGHT, WIDTH, CHANNELS), "n_neurons": N, "rngs": nnx.Rngs(0), "map_location": pixels}
    readout = READOUTS.make({"kind": "point_gaussian", "start_at_location": True, **options}, given)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for values, expected in ((rows, [0, 4, 1]), (columns, [0, 6, 2.5])):
        x = jnp.asarray(np.broadcast_to(values[..., None], (1, 1, HEIGHT, WIDTH, CHANNELS)), jnp.float32)
        np.testing.assert_allclose(respond(readout, x)[0, 0, :3], expected, atol=1e-5)
    positions = readout.positions(0, N)
    np.testing.assert_array_equal(positions[3], [1, -1])  # the nearest inside
    assert np.abs(positions[4]).max() <= 0.1  # random where it is not known
    started = [
        READOUTS.make({"kind": "point_gaussian", **more}, given | {"rngs": nnx.Rngs(0)}) for more in ({}, options)
    ]
    np.testing.assert_array_equal(started[0].positions(0, N), started[1].positions(0, N))
    assert np.abs(started[0].positions(0, N)).max() <= 0.1


def test_one_draw_for_all_frames() -> None:
    readout = make(sample_per_frame=False)
    x = coordinate_maps(2, 3)
    first, again, other = (respond(readout, x, key=jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, np.broadcast_to(first[:1, :1], first.shape))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gaussian": "isotropic", "align_corners": False},
        {"feature_ids": [7, 1, 1, 7, 3], "position_ids": ["b", "a", "a", "b", "c"]},
        {"position_predictor": {"source_positions": SOURCE, "hidden_layers": 1, "final_tanh": True}},
    ],
    ids=["own", "isotropic", "shared", "predicted"],
)
def test_a_slice_is_part_of_the_whole(options: dict[str, Any]) -> None:
    readout, x = make(**options), maps()
    whole = np.asarray(respond(readout, x))
    assert whole.dtype == jax.eval_shape(readout, x.astype(jnp.bfloat16)).dtype == jnp.float32
    read = jax.jit(lambda first: readout(x, first, 3))
    for first in (0, 1, 2):
        np.testing.assert_allclose(read(jnp.asarray(first)), whole[..., first : first + 3], rtol=1e-5)
    per_frame = respond(readout, x, shift=jnp.zeros((2, 1, 2)))
    np.testing.assert_allclose(per_frame, whole, rtol=1e-5)
    session = jnp.asarray([0, 0, 1, 1, 1])
    parts = readout.penalty(0, session[:2], 2) + readout.penalty(1, jnp.asarray([2, 1, 1, 1]), 2)
    np.testing.assert_allclose(parts, readout.penalty(0, session, 2), rtol=1e-6)


def test_initial_positions_are_used() -> None:
    positions = [[-1.0, 0.5], [1.0, 1.0], [0.0, 0.0], [0.25, -1.0], [-0.5, 0.75]]
    readout = make(initial_positions=positions)
    np.testing.assert_array_equal(readout.positions(0, N), np.asarray(positions, np.float32))


def test_masks_are_densities_around_the_positions() -> None:
    readout = make(2, (2,), initial_positions=[[1.0, -1.0], [0.0, 0.5]], gaussian="isotropic", init_sigma=0.01)
    masks = readout.masks()
    assert masks.shape == (2, HEIGHT, WIDTH)
    np.testing.assert_allclose(masks.sum(axis=(1, 2)), 1, rtol=1e-6)
    assert [np.unravel_index(mask.argmax(), mask.shape) for mask in masks] == [(0, WIDTH - 1), (3, WIDTH // 2)]


def test_means_stay_inside_the_maps_where_the_step_has_them() -> None:
    readout = make()
    readout.means.positions[...] = jnp.full((N, 2), 1.5)
    readout.project(jnp.arange(N) < 2)
    np.testing.assert_array_equal(readout.means.positions[:, 0], [1, 1, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(readout.positions(0, N), 1)


def test_positions_mapped_between_sessions() -> None:
    readout = make(6, (3, 3), position_ids=[0, 1, 2, 2, 1, 0])
    positions = readout.positions(0, 6)
    np.testing.assert_allclose(positions[3:], positions[2::-1], rtol=1e-6)
    means = readout.means
    means.matrix[...], means.offset[...] = 0.5 * means.matrix[...], means.offset[...] + 0.1
    moved = readout.positions(0, 6)
    np.testing.assert_array_equal(moved[:3], positions[:3])
    np.testing.assert_allclose(moved[3:], 0.5 * positions[3:] + 0.1, rtol=1e-5)
    readout.project(jnp.ones(6, bool))
    np.testing.assert_array_equal(means.matrix[0], np.eye(2))
    np.testing.assert_array_equal(means.matrix[1], 0.5 * np.eye(2))
    same = make(6, (3, 3), position_ids=[0, 1, 2, 2, 1, 0], position_map=False)
    assert len(jax.tree.leaves(nnx.state(same.means))) == 2


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("ids", [None, (0, 1, 1, 0, 2)])
def test_penalty_has_a_gradient_where_features_are_owned(average: bool, ids: tuple[int, ...] | None) -> None:
    readout = make(gamma=2.0, average_penalty=average, feature_ids=ids)
    graph, params, rest = nnx.split(readout, nnx.Param, ...)

    def penalty(params: nnx.State) -> jax.Array:
        return nnx.merge(graph, params, rest).penalty(0, jnp.asarray([0, 0, 1, 1, 1]), 2)

    value, gradient = jax.jit(jax.value_and_grad(penalty))(params)
    owned = (2, 3) if ids is None else (2, 1)
    sums = [2 * n * CHANNELS / CHANNELS / (n * CHANNELS if average else 1) for n in owned]
    np.testing.assert_allclose(value, sum(sums), rtol=1e-6)
    assert (gradient["features"][...] > 0).all()


def test_every_parameter_has_a_gradient_in_training() -> None:
    readout = make(feature_ids=[0, 1, 1, 0, 2], position_ids=[0, 1, 1, 0, 2])
    graph, params, rest = nnx.split(readout, nnx.Param, ...)

    def total(params: nnx.State) -> jax.Array:
        return nnx.merge(graph, params, rest)(maps(), key=jax.random.key(0), shift=0.1 * jnp.ones((2, 3, 2))).sum()

    gradient = jax.jit(jax.grad(total))(params)
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gaussian": "iso"}, 'gaussian "iso" is unknown; choose among full, uncorrelated, isotropic'),
        ({"init_mean": 1.5}, "init_mean is 1.5"),
        ({"feature_ids": [0, 1]}, "feature_ids has 2 ids; it must have 5"),
        ({"initial_positions": [[0.0, 0.0]]}, "initial_positions has 1 positions"),
        ({"initial_positions": [[3.0, 0.0]] * N}, "it must have 5 inside -1 to 1"),
        ({"position_predictor": {"hidden_layers": 1}}, "position_predictor needs source_positions"),
        ({"position_predictor": {"source_positions": SOURCE, "hidden_layer": 1}}, 'did you mean "hidden_layers"'),
        ({"position_predictor": {"source_positions": SOURCE[:2]}}, "source_positions has 2 rows of 2 numbers"),
        ({"position_predictor": {"source_positions": [[1.0]] * N}}, "the same for all neurons"),
        (
            {"position_ids": [0] * N, "initial_positions": [[0.0, 0.0]] * N},
            "initial_positions and position_ids exclude each other",
        ),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


@pytest.mark.slow
def test_frames_go_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses and gradients are those of all frames at once, also where the last few are fewer."""
    rng = np.random.default_rng(0)
    images, features, weight = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((2, 9, 5, 4, 3), (6, 3), (2, 9, 6))
    )
    positions = jnp.asarray(rng.uniform(-1.1, 1.1, (2, 9, 6, 2)), jnp.float32)

    def weighed(*given: jax.Array) -> jax.Array:
        return (weight * read_at(*given, align_corners=True)).sum()

    expected = jax.value_and_grad(weighed, (0, 1, 2))(images, positions, features)
    monkeypatch.setattr(point_gaussian, "FRAMES_AT_ONCE", 4)  # of 18
    found = jax.value_and_grad(weighed, (0, 1, 2))(images, positions, features)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
