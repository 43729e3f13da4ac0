"""Figures of scores: what they show is what they were given."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from openretina_jax.evaluation.tables import score_table
from openretina_jax.visualize import scores
from openretina_jax.visualize.scores import (
    plot_cell_types,
    plot_histograms,
    plot_pairs,
    plot_reliability,
    plot_sessions,
    plot_traces,
)
from openretina_jax.visualize.style import pixels
from tests.evaluation.simulated import responses

GIVEN = responses()
TABLE = score_table(GIVEN)
ONCE = score_table(responses(trials=1))


def test_histograms_of_the_scores_that_are_known() -> None:
    axes = plot_histograms(TABLE, 0.15).axes
    assert len(axes) == 4
    assert all(sum(patch.get_height() for patch in one.patches) == len(TABLE) for one in axes)
    assert axes[-1].get_legend_handles_labels()[1] == ["limit 0.15"]
    assert len(plot_histograms(ONCE, None).axes) == 2


def test_bars_of_sessions() -> None:
    (axes,) = plot_sessions(TABLE).axes
    widths = [patch.get_width() for patch in axes.patches]
    np.testing.assert_allclose(widths, TABLE.groupby("session")["correlation"].mean())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["s0 (8)", "s1 (8)", "s2 (8)"]


def test_a_session_without_scores() -> None:
    (axes,) = plot_sessions(TABLE.assign(correlation=TABLE["correlation"].where(TABLE["session"] != "s1"))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["s0 (8)", "s1 (0)", "s2 (8)"]


def test_types_of_neurons() -> None:
    types = pd.DataFrame(
        {"cell_type": ["a", "b", "c"], "n": [5, 9, 2], "correlation": [0.3, 0.6, 0.9], "low": 0.2, "high": 0.7}
    )
    figure = plot_cell_types(types)
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b (9)", "a (5)"]  # two neurons are too few
    assert plot_cell_types(types[types["n"] < 3]) is None


def test_correlation_against_what_the_noise_allows() -> None:
    figure = plot_reliability(TABLE)
    assert figure is not None
    points = figure.axes[0].lines[1]
    np.testing.assert_allclose(points.get_xdata(), TABLE["max_correlation"].dropna())
    assert plot_reliability(ONCE) is None


@pytest.mark.parametrize(("models", "panels"), [(2, 1), (3, 3), (4, 6)])
def test_every_pair_of_models(models: int, panels: int) -> None:
    figure = plot_pairs([(f"model {k}", TABLE) for k in range(models)])
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == panels
    assert shown[0].get_xlabel() == "correlation: model 1"
    assert shown[0].get_ylabel() == "correlation: model 0"


def test_traces_of_sessions_with_different_numbers_of_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "TRACE_FRAMES", 30)
    fewer = [dataclasses.replace(GIVEN[0], recorded=GIVEN[0].recorded[:2]), *GIVEN[1:]]
    correlation = score_table(fewer)["correlation"].to_numpy()
    figure = plot_traces(fewer, correlation, frame_rate_hz=1.0)
    best = int(correlation.argmax())
    assert (
        figure.axes[0].get_title(loc="left").startswith(f"s{best // 8} neuron {best % 8}: r = {correlation.max():.2f}")
    )
    predicted = next(line for line in figure.axes[0].lines if line.get_label() == "predicted")
    assert len(predicted.get_xdata()) == 30
    np.testing.assert_array_equal(predicted.get_ydata(), fewer[best // 8].prediction[:30, best % 8])
    assert pixels(figure).std() > 0
