"""The scores of a model on one split in a few numbers, with intervals."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from openretina_jax.evaluation.bootstrap import deviations_with_other_trials, interval, resampled_means
from openretina_jax.evaluation.moments import TrialMoments
from openretina_jax.evaluation.neurons import SCORES, cell_type_column
from openretina_jax.evaluation.responses import SessionResponses

MIN_VARIANCE_RATIO = 0.15
RESAMPLES = 2000
UNITS = ("neurons", "sessions", "trials")  # that are drawn again for an interval


@dataclasses.dataclass(frozen=True)
class SummaryOptions:
    """How neurons are chosen and means are resampled.

    Attributes:
        min_variance_ratio: neurons below this share of explainable variance are left out of the summary.
        resamples: of every bootstrap.
        seed: of the bootstrap.
    """

    min_variance_ratio: float = MIN_VARIANCE_RATIO
    resamples: int = RESAMPLES
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """Scores on one split.

    Attributes:
        split: its name.
        sessions: number of sessions that were shown it.
        neurons: their number of neurons.
        kept: neurons of which the explainable variance suffices; the scores are theirs.
        min_variance_ratio: that they were chosen by; None if no neuron has a variance ratio, and all are kept.
        trials: least, greatest and mean number of trials of a session.
        scores: a row per score with ``mean``, ``median``, ``std`` and ``n`` over neurons, ``neurons_low``,
            ``neurons_high``, ... for the intervals of the mean, and ``mean_of_all`` over all neurons.
        by_trial: mean and standard deviation over trials of the mean correlation with, and squared error from, a trial.
        by_cell_type: a row per type of neuron: ``cell_type``, ``n``, mean correlation and its interval; None if no
            types are known.
        notes: what a reader must know, a sentence each.
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
        """Plain values; None for what is not known."""
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
    """Means of all scores over the neurons that answer reliably.

    Args:
        split: its name.
        responses: of all sessions to it.
        neurons: their table, ``neurons.score_table`` with or without metadata.
        options: how neurons are chosen and means are resampled.
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
        scores=_scores(responses, neurons, kept, options),
        by_trial=by_trial,
        by_cell_type=_by_cell_type(neurons[kept], options),
        notes=tuple(_notes(split, neurons, kept, applied, max(counts))),
    )


def plain(value: Any) -> Any:
    """A value of plain Python, for JSON: NaN is None."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scores(
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
    resampled = {unit: np.full((options.resamples, len(SCORES)), np.nan) for unit in UNITS}
    if len(values):
        sessions = pd.factorize(neurons.loc[kept, "session"])[0]
        for unit, numbers in (("neurons", np.arange(len(values))), ("sessions", sessions)):
            resampled[unit] = resampled_means(values.to_numpy(), numbers, options.resamples, options.seed)
    if len(np.unique(neurons.loc[kept, "session"])) < 2:
        resampled["sessions"][:] = np.nan
    of_session = [(neurons["session"] == session.session).to_numpy() for session in responses]
    repeated = [number for number, session in enumerate(responses) if len(session.recorded) > 1]
    if repeated:
        deviations = deviations_with_other_trials(
            [TrialMoments(responses[number]) for number in repeated],
            [kept.to_numpy()[of_session[number]] for number in repeated],
            options.resamples,
            options.seed,
        )
        for number, name in enumerate(SCORES):
            resampled["trials"][:, number] = table["mean"][name] + deviations.get(name, np.nan)
    for unit in UNITS:
        table[f"{unit}_low"], table[f"{unit}_high"] = interval(resampled[unit])
    return table


def _by_cell_type(neurons: pd.DataFrame, options: SummaryOptions) -> pd.DataFrame | None:
    column = cell_type_column(neurons)
    if column is None or neurons[column].isna().all():
        return None
    rows = []
    for name, group in neurons.groupby(column):
        values = group[["correlation", "feve"]].to_numpy(float)
        low, high = interval(resampled_means(values[:, :1], np.arange(len(values)), options.resamples, options.seed))
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
        notes.append(f"{unrecorded} neurons have no responses to {split}, and no scores")
    no_number = int(((neurons["trials"] > 0) & neurons["correlation"].isna()).sum())
    if no_number:
        notes.append(f"{no_number} neurons have predictions that are not finite, and no scores")
    return notes


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if values.notna().any() else math.nan
