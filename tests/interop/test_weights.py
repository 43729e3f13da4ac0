"""Arrays of openretina in our axes and back, and what does not fit."""

import numpy as np
import pytest

from openretina_jax.interop.torch_files import read_lightning_checkpoint
from openretina_jax.interop.weights import array_to_ours, array_to_theirs, load_state
from tests.interop.frozen import load, path_of


@pytest.mark.parametrize(
    ("theirs", "axes", "ours"),
    [
        ((2, 3), "", (2, 3)),
        ((2, 3, 1, 4, 5), "o i 1 h w -> o i h w", (2, 3, 4, 5)),
        ((1, 3, 1, 2), "1 c 1 n -> n c", (2, 3)),
        ((20, 3), "(h w) n -> n h w", (3, 4, 5)),
        ((), "-> 1", (1,)),
        ((1,), "1 ->", ()),
    ],
)
def test_axes_there_and_back(theirs: tuple[int, ...], axes: str, ours: tuple[int, ...]) -> None:
    array = np.arange(float(np.prod(theirs))).reshape(theirs)
    moved = array_to_ours(array, axes, ours)
    assert moved is not None
    assert moved.shape == ours
    np.testing.assert_array_equal(array_to_theirs(moved, axes), array)
    assert array_to_ours(array[None], axes, ours) is None
    assert array_to_ours(array, axes, (*ours, 1)) is None


def test_values_of_two_axes_in_one() -> None:
    moved = array_to_ours(np.arange(6).reshape(6, 1), "(h w) n -> n h w", (1, 2, 3))
    np.testing.assert_array_equal(moved, [[[0, 1, 2], [3, 4, 5]]])


def test_every_weight_that_does_not_fit_is_listed() -> None:
    trained = load("by_command_line")
    state = dict(read_lightning_checkpoint(path_of("by_command_line")).state)
    state["core.features.layer7.conv.sin_weights"] = np.zeros(3)
    state["readout.unknown.bias"] = np.zeros(2)
    state["readout.left_a.mask_mean"] = np.zeros((3, 2))
    del state["core.features.layer0.norm.running_var"], state["readout.right_b.features"]
    before = np.asarray(trained.readout.bias[...])
    problems = load_state(trained, state)
    for name, what in (
        ("core.features.layer7.conv.sin_weights", "is left over"),
        ("readout.unknown.bias", "is left over"),
        ("readout.left_a.mask_mean", "has shape (3, 2)"),
        ("core.features.layer0.norm.running_var", "is missing"),
        ("readout.right_b.features", "is missing"),
    ):
        assert [line for line in problems if line.startswith(f"{name} {what}")], (name, problems)
    assert len(problems) == 5
    np.testing.assert_array_equal(trained.readout.bias[...], before)
