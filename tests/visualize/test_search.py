"""Pictures of a search show every trial."""

import numpy as np
import pandas as pd

from openretina_jax.visualize.search import plot_importances, plot_scores, plot_slices

TRIALS = pd.DataFrame(
    {
        "trial": [3, 0, 1, 2],
        "state": ["complete", "complete", "pruned", "failed"],
        "value": [0.5, 0.4, 0.2, np.nan],
        "optimizer.learning_rate": [0.01, 0.1, 0.5, 0.9],
        "optimizer.clip_norm": [1.0, 2.0, 3.0, 4.0],
        "train.order": ["shared", "session", "shared", "session"],
        "seed": [1, 2, 3, 4],
    }
)


def test_scores_and_the_best_so_far() -> None:
    axes = plot_scores(TRIALS, "validation/correlation").axes[0]
    complete, pruned, best = axes.lines
    assert sorted(zip(complete.get_xdata(), complete.get_ydata(), strict=True)) == [(0, 0.4), (3, 0.5)]
    assert list(zip(pruned.get_xdata(), pruned.get_ydata(), strict=True)) == [(1, 0.2)]
    assert list(best.get_ydata()) == [0.4, 0.5]
    assert axes.collections[0].get_segments()[0][0][0] == 2  # failed
    *_, best = plot_scores(TRIALS, "validation/loss").axes[0].lines
    assert list(best.get_ydata()) == [0.4, 0.4]


def test_importances() -> None:
    axes = plot_importances({"a": 0.2, "b": 0.7, "c": 0.1}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b"]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]


def test_slices() -> None:
    scales = {
        "optimizer.learning_rate": "log",
        "optimizer.clip_norm": "linear",
        "train.order": ["shared", "session"],
        "seed": "linear",
    }
    rate, clip, order, seed = plot_slices(TRIALS, scales, "validation/correlation").axes
    assert [axes.get_xscale() for axes in (rate, clip, order, seed)] == ["log", "linear", "linear", "linear"]
    assert list(rate.lines[0].get_xdata()) == [0.01, 0.1]
    assert [label.get_text() for label in order.get_xticklabels()] == ["shared", "session"]
    assert list(order.lines[0].get_xdata()) == [0, 1]
    assert rate.get_ylabel() == seed.get_ylabel() == "validation/correlation"
