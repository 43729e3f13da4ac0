"""Evaluations as single HTML files: figures are embedded, and no network is needed."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from openretina_jax.data.dataset import Dataset
from openretina_jax.evaluation.compare import lines
from openretina_jax.evaluation.evaluate import Evaluation
from openretina_jax.evaluation.tables import INTERVALS, SCORES, Summary, opening_lines, score_rows
from openretina_jax.visualize.scores import (
    plot_cell_types,
    plot_histograms,
    plot_pairs,
    plot_reliability,
    plot_sessions,
    plot_traces,
)
from openretina_jax.visualize.style import DPI, Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin-bottom: 0.3rem; }
img { max-width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; } th { text-align: left; font-weight: 600; }
td, th { padding: 3px 14px 3px 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
"""


def evaluation_page(evaluation: Evaluation, dataset: Dataset) -> str:
    """Page with the scores of a model: for every split a table of the summary, and figures.

    Args:
        evaluation: evaluation of the model.
        dataset: the data set that it was evaluated on.
    """
    parts = [f"<p>Predictions begin at frame {evaluation.lag} of a clip.</p>"]
    for split, summary in evaluation.summaries.items():
        neurons = evaluation.of_split(split)
        parts.append(f"<h2>{html.escape(split)}</h2>" + _paragraph(opening_lines(summary)) + _table_of_scores(summary))
        if neurons["correlation"].notna().any():
            traces = plot_traces(
                evaluation.responses[split], neurons["correlation"].to_numpy(float), dataset.info.frame_rate_hz
            )
            figures = {
                "Responses": traces,
                "Scores of all neurons": plot_histograms(neurons, summary.min_variance_ratio),
                "What the noise allows": plot_reliability(neurons),
                "Types of neurons": None if summary.by_cell_type is None else plot_cell_types(summary.by_cell_type),
                "Sessions": plot_sessions(neurons),
            }
            parts += [_section(title, figure) for title, figure in figures.items() if figure is not None]
    return _page(f"Evaluation of {evaluation.name}", parts)


def comparison_page(evaluations: Sequence[Evaluation], differences: pd.DataFrame) -> str:
    """Page with paired differences of models: for every split a line per pair, scatter plots, and all scores.

    Args:
        evaluations: evaluations of the models.
        differences: table from ``compare.compare``, with a column ``split``.
    """
    parts = []
    for split, rows in differences.groupby("split", sort=False):
        tables = [(evaluation.name, evaluation.of_split(str(split))) for evaluation in evaluations]
        parts.append(f"<h2>{html.escape(str(split))}</h2>" + _paragraph(lines(rows)))
        parts.append(_section("Correlation of every neuron", plot_pairs(tables)))
        numbers = [
            [str(row["score"]), f"{row['first']} - {row['second']}", str(row["n"])]
            + [f"{row[name]:.4f}" for name in ("mean_first", "mean_second")]
            + [f"{row['difference']:+.4f}", *_ends(row), f"{row['p_holm']:.2g}"]
            for row in rows.to_dict("records")
        ]
        header = ["score", "models", "neurons", "first", "second", "difference", *INTERVALS[:2], "p (Holm)"]
        parts.append(_table(header, numbers, texts=(0, 1)))
    return _page(f"Comparison of {len(evaluations)} models", parts)


def _ends(row: Mapping[Any, Any]) -> list[str]:
    """Format the intervals of a difference over neurons and over sessions; an unknown one is empty."""
    pairs = (("low", "high"), ("sessions_low", "sessions_high"))
    return ["" if np.isnan(row[low]) else f"{row[low]:+.4f} .. {row[high]:+.4f}" for low, high in pairs]


def _table_of_scores(summary: Summary) -> str:
    header = ["score", "mean", "median", *INTERVALS, "what it is"]
    rows = [[name, mean, median, *ends, SCORES[name]] for name, mean, median, ends in score_rows(summary)]
    return _table(header, rows, texts=(0, len(header) - 1))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int]) -> str:
    """Write a table; columns other than ``texts`` hold numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = ("" if number in texts else ' class="number"' for number in range(len(row)))
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells("th", header)}</tr></thead><tbody>{body}</tbody></table></div>'


def _paragraph(sentences: Sequence[str]) -> str:
    return f"<p>{'<br>'.join(map(html.escape, sentences))}</p>"


def _section(title: str, figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    width = int(figure.get_figwidth() * DPI / 1.3)  # figures are smaller on screens than in print
    data = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img alt="{html.escape(title)}" width="{width}" src="data:image/png;base64,{data}">'
    return f"<h3>{html.escape(title)}</h3>{image}"


def _page(title: str, parts: Sequence[str]) -> str:
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{html.escape(title)}</h1>\n" + (
        "\n".join(parts) + "</body></html>\n"
    )
