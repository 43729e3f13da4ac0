"""Tables of scores: a row per neuron, their summary per split, and both as text.

A table of neurons has the scores of every neuron of a split; a ``Summary`` has their means with confidence intervals;
the functions at the end write it out for terminal and report.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import DataInfo
from openretina_jax.data.masked import correlation, mean_of
from openretina_jax.data.quality import SplitStatistics
from openretina_jax.evaluation import metrics
from openretina_jax.evaluation.resampling import (
    TrialMoments,
    confidence_interval,
    jackknife_deviations,
    mean_interval,
)
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.runtime.described import counted

# in the order of tables and reports; docs/evaluation.md has the formulas
SCORES = {
    "correlation": "correlation with the mean over trials",
    "correlation_clips": "correlation within each clip, mean over clips",
    "correlation_single_trials": "correlation with a single trial, mean over trials",
    "normalized_correlation": "correlation relative to the highest possible one (CCnorm)",
    "max_correlation": "highest possible correlation with the mean over trials",
    "mse": "squared error from the mean over trials",
    "poisson_loss": "Poisson loss of the mean over trials",
    "bits_per_spike": "information about single spikes beyond their mean rate",
    "explained_deviance": "fraction of the Poisson deviance of single trials explained",
    "fev": "fraction of the variance of single trials explained",
    "feve": "fraction of the explainable variance explained",
    "variance_ratio": "explainable / total variance",
    "explainable_variance": "total - noise variance",
    "jackknife": "correlation of single trials with the mean of the others",
    "reliability": "correlation of a trial with the mean of the others, mean over trials",
    "global_mean": "correlation with the mean over the session's neurons",
}
CELL_TYPE_COLUMNS = ("cell_type_name", "cell_type")
UNITS = ("neurons", "sessions", "trials")  # resampled for an interval
INTERVALS = [f"95 % over {unit}" for unit in UNITS]
MIN_VARIANCE_RATIO = 0.15
RESAMPLES = 2000


def neuron_table(dataset: Dataset) -> pd.DataFrame:
    """Neurons in the order of the readout, a row each: session, index within it, metadata of neuron and session."""
    parts = []
    for session in dataset.sessions:
        columns = {"session": session.name, "neuron": np.arange(session.n_neurons), **session.metadata}
        for name, values in session.neurons.items():
            if values.ndim == 1:
                columns[name] = values
            else:
                columns |= {f"{name}_{axis}": values[:, axis] for axis in range(values.shape[1])}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def neuron_titles(info: DataInfo) -> list[str]:
    """Name every neuron, in the order of the readout, by its session and its index there."""
    return [f"{session} neuron {number}" for session, count in info.sessions.items() for number in range(count)]


def score_table(responses: Sequence[SessionResponses]) -> pd.DataFrame:
    """Score every neuron of some sessions on one split, a row each.

    Args:
        responses: responses of each session to the split.

    Returns:
        Columns ``session``, ``neuron``, ``trials``, those of ``SCORES``, and ``correlation_0``, ``mse_0``, ... for
        every trial; NaN where a score is not defined.
    """
    parts = []
    for session in responses:
        identity = {"session": session.session, "neuron": np.arange(session.recorded.shape[-1])}
        parts.append(pd.DataFrame({**identity, **neuron_scores(session), **trial_scores(session)}))
    return pd.concat(parts, ignore_index=True)


def neuron_scores(responses: SessionResponses) -> dict[str, Float[np.ndarray, " neuron"]]:
    """Number of trials, and scores by the names of ``SCORES``, of every neuron of a session."""
    trials, prediction = responses.trials, responses.prediction
    mean = mean_of(trials)
    ratio, explainable = metrics.explainable_variance(trials)
    normalized, highest = metrics.normalized_correlation(trials, prediction)
    clips = correlation(mean_of(responses.recorded), responses.predicted, axis=1)
    scores = {
        "trials": np.isfinite(trials).any(axis=1).sum(axis=0).astype(np.float64),
        "correlation": correlation(mean, prediction),
        "correlation_clips": mean_of(clips),
        "correlation_single_trials": mean_of(correlation(trials, responses.each_prediction, axis=1)),
        "normalized_correlation": normalized,
        "max_correlation": highest,
        "mse": metrics.squared_error(mean, prediction),
        "poisson_loss": metrics.poisson_loss(mean, prediction),
        "bits_per_spike": metrics.bits_per_spike(trials, prediction),
        "explained_deviance": metrics.explained_deviance(trials, prediction),
        "fev": metrics.fev(trials, prediction),
        "feve": metrics.feve(trials, prediction),
        "variance_ratio": ratio,
        "explainable_variance": explainable,
        "jackknife": metrics.jackknife_oracle(trials),
        "reliability": metrics.reliability(trials),
        "global_mean": metrics.global_mean_oracle(trials),
    }
    assert scores.keys() == {"trials", *SCORES}
    return scores


def trial_scores(responses: SessionResponses) -> dict[str, Float[np.ndarray, " neuron"]]:
    """Correlation and squared error between every single trial and its prediction."""
    scores = {}
    trials = responses.trials
    predictions = np.broadcast_to(responses.each_prediction, trials.shape)
    for number, (trial, prediction) in enumerate(zip(trials, predictions, strict=True)):
        scores[f"correlation_{number}"] = correlation(trial, prediction)
        scores[f"mse_{number}"] = metrics.squared_error(trial, prediction)
    return scores


def with_metadata(scores: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Add the metadata of neurons and sessions to a table of scores."""
    return scores.merge(neuron_table(dataset), on=["session", "neuron"], how="left", validate="many_to_one")


def cell_type_column(columns: Mapping[str, object] | pd.DataFrame) -> str | None:
    """Name of the column with the cell types, as text if there is such a one; None without cell types."""
    return next((name for name in CELL_TYPE_COLUMNS if name in columns), None)


@dataclasses.dataclass(frozen=True)
class SummaryOptions:
    """Choice of neurons, and bootstrap.

    Attributes:
        min_variance_ratio: neurons with a smaller ratio of explainable to total variance are left out of the summary.
        resamples: number of resamples of every bootstrap.
        seed: seed of the bootstrap.
    """

    min_variance_ratio: float = MIN_VARIANCE_RATIO
    resamples: int = RESAMPLES
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """Scores of a model on one split.

    Attributes:
        split: name of the split.
        sessions: number of sessions that saw it.
        neurons: number of their neurons.
        kept: number of neurons with enough explainable variance; ``scores`` are theirs.
        min_variance_ratio: limit by which they were chosen; None if no neuron has a variance ratio, and all are kept.
        trials: smallest, largest and mean number of trials of a session.
        scores: a row per score with ``mean``, ``median``, ``std`` and ``n`` over neurons, ``neurons_low``,
            ``neurons_high``, ... for the intervals of the mean, and ``mean_of_all`` over all neurons.
        by_trial: correlation with, and squared error from, a single trial: mean and standard deviation over trials.
        by_cell_type: a row per cell type: ``cell_type``, ``n``, mean correlation and its interval; None if no types
            are known.
        notes: remarks for the reader, a sentence each.
    """

    split: str
    sessions: int
    neurons: int
    kept: int
    min_variance_ratio: float | None
    trials: tuple[int, int, float]
    scores: pd.DataFrame
    by_trial: dict[str, tuple[float, float]]
    by_cell_type: pd.DataFrame | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values for JSON; None where a number is not known."""
        numbers = ["mean", "median", "std", "n", "mean_of_all"]
        scores = {
            name: row[numbers].to_dict()
            | {f"interval_over_{unit}": [row[f"{unit}_low"], row[f"{unit}_high"]] for unit in UNITS}
            for name, row in self.scores.iterrows()
        }
        return plain(
            {
                "sessions": self.sessions,
                "neurons": self.neurons,
                "neurons_kept": self.kept,
                "min_variance_ratio": self.min_variance_ratio,
                "trials": dict(zip(("min", "max", "mean"), self.trials, strict=True)),
                "scores": scores,
                "by_trial": {
                    name: dict(zip(("mean", "std"), both, strict=True)) for name, both in self.by_trial.items()
                },
                "by_cell_type": None if self.by_cell_type is None else self.by_cell_type.to_dict("records"),
                "notes": list(self.notes),
            }
        )


def summarize(
    split: str, responses: Sequence[SessionResponses], neurons: pd.DataFrame, options: SummaryOptions
) -> Summary:
    """Mean scores over reliable neurons, with confidence intervals.

    Args:
        split: name of the split.
        responses: responses of all sessions to it.
        neurons: table of ``score_table``, with or without metadata.
        options: choice of neurons, and bootstrap.
    """
    ratio = neurons["variance_ratio"]
    applied = bool(ratio.notna().any())
    kept = ratio >= options.min_variance_ratio if applied else pd.Series(True, index=neurons.index)
    counts = [len(session.recorded) for session in responses]
    columns = [f"correlation_{k}" for k in range(max(counts))], [f"mse_{k}" for k in range(max(counts))]
    by_trial = {
        name: (_mean(means), float(np.nanstd(means)) if means.notna().any() else math.nan)
        for name, means in zip(
            ("correlation", "mse"), (neurons.loc[kept, names].mean() for names in columns), strict=True
        )
    }
    return Summary(
        split=split,
        sessions=len(responses),
        neurons=len(neurons),
        kept=int(kept.sum()),
        min_variance_ratio=options.min_variance_ratio if applied else None,
        trials=(min(counts), max(counts), float(np.mean(counts))),
        scores=_score_summary(responses, neurons, kept, options),
        by_trial=by_trial,
        by_cell_type=_by_cell_type(neurons[kept], options),
        notes=tuple(_notes(split, neurons, kept, applied, max(counts))),
    )


def plain(value: Any) -> Any:
    """Turn numpy values into plain ones for JSON, and NaN and infinity into None."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _score_summary(
    responses: Sequence[SessionResponses], neurons: pd.DataFrame, kept: pd.Series, options: SummaryOptions
) -> pd.DataFrame:
    values = neurons.loc[kept, list(SCORES)].astype(float)
    table = pd.DataFrame(
        {
            "mean": values.mean(),
            "median": values.median(),
            "std": values.std(ddof=0),
            "n": values.notna().sum(),
            "mean_of_all": neurons[list(SCORES)].mean(),
        }
    )
    ends = {unit: np.full((2, len(SCORES)), np.nan) for unit in UNITS}
    if len(values):
        sessions = pd.factorize(neurons.loc[kept, "session"])[0]
        for unit, numbers in (("neurons", np.arange(len(values))), ("sessions", sessions)):
            ends[unit] = mean_interval(values.to_numpy(), numbers, options.resamples, options.seed)
    of_session = [(neurons["session"] == session.session).to_numpy() for session in responses]
    repeated = [number for number, session in enumerate(responses) if len(session.recorded) > 1]
    if repeated:
        deviations = jackknife_deviations(
            [TrialMoments(responses[number]) for number in repeated],
            [kept.to_numpy()[of_session[number]] for number in repeated],
            options.resamples,
            options.seed,
        )
        for number, name in enumerate(SCORES):
            if name in deviations:
                ends["trials"][:, number] = table["mean"][name] + confidence_interval(deviations[name])
    for unit in UNITS:
        table[f"{unit}_low"], table[f"{unit}_high"] = ends[unit]
    return table


def _by_cell_type(neurons: pd.DataFrame, options: SummaryOptions) -> pd.DataFrame | None:
    column = cell_type_column(neurons)
    if column is None or neurons[column].isna().all():
        return None
    rows = []
    for name, group in neurons.groupby(column):
        values = group[["correlation", "feve"]].to_numpy(float)
        low, high = mean_interval(values[:, :1], np.arange(len(values)), options.resamples, options.seed)
        rows.append(
            {
                "cell_type": str(name),
                "n": len(group),
                "correlation": _mean(group["correlation"]),
                "low": float(low[0]),
                "high": float(high[0]),
                "feve": _mean(group["feve"]),
            }
        )
    return pd.DataFrame(rows, columns=["cell_type", "n", "correlation", "low", "high", "feve"])


def _notes(split: str, neurons: pd.DataFrame, kept: pd.Series, applied: bool, most_trials: int) -> list[str]:
    notes = []
    if most_trials < 2:
        notes.append(f"{split} was shown once: no explainable variance, FEVe or CCnorm, and all neurons are kept")
    elif not applied:
        notes.append(f"no neuron has two trials of {split} at any frame: all neurons are kept")
    elif not kept.any():
        notes.append(f"no neuron has a variance ratio above the limit on {split}; lower --min_variance_ratio")
    unrecorded = int((neurons["trials"] == 0).sum())
    if unrecorded:
        notes.append(f"{_have(unrecorded)} no responses to {split}, and no scores")
    no_number = int(((neurons["trials"] > 0) & neurons["correlation"].isna()).sum())
    if no_number:
        notes.append(f"{_have(no_number)} predictions that are not finite, and no scores")
    return notes


def _have(neurons: int) -> str:
    return f"{counted(neurons, 'neuron')} {'has' if neurons == 1 else 'have'}"


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if values.notna().any() else math.nan


def headline(split: str, correlation: np.ndarray, sessions: int) -> str:
    """Summarise a run in one line: its mean correlation over all neurons that have one."""
    known = correlation[np.isfinite(correlation)]
    mean = known.mean() if len(known) else np.nan
    return f"{split} correlation {mean:.4f} ({counted(len(known), 'neuron')}, {counted(sessions, 'session')})"


def opening_lines(summary: Summary) -> list[str]:
    """Describe a summary in a few lines: correlation of all neurons, choice of neurons, notes."""
    fewest, most, mean = summary.trials
    trials = f"{most} trials" if fewest == most else f"{fewest} to {most} trials ({mean:.1f} on average)"
    trials = "shown once" if most == 1 else trials
    left_out = summary.neurons - summary.kept
    correlation = summary.scores["mean_of_all"]["correlation"]
    lines = [
        f"{summary.split}: correlation {correlation:.4f} over all {counted(summary.neurons, 'neuron')} of "
        f"{counted(summary.sessions, 'session')}, {trials}"
    ]
    if summary.min_variance_ratio is not None:
        lines.append(
            f"scores of the {counted(summary.kept, 'neuron')} with a variance ratio of at least "
            f"{summary.min_variance_ratio:g} ({left_out} {'is' if left_out == 1 else 'are'} left out)"
        )
    return lines + [f"note: {note}" for note in summary.notes]


def score_rows(summary: Summary) -> list[tuple[str, str, str, list[str]]]:
    """Name, mean, median and intervals of every known score, as text."""
    rows = []
    for name, row in summary.scores.iterrows():
        if row["n"] and not (name == "correlation_clips" and row["mean"] == summary.scores["mean"]["correlation"]):
            ends = [(row[f"{unit}_low"], row[f"{unit}_high"]) for unit in UNITS]
            intervals = ["" if np.isnan(low) else f"{low:.3f} .. {high:.3f}" for low, high in ends]
            rows.append((str(name), f"{row['mean']:.4f}", f"{row['median']:.4f}", intervals))
    return rows


def score_lines(summary: Summary) -> list[str]:
    """Lay out scores and intervals as a table of text."""
    rows = [["score", "mean", "median", *INTERVALS]]
    rows += [[name, mean, median, *ends] for name, mean, median, ends in score_rows(summary)]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))]).rstrip()
        for name, *cells in rows
    ]


def statistics_lines(statistics: Mapping[str, SplitStatistics]) -> list[str]:
    """Describe the numbers of different frames and transitions of every split, a line each."""
    return [
        f"{split}: {one.frames:,} different frames, {one.transitions:,} transitions, {counted(one.sessions, 'session')}"
        for split, one in statistics.items()
    ]
