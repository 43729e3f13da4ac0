"""Evaluation of a model: all its scores on chosen splits of a data set."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from flax import nnx

from openretina_jax.data.batches import DataArrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError, nearest, require
from openretina_jax.evaluation.predict import Scorer, Split
from openretina_jax.evaluation.splits import VALIDATION, SessionResponses, check_clips, chosen_splits, split_responses
from openretina_jax.evaluation.tables import SCORES, Summary, SummaryOptions, score_table, summarize, with_metadata
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.models.transfer import add_sessions
from openretina_jax.runtime.described import Described, counted
from openretina_jax.runtime.devices import own_numbers

if TYPE_CHECKING:
    import xarray

_NAMED = 3  # sessions that a message names


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Described):
    """Scores of a model.

    Attributes:
        name: name of the model.
        lag: first frames of a clip without a prediction.
        responses: recorded and predicted responses of every session, by split.
        neurons: a row per neuron and split: ``split``, scores, metadata; see ``tables.score_table``.
        summaries: means over neurons, by split.
    """

    name: str
    lag: int
    responses: dict[str, list[SessionResponses]]
    neurons: pd.DataFrame
    summaries: dict[str, Summary]

    def _facts(self) -> dict[str, str]:
        facts = {}
        for split, summary in self.summaries.items():
            means = summary.scores["mean_of_all"]
            feve = "" if np.isnan(means["feve"]) else f", FEVe {means['feve']:.3f}"
            facts[split] = f"correlation {means['correlation']:.3f}{feve} ({counted(summary.neurons, 'neuron')})"
        return facts

    def of_split(self, split: str) -> pd.DataFrame:
        """Rows of the table of neurons that belong to a split."""
        return self.neurons[self.neurons["split"] == split].reset_index(drop=True)

    def to_xarray(self, split: str) -> "xarray.Dataset":
        """Responses, scores and metadata of all neurons on a split, with named axes.

        Args:
            split: one of those that were evaluated.

        Returns:
            Variables ``recorded (trial, clip, time, neuron)``, ``predicted (clip, time, neuron)`` and every score
            ``(neuron)``; coordinates ``time``, which counts frames of a clip, and what is known of the neurons. A trial
            that a session lacks is NaN.

        Raises:
            UserError: xarray is not installed, or the split was not evaluated.
        """
        require("xarray", "xarray", "to_xarray makes data sets of xarray")
        import xarray

        if split not in self.responses:
            raise UserError(f'"{split}" was not evaluated; {nearest(split, self.responses)}')
        sessions, table = self.responses[split], self.of_split(split)
        most = max(len(one.recorded) for one in sessions)
        recorded = [
            np.pad(one.recorded, ((0, most - len(one.recorded)), *[(0, 0)] * 3), constant_values=np.nan)
            for one in sessions
        ]
        of_trials = [name for name in table if re.fullmatch(r"(correlation|mse)_\d+", str(name))]
        columns = table.drop(columns=["split", *of_trials])
        return xarray.Dataset(
            {
                "recorded": (("trial", "clip", "time", "neuron"), np.concatenate(recorded, axis=3)),
                "predicted": (("clip", "time", "neuron"), np.concatenate([one.predicted for one in sessions], axis=2)),
                **{name: ("neuron", columns[name].to_numpy()) for name in SCORES},
            },
            coords={
                "time": self.lag + np.arange(sessions[0].predicted.shape[1]),
                "neuron": np.arange(len(columns)),
                "neuron_of_session": ("neuron", columns["neuron"].to_numpy()),
                **{name: ("neuron", columns[name].to_numpy()) for name in columns if name not in (*SCORES, "neuron")},
            },
            attrs={"model": self.name, "split": split},
        )


class Evaluator:
    """Evaluates models on one data set; its responses go to the device once, its frames split by split.

    Args:
        dataset: the data set.
    """

    @own_numbers()
    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.tables = Tables(dataset)
        self._data = DataArrays.of(self.tables, with_frames=False)

    @own_numbers()
    def __call__(self, name: str, model: Model, splits: Sequence[str], options: SummaryOptions) -> Evaluation:
        """Evaluate a model, with one call to the device per split.

        Args:
            name: name of the model in tables and reports.
            model: model that has the sessions of the data.
            splits: "train", "validation" or names of test movies.
            options: choice of neurons, and bootstrap.

        Raises:
            UserError: the model has other sessions or another stimulus, or clips are too short for it.
        """
        check_fits(model, self.dataset)
        lag = model.lag
        check_clips(splits, self.tables, lag)
        model = with_sessions_first(model, self.dataset)
        graph, state = nnx.split(model)
        scorer = Scorer(graph)
        tables, data = self.tables, self._data
        if model.per_session or model.reads_behaviour:
            tables = Tables(self.dataset, model.per_session, model.reads_behaviour)
        if model.reads_behaviour:
            data = DataArrays.of(tables, with_frames=False)
        responses = {
            split: split_responses(split, tables, scorer, (state,), data, lambda timelines: Split(timelines, tables))
            for split in splits
        }
        return evaluation_of(name, lag, responses, self.dataset, options)


def evaluation_of(
    name: str,
    lag: int,
    responses: dict[str, list[SessionResponses]],
    dataset: Dataset,
    options: SummaryOptions,
) -> Evaluation:
    """Score predictions, whatever made them.

    Args:
        name: name of the model.
        lag: first frames of a clip without a prediction.
        responses: recorded and predicted responses of every session, by split.
        dataset: the data set.
        options: choice of neurons, and bootstrap.
    """
    scores = {split: score_table(sessions) for split, sessions in responses.items()}
    for split, table in scores.items():
        table.insert(2, "split", split)
    neurons = with_metadata(pd.concat(scores.values(), ignore_index=True), dataset)
    return Evaluation(
        name=name,
        lag=lag,
        responses=responses,
        neurons=neurons,
        summaries={
            split: summarize(
                split, responses[split], neurons[neurons["split"] == split].reset_index(drop=True), options
            )
            for split in responses
        },
    )


def evaluate(
    model: Model,
    dataset: Dataset,
    splits: Sequence[str] | None = None,
    options: SummaryOptions | None = None,
    name: str = "model",
) -> Evaluation:
    """Score a model on a data set: ``evaluate(model, dataset).neurons`` has a row per neuron.

    Args:
        model: model that has the sessions of the data.
        dataset: the data set; several models are better evaluated by one ``Evaluator``, which keeps its arrays.
        splits: "train", "validation", "test" for all test movies, or names of test movies (None: all test movies, or
            validation where there are none).
        options: choice of neurons, and bootstrap (None: the defaults).
        name: name of the model in tables and reports.

    Raises:
        UserError: the model has other sessions or another stimulus, the data have no such split, or clips are too short
            for the model.
    """
    chosen = chosen_splits(dataset, splits or dataset.test_names or [VALIDATION])
    return Evaluator(dataset)(name, model, chosen, options or SummaryOptions())


def check_fits(model: Model, dataset: Dataset) -> None:
    """Check that a model has the sessions of the data, and frames of their shape.

    Raises:
        UserError: sessions, numbers of neurons or of channels of behaviour, or shapes differ.
    """
    info = dataset.info
    if info.input_shape != model.data_info.input_shape:
        raise UserError(
            f"the data have frames (height, width, channel) {info.input_shape}, the model needs "
            f"{model.data_info.input_shape}; give the --config that it was trained with"
        )
    rows = model.data_info.sessions
    if model.reads_behaviour:
        here, there = ({len(one["mean"]) for one in facts.behaviour.values()} for facts in (info, model.data_info))
        if here != there:
            raise UserError(
                f"the data have {max(here, default=0)} channels of behaviour, the model reads {max(there)}; give the "
                "behaviour that it was trained with"
            )
    missing = [name for name in info.sessions if name not in rows]
    if missing:
        raise UserError(
            f"the model does not know {len(missing)} of {len(info.sessions)} sessions of the data, such as "
            f"{', '.join(missing[:_NAMED])}; it has {', '.join([*rows][:_NAMED])}, ...; give the --config of its data"
        )
    counts = [f"{name} ({count}, not {rows[name]})" for name, count in info.sessions.items() if rows[name] != count]
    if counts:
        raise UserError(
            f"{len(counts)} sessions have other numbers of neurons than in the model, such as "
            f"{', '.join(counts[:_NAMED])}; give the --config with the quality checks of its data"
        )


def with_sessions_first(model: Model, dataset: Dataset) -> Model:
    """Reorder the sessions of a model: those of the data first, in their order; openretina's models have another.

    Raises:
        UserError: the order differs, and the model is no core + readout model, whose rows could be moved.
    """
    sessions = list(dataset.info.sessions)
    if list(model.data_info.sessions)[: len(sessions)] == sessions:
        return model
    if not isinstance(model, CoreReadout):
        raise UserError(
            "the sessions of the data are not the first ones of the model, in its order; give the --config of its data"
        )
    return add_sessions(model, dataset.info)
