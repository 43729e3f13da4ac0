"""Comparison of models on the same neurons: paired differences of scores, with intervals and tests."""

import collections
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import wilcoxon

from openretina_jax.errors import UserError
from openretina_jax.evaluation.evaluate import Evaluation
from openretina_jax.evaluation.resampling import mean_interval
from openretina_jax.evaluation.tables import SummaryOptions
from openretina_jax.runtime.described import counted

COMPARED = (
    "correlation",
    "correlation_single_trials",
    "normalized_correlation",
    "feve",
    "mse",
    "poisson_loss",
    "bits_per_spike",
    "explained_deviance",
)


def compare(evaluations: Sequence[Evaluation], split: str, options: SummaryOptions) -> pd.DataFrame:
    """Compare all pairs of models on the reliable neurons that have both scores.

    Args:
        evaluations: evaluations of at least two models on the same data.
        split: name of the split.
        options: choice of neurons, and bootstrap.

    Returns:
        A row per score and pair: ``score``, ``first``, ``second``, number ``n`` of neurons, ``mean_first``,
        ``mean_second``, mean ``difference`` (first - second) with its intervals over neurons (``low``,
        ``high``) and over sessions (``sessions_low``, ``sessions_high``), ``share_higher`` of neurons whose first score
        is higher, ``p`` of Wilcoxon's signed-rank test, and ``p_holm``, corrected for the number of pairs (Holm 1979).
    """
    tables = {evaluation.name: _paired(evaluation, split, options) for evaluation in evaluations}
    rows = []
    for score in COMPARED:
        pairs = [
            {"score": score, "first": first, "second": second, **_difference(tables, score, first, second, options)}
            for first, second in itertools.combinations(tables, 2)
        ]
        corrected = holm(np.array([pair["p"] for pair in pairs]))
        rows += [pair | {"p_holm": float(p)} for pair, p in zip(pairs, corrected, strict=True)]
    return pd.DataFrame(rows)


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Correct p values for their number by Holm's step-down method (1979); NaN stay NaN and do not count."""
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return corrected


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Shorten paths to as many of their last parts as tell them apart, as text that any file can hold.

    Raises:
        UserError: a path comes twice.
    """
    parts = [Path(path).absolute().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = [os.fsencode("/".join(path[-length:])).decode(errors="replace") for path in parts]
        if len(set(names)) == len(names):
            return names
    twice, _ = collections.Counter(map(str, map(Path, paths))).most_common(1)[0]
    raise UserError(f"{twice} is given twice; give every checkpoint once")


def lines(differences: pd.DataFrame, score: str = "correlation") -> list[str]:
    """Describe the difference of every pair of models in a line."""
    return [
        f"{row['first']} - {row['second']}: {score} {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], "
        f"higher in {100 * row['share_higher']:.0f} % of {counted(row['n'], 'neuron')}, p = {row['p_holm']:.2g} "
        "(Wilcoxon, Holm)"
        for row in differences[differences["score"] == score].to_dict("records")
    ]


def _paired(evaluation: Evaluation, split: str, options: SummaryOptions) -> pd.DataFrame:
    table = evaluation.of_split(split)
    if table["variance_ratio"].notna().any():
        table = table[table["variance_ratio"] >= options.min_variance_ratio]
    return table.set_index(["session", "neuron"])


def _difference(
    tables: Mapping[str, pd.DataFrame], score: str, first: str, second: str, options: SummaryOptions
) -> dict[str, int | float]:
    pair = pd.concat([tables[first][score], tables[second][score]], axis=1, keys=["first", "second"]).dropna()
    difference = (pair["first"] - pair["second"]).to_numpy(float)
    over_neurons, over_sessions = np.full((2, 1), np.nan), np.full((2, 1), np.nan)
    if len(pair):
        values, sessions = difference[:, None], pd.factorize(pair.index.get_level_values("session"))[0]
        over_neurons = mean_interval(values, np.arange(len(pair)), options.resamples, options.seed)
        over_sessions = mean_interval(values, sessions, options.resamples, options.seed)
    return {
        "n": len(pair),
        "mean_first": float(pair["first"].mean()) if len(pair) else np.nan,
        "mean_second": float(pair["second"].mean()) if len(pair) else np.nan,
        "difference": float(difference.mean()) if len(pair) else np.nan,
        "low": float(over_neurons[0, 0]),
        "high": float(over_neurons[1, 0]),
        "sessions_low": float(over_sessions[0, 0]),
        "sessions_high": float(over_sessions[1, 0]),
        "share_higher": float((difference > 0).mean()) if len(pair) else np.nan,
        # Wilcoxon's test is not defined where all differences are 0
        "p": float(wilcoxon(difference).pvalue) if difference.any() else (1.0 if len(pair) else np.nan),
    }
