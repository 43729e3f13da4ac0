"""Models from plain options."""

import json
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout, on_maps
from openretina_jax.modules.cores import CORES
from tests import tiny

THREE_LAYERS = {
    "hidden_channels": (4, 4, 4),
    "temporal_kernel_sizes": (3, 3, 3),
    "spatial_kernel_sizes": (5, 3, 3),
    "hidden_padding": (0, 1, 1),
}


def options(core: dict[str, Any] | None = None, readout: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """The tiny model's options with some replaced; None takes an option away."""
    changed = {
        "core": tiny.MODEL["core"] | (core or {}),
        "readout": tiny.MODEL["readout"] | (readout or {}),
    }
    return {part: {name: v for name, v in given.items() if v is not None} for part, given in changed.items()}


def arrays(model: nnx.Module) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


@pytest.mark.slow
def test_shapes() -> None:
    info = tiny.dataset().info
    model = make_core_readout(options(), info)
    movie = np.zeros((2, tiny.CLIP_LENGTH, tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS), np.float32)
    assert model.lag == 6
    assert tiny.predict(model, movie).shape == (2, tiny.CLIP_LENGTH - 6, info.n_neurons)
    np.testing.assert_allclose(model.readout.bias[...], np.concatenate(list(info.mean_activity.values())), rtol=1e-6)


def test_seed_draws_the_parameters() -> None:
    first, again, other = (make_core_readout(options(), tiny.dataset().info, seed) for seed in (1, 1, 2))
    for a, b in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(arrays(first), arrays(other), strict=True))


def test_options_may_come_from_json() -> None:
    read = json.loads(json.dumps(options()))
    for a, b in zip(arrays(make_core_readout(read, tiny.dataset().info)), arrays(tiny.model()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_that_is_a_readout_alone() -> None:
    model = make_core_readout({**options(), "core": {"kind": "identity", "cut_first_frames": 5}}, tiny.dataset().info)
    assert model.readout.in_shape == (tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS)
    assert model.lag == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            options(core={"kind": "simpel"}),
            "core kind 'simpel' is unknown; choose among gru, identity, simple, or import",
        ),
        (options(core={"kind": None}), "core kind None is unknown"),
        (options(readout={"kind": "mask"}), "readout kind 'mask' is unknown; choose among cloned, .*gaussian_mask"),
        (options(core={"hiden_channels": 3}), 'core "simple" has no option "hiden_channels"; did you mean "hidden_ch'),
        (options(readout={"positiv": True}), 'has no option "positiv"; did you mean "positive"'),
        (options(readout={"zzz": 1}), 'has no option "zzz"; choose among mean_scale, var_scale, positive'),
        (options(core={"in_channels": 3}), 'core "simple" has no option "in_channels"'),
        (options(core={"hidden_channels": None}), 'core "simple" needs hidden_channels$'),
        (options(core={"temporal_kernel_sizes": (7, 5)}), r"temporal_kernel_sizes \(7, 5\) has 2 entries for 1 layers"),
        (options(core={"hidden_channels": 4}), r"hidden_channels is 4, but must be tuple\[int, \.\.\.\]"),
        (options(readout={"positive": "yes"}), "readout \"gaussian_mask\": positive is 'yes', but must be bool"),
        (options(core={"hidden_channels": ()}), "a core needs at least one layer"),
        (options(core={"spatial_kernel_sizes": (11,)}), "12 x 10 pixels leaves .* take smaller kernels or pad more"),
        (options(core=THREE_LAYERS | {"spatial_kernel_sizes": (11, 3, 3)}), "12 x 10 pixels leaves .* take smaller"),
        (options(core=THREE_LAYERS | {"pool_every": 1}), "12 x 10 pixels leaves .* take smaller kernels or pad more"),
    ],
)
def test_options_that_are_wrong(changed: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_core_readout(changed, tiny.dataset().info)


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [False, True])
def test_maps_look_at_the_pixels_that_their_middle_says(pooled: bool) -> None:
    """One point of the maps depends on the pixels around the one that is said to lie there."""
    options = {"kind": "simple", "convolution": "time_independent", "hidden_channels": (2, 2), "hidden_padding": "same"}
    sizes = {"temporal_kernel_sizes": (1, 1), "spatial_kernel_sizes": (5, 3), "pool_every": 2 if pooled else None}
    core = CORES.make(options | sizes, {"in_channels": 1, "n_sessions": 1, "rngs": nnx.Rngs(0)})
    core.eval()
    pixels = np.array([[11, 20], [16, 8]])
    rows, columns = np.rint(np.asarray(on_maps(core, (24, 32, 1), pixels))).astype(int).T
    movie = jax.random.normal(jax.random.key(0), (1, 1, 24, 32, 1))
    slope = jax.jit(jax.grad(lambda x, row, column: core(x)[0, 0, row, column].sum()))
    for row, column, pixel in zip(rows, columns, pixels, strict=True):
        seen = slope(movie, row, column)[0, 0, ..., 0]
        touched = np.argwhere(np.abs(seen) > 1e-4 * np.abs(seen).max())
        assert np.abs(touched.mean(axis=0) - pixel).max() <= 1
