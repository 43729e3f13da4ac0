"""Evaluations as single HTML files: figures are embedded, and no network is needed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import DataInfo
from openretina_jax.evaluation.baselines.baselines import Baselines
from openretina_jax.evaluation.compare import lines
from openretina_jax.evaluation.evaluate import Evaluation
from openretina_jax.evaluation.tables import INTERVALS, SCORES, Summary, opening_lines, score_rows
from openretina_jax.runtime.described import counted
from openretina_jax.visualize.document import contents, document, drawing, heading, paragraph, table
from openretina_jax.visualize.scores import (
    plot_cell_types,
    plot_histograms,
    plot_pairs,
    plot_reliability,
    plot_sessions,
    plot_traces,
)


def evaluation_page(
    evaluation: Evaluation,
    dataset: Dataset,
    provenance: Mapping[str, Mapping[str, str]] | None = None,
    baselines: Baselines | None = None,
) -> str:
    """Page with the scores of a model: for every split a table of the summary, and figures.

    Args:
        evaluation: evaluation of the model.
        dataset: the data set that it was evaluated on.
        provenance: facts of the model, its data and its settings, by topic (None: not shown).
        baselines: scores of the field's simple models on the same splits (None: not shown).
    """
    parts, info = [], dataset.info
    for split, summary in evaluation.summaries.items():
        parts += [heading(2, split), paragraph(opening_lines(summary)), _table_of_scores(summary)]
        parts += _baselines(baselines, evaluation, split) if baselines is not None else []
        parts += _figures(evaluation, split, summary, info)
    if provenance:
        parts.append(heading(2, "Provenance"))
        for topic, facts in provenance.items():
            rows = [[name, value] for name, value in facts.items()]
            parts += [heading(3, topic, "Provenance"), table([], rows, texts=[1], code=True)]
    opening = [
        f"{counted(dataset.n_neurons, 'neuron')} of {counted(len(dataset.sessions), 'session')}.",
        f"The first {evaluation.lag} frames of a clip have no prediction: the model needs them as history."
        if evaluation.lag
        else "Every frame has a prediction.",
    ]
    return _page(f"Evaluation of {evaluation.name}", opening, parts)


def _baselines(baselines: Baselines, evaluation: Evaluation, split: str) -> list[str]:
    """Section with the scores of the simple models beside the network's."""
    scores = baselines.table(split, evaluation)
    rows = [
        [str(model), *("" if np.isnan(score) else f"{score:.4f}" for score in row)]
        for model, row in zip(scores.index, scores.to_numpy(float), strict=True)
    ]
    header = ["model (mean over all neurons)", *(str(name).replace("_", " ") for name in scores)]
    return [
        heading(3, "Baselines", split),
        paragraph([f"{baselines.against(evaluation, split)}."]),
        table(header, rows),
    ]


def _figures(evaluation: Evaluation, split: str, summary: Summary, info: DataInfo) -> list[str]:
    """Sections with a figure each, of the neurons that the summary is of; none where no such neuron has a score."""
    neurons, least = evaluation.of_split(split), summary.min_variance_ratio
    kept = neurons if least is None else neurons[neurons["variance_ratio"] >= least]
    correlation = kept["correlation"].reindex(neurons.index).to_numpy(float)  # NaN: left out
    if np.isnan(correlation).all():
        return []
    count = counted(int(np.isfinite(correlation).sum()), "neuron")
    types = summary.by_cell_type
    figures = (
        (
            "Responses",
            plot_traces(
                evaluation.responses[split],
                correlation,
                info.frame_rate_hz,
                unit=info.response_unit,
                single_images=info.single_images,
            ),
            "Recorded and predicted responses over time of neurons from the best to the worst, and a histogram of the "
            f"correlations of {count}, mean {np.nanmean(correlation):.2f}",
        ),
        (
            "Scores of all neurons",
            plot_histograms(neurons, least),
            f"Histograms over {count} of correlations and of explained and explainable variance",
        ),
        (
            "What the noise allows",
            plot_reliability(kept),
            f"A point for each of {count}: correlation of the model over the highest possible one, and correlation of "
            "a single trial with the model over that with the mean of the other trials",
        ),
        (
            "Types of neurons",
            None if types is None else plot_cell_types(types),
            "Bars: mean correlation of every type of neuron, with its 95 % interval",
        ),
        (
            "Sessions",
            plot_sessions(kept),
            f"Bars: mean correlation of {counted(summary.sessions, 'session')}; dots: their neurons",
        ),
    )
    return [
        part for title, figure, alt in figures if figure is not None for part in _section(title, figure, alt, split)
    ]


def comparison_page(evaluations: Sequence[Evaluation], differences: pd.DataFrame) -> str:
    """Page with paired differences of models: for every split a line per pair, scatter plots, and all scores.

    Args:
        evaluations: evaluations of the models.
        differences: table from ``compare.compare``, with a column ``split``.
    """
    parts = []
    for split, rows in differences.groupby("split", sort=False):
        tables = [(evaluation.name, evaluation.of_split(str(split))) for evaluation in evaluations]
        alt = "A point for every neuron: its correlation under one model over that under another, for all pairs"
        parts += [heading(2, str(split)), paragraph(lines(rows))]
        parts += _section("Correlation of every neuron", plot_pairs(tables), alt, str(split))
        numbers = [
            [str(row["score"]), f"{row['first']} - {row['second']}", str(row["n"])]
            + [f"{row[name]:.4f}" for name in ("mean_first", "mean_second")]
            + [f"{row['difference']:+.4f}", *_ends(row), f"{row['p_holm']:.2g}"]
            for row in rows.to_dict("records")
        ]
        header = ["score", "models", "neurons", "first", "second", "difference", *INTERVALS[:2], "p (Holm)"]
        parts += [heading(3, "Scores", str(split)), table(header, numbers, texts=[1])]
    names = ", ".join(evaluation.name for evaluation in evaluations)
    return _page(f"Comparison of {len(evaluations)} models", [f"Models: {names}."], parts)


def _ends(row: Mapping[Any, Any]) -> list[str]:
    """Format the intervals of a difference over neurons and over sessions; an unknown one is empty."""
    pairs = (("low", "high"), ("sessions_low", "sessions_high"))
    return ["" if np.isnan(row[low]) else f"{row[low]:+.4f} .. {row[high]:+.4f}" for low, high in pairs]


def _table_of_scores(summary: Summary) -> str:
    header = ["score", "mean", "median", *INTERVALS, "what it is"]
    rows = [[name, mean, median, *ends, SCORES[name]] for name, mean, median, ends in score_rows(summary)]
    return table(header, rows, texts=[len(header) - 1])


def _section(title: str, figure: Figure, alt: str, split: str) -> list[str]:
    return [heading(3, title, split), f'<div class="wide">{drawing(figure, alt)}</div>']


def _page(title: str, opening: Sequence[str], parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return document(title, "\n".join([paragraph(opening), contents(body), body]))
