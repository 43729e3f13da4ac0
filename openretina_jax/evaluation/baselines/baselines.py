"""Baselines of a data set: fitted window by window, scored as a network is, and compared with it."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float32

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.evaluation.baselines.fit import HISTORY
from openretina_jax.evaluation.baselines.glm import Link
from openretina_jax.evaluation.baselines.group import Group, Predictions
from openretina_jax.evaluation.evaluate import Evaluation, evaluation_of
from openretina_jax.evaluation.splits import TRAIN, VALIDATION, check_clips, chosen_splits, split_timelines
from openretina_jax.evaluation.tables import SummaryOptions
from openretina_jax.runtime.described import Described, counted
from openretina_jax.runtime.devices import own_numbers

MEMORY_S = 0.5  # of a baseline, where no model says how far it looks back
LONGEST_MEMORY, SHORTEST_MEMORY = 40, 5  # frames

BASELINES = "baselines.csv"  # file of the table
SHOWN = ("correlation", "bits_per_spike", "explained_deviance", "fev")  # of the summary

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Baselines(Described):
    """Scores of the simple models of a data set.

    Attributes:
        evaluations: by the name of a model: "STA-LN", "GLM", "quadratic GLM", and for counts "GLM with history", which
            sees the recorded spikes before a frame.
        link: nonlinearity of the GLMs: "softplus" with the Poisson loss, or for responses that are negative somewhere
            "identity" with the squared error.
        frames: frames that they look back to, the one of the response included.
    """

    evaluations: dict[str, Evaluation]
    link: Link
    frames: int

    def _facts(self) -> dict[str, str]:
        loss = "squared error, identity" if self.link == "identity" else f"Poisson, {self.link}"
        scores = {
            name: ", ".join(
                f"{split} {summary.scores['mean_of_all']['correlation']:.3f}"
                for split, summary in one.summaries.items()
            )
            for name, one in self.evaluations.items()
        }
        return {"memory": f"{self.frames} frames", "loss": loss, **scores}

    @property
    def score(self) -> str:
        """The score that decides which model is better for a neuron."""
        return "fev" if self.link == "identity" else "bits_per_spike"

    def neurons(self, *networks: Evaluation) -> pd.DataFrame:
        """A row per model, split and neuron, with the columns of an evaluation's table after ``model``.

        Args:
            networks: evaluations of networks, whose rows come first.
        """
        table = pd.concat([one.neurons.assign(model=one.name) for one in self._all(networks)], ignore_index=True)
        return table[["model", *(column for column in table if column != "model")]]

    def table(self, split: str, *networks: Evaluation) -> pd.DataFrame:
        """Mean scores over all neurons on a split, a row per model; networks come first."""
        rows = {one.name: one.summaries[split].scores["mean_of_all"][list(SHOWN)] for one in self._all(networks)}
        return pd.DataFrame(rows).T

    def against(self, network: Evaluation, split: str) -> str:
        """Say in a line for how many neurons a network is better than the best baseline of each.

        The GLM with history is no rival: it is told the recorded spikes, which a network is not. A network that
        predicts negative rates, and has no likelihood, loses.
        """
        key = ["session", "neuron"]
        rivals = [one for name, one in self.evaluations.items() if name != HISTORY]
        scores = pd.concat([one.of_split(split).set_index(key)[self.score] for one in rivals], axis=1)
        best = scores.max(axis=1).dropna()
        own = network.of_split(split).set_index(key)[self.score].fillna(-np.inf).reindex(best.index).dropna()
        wins = int((own > best.loc[own.index]).sum())
        score = self.score.replace("_", " ")
        return (
            f"{split}: {network.name} wins for {wins:,} of {counted(len(own), 'neuron')} against the best baseline of "
            f"each ({score})"
        )

    def lines(self, splits: Sequence[str], networks: Sequence[Evaluation] = ()) -> list[str]:
        """Mean scores of all models on some splits as text, and for how many neurons each network wins."""
        lines = []
        for split in splits:
            table = self.table(split, *networks).rename(columns=lambda name: name.replace("_", " "))
            neurons = len(next(iter(self.evaluations.values())).of_split(split))
            loss = "squared error" if self.link == "identity" else "Poisson loss"
            seen = f"baselines see {counted(self.frames, 'frame')}, {loss}"
            lines.append(f"{split}: means over all {counted(neurons, 'neuron')}; {seen}")
            lines += table.to_string(float_format=lambda value: f"{value:.4f}", na_rep="").splitlines()
            lines += [*(self.against(network, split) for network in networks), ""]
        return lines

    def _all(self, networks: Sequence[Evaluation]) -> list[Evaluation]:
        return [*networks, *self.evaluations.values()]


@own_numbers()
def fit_baselines(
    dataset: Dataset,
    splits: Sequence[str] | None = None,
    *,
    frames: int | None = None,
    options: SummaryOptions | None = None,
    progress: Progress | None = None,
) -> Baselines:
    """Fit the field's simple models to every neuron, and score them: what a network has to beat.

    The split is that of a network: training clips fit, validation clips choose strengths of penalties, numbers of
    filters, and nothing else. docs/evaluation.md describes the models.

    Args:
        dataset: the data set.
        splits: what to score: "train", "validation", "test" for all test movies, or names of test movies (None: all
            test movies, or validation where there are none).
        frames: frames that a response depends on, its own included (None: half a second, but 5 to 40). With a
            network's ``lag + 1``, both predict the same frames.
        options: choice of neurons, and bootstrap, of the summaries (None: the defaults).
        progress: told what is fitted, how much of it is done, and of how much.

    Raises:
        UserError: there are no validation clips, no such split, or clips are too short.
    """
    chosen = chosen_splits(dataset, splits or dataset.test_names or [VALIDATION])
    tables = Tables(dataset)
    tables.validation()  # raises if there are none
    frames = default_frames(dataset) if frames is None else frames
    if frames < 1:
        raise UserError(f"frames is {frames}; a response depends on at least 1 frame")
    check_clips([TRAIN, VALIDATION, *chosen], tables, frames - 1)
    link: Link = "identity" if dataset.has_negative else "softplus"
    spikes = all(counts(session.responses) for session in dataset.sessions)
    predictions = Predictions(tables, chosen, frames - 1)
    groups = {timeline.first_neuron: timeline for timeline in split_timelines(TRAIN, tables)}
    for number, timeline in enumerate(groups.values()):
        what = "baselines" if len(groups) == 1 else f"baselines, movie {number + 1} of {len(groups)}"
        group = Group(tables, timeline, frames, link, spikes)
        with jax.default_matmul_precision("highest"):
            for done in group.fit(predictions):
                if progress is not None:
                    progress(what, done, 2 * timeline.n_neurons)
    options = options or SummaryOptions()
    evaluations = {
        name: evaluation_of(name, frames - 1, predictions.responses(name), dataset, options)
        for name in predictions.names
    }
    return Baselines(evaluations, link, frames)


def frames_of(networks: Sequence[Evaluation]) -> int | None:
    """Frames with which baselines predict the same frames as the first network; None if that needs no history."""
    return networks[0].lag + 1 if networks and networks[0].lag else None


def counts(responses: Float32[np.ndarray, "time neuron"]) -> bool:
    """Whether responses are counts: whole numbers from 0 on."""
    known = responses[np.isfinite(responses)]
    return bool((known >= 0).all() and (known == np.round(known)).all())


def default_frames(dataset: Dataset) -> int:
    """Frames of half a second, between limits, and at most a third of a clip."""
    movie = dataset.stimuli[dataset.sessions[0].stimulus]
    tests = [trials.shape[1] for session in dataset.sessions for trials in session.repeats.values()]
    shortest = min([dataset.clip_length, *tests]) if dataset.clip_length > 1 else 3
    return int(max(1, min(max(round(MEMORY_S * movie.frame_rate_hz), SHORTEST_MEMORY), LONGEST_MEMORY, shortest // 3)))
