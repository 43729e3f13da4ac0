"""What is drawn of a sparse autoencoder."""

import numpy as np
from flax import nnx

from openretina_jax.models.autoencoder import SparseAutoencoder
from openretina_jax.visualize.weights import MAX_PATTERNS, plot_patterns

SESSIONS = {"a": 2, "b": 4}


def make(decoder: np.ndarray) -> SparseAutoencoder:
    autoencoder = SparseAutoencoder(decoder.shape[1], hidden=len(decoder), rngs=nnx.Rngs(0))
    autoencoder.decoder[...] = decoder.astype(np.float32)
    return autoencoder


def test_patterns_of_norm_1_in_the_order_of_their_neurons() -> None:
    decoder = np.random.default_rng(0).normal(size=(5, 6)) + 9 * np.eye(6)[[4, 0, 3, 0, 2]]
    axes, bar = plot_patterns(make(decoder), SESSIONS).axes
    order = [1, 3, 4, 2, 0]
    patterns = (decoder / np.linalg.norm(decoder, axis=1, keepdims=True))[order]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), patterns, rtol=1e-5)
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(number) for number in order]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("neuron", "pattern", "weight in the pattern")


def test_sessions_are_separated_and_named() -> None:
    axes, _ = plot_patterns(make(np.eye(6)), SESSIONS).axes
    assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    (names,) = axes.child_axes
    assert [label.get_text() for label in names.get_xticklabels()] == ["a", "b"]
    np.testing.assert_allclose(names.get_xticks(), [0.5, 3.5])


def test_the_most_selective_of_many_patterns_are_shown() -> None:
    decoder = np.ones((MAX_PATTERNS + 2, 6))
    decoder[2:, 3] = 5
    axes, _ = plot_patterns(make(decoder), SESSIONS).axes
    assert axes.images[0].get_array().shape == (MAX_PATTERNS, 6)
    assert axes.get_yticklabels()[0].get_text() == "2"
    assert axes.get_figure().get_suptitle().startswith("100 of 102 patterns")


def test_a_pattern_of_zeros_is_left_blank() -> None:
    axes, _ = plot_patterns(make(np.diag([1, 1, 0, 1, 1, 1])), SESSIONS).axes
    assert axes.images[0].get_clim() == (-1, 1)
    assert sorted(np.abs(axes.images[0].get_array()).sum(axis=1)) == [0, 1, 1, 1, 1, 1]
