"""A summary as printed in a terminal."""

from collections.abc import Mapping

import numpy as np

from openretina_jax.data.statistics import SplitStatistics
from openretina_jax.evaluation.summary import UNITS, Summary

INTERVALS = [f"95 % over {unit}" for unit in UNITS]


def headline(split: str, correlation: np.ndarray, sessions: int) -> str:
    """The one number that a run is known by: the mean correlation over all neurons that have one."""
    known = correlation[np.isfinite(correlation)]
    mean = known.mean() if len(known) else np.nan
    return f"{split} correlation {mean:.4f} ({len(known)} neurons, {sessions} sessions)"


def opening(summary: Summary) -> list[str]:
    """What the scores of a summary belong to, in a few lines."""
    least, most, mean = summary.trials
    trials = f"{most} trials" if least == most else f"{least} to {most} trials ({mean:.1f} on average)"
    trials = "shown once" if most == 1 else trials
    correlation = summary.scores["mean_of_all"]["correlation"]
    lines = [
        f"{summary.split}: correlation {correlation:.4f} over all {summary.neurons} neurons of {summary.sessions} "
        f"sessions, {trials}"
    ]
    if summary.min_variance_ratio is not None:
        lines.append(
            f"scores of the {summary.kept} neurons with a variance ratio of at least {summary.min_variance_ratio:g} "
            f"({summary.neurons - summary.kept} are left out)"
        )
    return lines + [f"note: {note}" for note in summary.notes]


def score_rows(summary: Summary) -> list[tuple[str, str, str, list[str]]]:
    """Name, mean, median and intervals of every score that is known, as text."""
    rows = []
    for name, row in summary.scores.iterrows():
        if row["n"] and not (name == "correlation_clips" and row["mean"] == summary.scores["mean"]["correlation"]):
            intervals = [_interval(row[f"{unit}_low"], row[f"{unit}_high"]) for unit in UNITS]
            rows.append((str(name), f"{row['mean']:.4f}", f"{row['median']:.4f}", intervals))
    return rows


def score_lines(summary: Summary) -> list[str]:
    """The scores with their intervals, as a table of text."""
    rows = [["score", "mean", "median", *INTERVALS]]
    rows += [[name, mean, median, *ends] for name, mean, median, ends in score_rows(summary)]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))]).rstrip()
        for name, *cells in rows
    ]


def statistics_lines(statistics: Mapping[str, SplitStatistics]) -> list[str]:
    """Different frames and transitions of every split."""
    return [
        f"{split}: {one.frames:,} different frames, {one.transitions:,} transitions, {one.sessions} sessions"
        for split, one in statistics.items()
    ]


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.3f} .. {high:.3f}"
