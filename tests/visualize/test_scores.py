"""Figures of scores, predictions and a training run show what they were given."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from openretina_jax.errors import UserError
from openretina_jax.evaluation.tables import score_table
from openretina_jax.visualize import scores
from openretina_jax.visualize.scores import (
    plot_cell_types,
    plot_histograms,
    plot_history,
    plot_pairs,
    plot_predictions,
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


RANDOM = np.random.default_rng(0)
TRIALS = RANDOM.normal(size=(3, 40, 8)).astype(np.float32)
RECORDED = TRIALS.mean(axis=0)
PREDICTED = RANDOM.normal(size=(40, 8)).astype(np.float32)
CORRELATION = np.array([0.31, 0.92, np.nan, -0.13, 0.52, 0.33, 0.64, 0.71], np.float32)
BEST_TO_WORST = [1, 7, 6, 4, 5, 0, 3]


def draw(correlation: np.ndarray = CORRELATION, **options: Any) -> tuple[Figure, list, Any]:
    names = [f"s/{n}" for n in range(8)]
    figure = plot_predictions(RECORDED, PREDICTED, correlation, frame_rate_hz=20.0, names=names, **options)
    *traces, histogram = figure.axes
    return figure, traces, histogram


def test_traces_from_the_best_to_the_worst() -> None:
    _, traces, _ = draw()
    ranks = [0, 2, 3, 4, 6]
    assert len(traces) == 5
    for axes, rank in zip(traces, ranks, strict=True):
        neuron = BEST_TO_WORST[rank]
        assert axes.get_title(loc="left") == f"s/{neuron}: r = {CORRELATION[neuron]:.2f}, rank {rank + 1} of 7"
        recorded, predicted = axes.lines
        assert (recorded.get_label(), predicted.get_label()) == ("recorded", "predicted")
        np.testing.assert_array_equal(recorded.get_ydata(), RECORDED[:, neuron])
        np.testing.assert_array_equal(predicted.get_ydata(), PREDICTED[:, neuron])
        np.testing.assert_allclose(recorded.get_xdata(), np.arange(40) / 20)
    assert traces[-1].get_xlabel() == "time (s)"


def test_trials_lie_behind() -> None:
    figure, traces, _ = draw(trials=TRIALS)
    *trials, recorded, _ = traces[0].lines
    np.testing.assert_array_equal([line.get_ydata() for line in trials], TRIALS[:, :, 1])
    np.testing.assert_array_equal(recorded.get_ydata(), RECORDED[:, 1])
    legend = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert legend == ["single trials", "recorded", "predicted"]


def test_responses_to_images_are_points() -> None:
    figure, traces, _ = draw(trials=TRIALS, unit="spikes/s", single_images=True)
    for axes in traces:
        assert {line.get_linestyle() for line in axes.lines} == {"None"}
        np.testing.assert_array_equal(axes.lines[-1].get_xdata(), np.arange(40))
    assert traces[-1].get_xlabel() == "image"
    assert figure.subfigs[0].get_supylabel() == "response (spikes/s)"


def test_few_neurons_are_drawn_once() -> None:
    correlation = np.full(8, np.nan)
    correlation[[2, 5]] = 0.1, 0.4
    _, traces, _ = draw(correlation)
    assert [axes.get_title(loc="left")[:3] for axes in traces] == ["s/5", "s/2"]


def test_histogram_counts_every_correlation() -> None:
    _, _, histogram = draw()
    bars = {round(bar.get_x(), 2): bar.get_height() for bar in histogram.patches if bar.get_height()}
    assert bars == {-0.15: 1, 0.3: 2, 0.5: 1, 0.6: 1, 0.7: 1, 0.9: 1}
    np.testing.assert_allclose(histogram.lines[0].get_xdata(), np.nanmean(CORRELATION))
    assert histogram.get_title() == "7 neurons, mean 0.471"
    np.testing.assert_allclose(histogram.get_xlim(), (-0.2, 1))


def test_rounding_above_one_is_counted() -> None:
    _, _, histogram = draw(np.full(8, 1 + 1e-7))
    assert histogram.patches[-1].get_height() == 8


def test_no_correlation_at_all() -> None:
    with pytest.raises(UserError, match="none of 8 neurons has a test correlation"):
        draw(np.full(8, np.nan))


def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [0, 1, 2, 3],
            "seconds": [9.0, 2.0, 2.0, 2.0],
            "train/loss": [1.0, 0.8, 0.7, 0.65],
            "validation/loss": [1.1, 0.9, 0.8, 0.78],
            "train/correlation": [0.1, 0.3, 0.4, 0.45],
            "validation/correlation": [0.1, np.nan, 0.35, np.nan],
            "learning_rate": [0.01, 0.01, 0.003, 0.003],
            "train/gradient_norm_core": [2.0, 1.0, 0.5, 0.4],
            "train/gradient_norm_readout": [1.0, 0.7, 0.6, 0.5],
        }
    )


def test_history() -> None:
    figure = plot_history(history())
    scales = {axes.get_ylabel(): axes.get_yscale() for axes in figure.axes}
    assert scales == {"correlation": "linear", "loss": "linear", "learning rate": "log", "gradient norm": "log"}
    curves = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    assert set(curves) == set(history().columns) - {"epoch", "seconds"}
    np.testing.assert_array_equal(curves["train/loss"].get_ydata(), history()["train/loss"])
    np.testing.assert_array_equal(curves["validation/correlation"].get_xdata(), [0, 2])
    np.testing.assert_array_equal(curves["validation/correlation"].get_ydata(), [0.1, 0.35])
    assert figure.axes[-1].get_xlabel() == "epoch"


def test_history_shows_what_is_there() -> None:
    unmeasured = history().assign(learning_rate=np.nan)
    figure = plot_history(unmeasured[["epoch", "train/loss", "learning_rate"]])
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss"]


@pytest.mark.parametrize("columns", [["epoch", "seconds"], ["train/loss"]])
def test_history_without_curves(columns: list[str]) -> None:
    with pytest.raises(UserError, match="needs epoch and"):
        plot_history(history()[columns])
