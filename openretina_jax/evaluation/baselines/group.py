"""Fits of the neurons of all sessions that saw the same clips, and their predictions for every split."""

from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int

from openretina_jax.data.masked import mean_of
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.errors import UserError
from openretina_jax.evaluation.baselines.design import (
    Axes,
    Shown,
    Size,
    Window,
    filtered,
    peaks,
    raised_cosines,
    together,
)
from openretina_jax.evaluation.baselines.fit import (
    GLM,
    HISTORY,
    QUADRATIC,
    STA,
    Recorded,
    fit_average,
    fit_quadratic,
    history_basis,
    locating_filters,
    path,
    predict_average,
    predict_quadratic,
)
from openretina_jax.evaluation.baselines.glm import Design, Link, Weights, predict
from openretina_jax.evaluation.splits import VALIDATION, SessionResponses, paired_responses, split_timelines

QUADRATIC_SIZE = (400, 5)  # most features, and fewest functions of time, of the subspace of a quadratic GLM
GRID = 3  # corners of windows lie on multiples of this many squares of pixels, so that neurons share a regression
NEURONS_AT_ONCE = 32

Columns = Int[np.ndarray, " neuron"]


class Predictions:
    """Predictions of all models for the clips of some splits, filled in as neurons are fitted.

    Attributes:
        tables: tables of the data set.
        lag: first frames of every clip, which are not predicted.
        names: models that have predicted something.
        timelines: those of every split.

    Args:
        splits: names of the splits.
    """

    def __init__(self, tables: Tables, splits: Sequence[str], lag: int):
        self.tables, self.lag = tables, lag
        self.timelines = {split: split_timelines(split, tables) for split in splits}
        self._predicted: dict[str, dict[str, list[np.ndarray]]] = {}

    @property
    def names(self) -> list[str]:
        """Models that have predicted something, in their order."""
        return list(self._predicted)

    def fill(self, name: str, split: str, number: int, columns: Columns, values: Float32[np.ndarray, "..."]) -> None:
        """Take in predictions.

        Args:
            name: model.
            split: split.
            number: of its timelines.
            columns: columns of the neurons in the table of responses.
            values: predictions of all predicted frames, clip after clip, by neuron.
        """
        if name not in self._predicted:
            self._predicted[name] = {one: [self._empty(t) for t in found] for one, found in self.timelines.items()}
        array, timeline = self._predicted[name][split][number], self.timelines[split][number]
        array[:, :, columns - timeline.first_neuron] = values.reshape(*array.shape[:2], len(columns))

    def responses(self, name: str) -> dict[str, list[SessionResponses]]:
        """Recorded responses and predictions of a model, of every session by split."""
        return {
            split: paired_responses(split, self.tables, timelines, self._predicted[name][split])
            for split, timelines in self.timelines.items()
        }

    def of(self, columns: Columns) -> list[tuple[str, int, Timeline]]:
        """Split, number and timeline of all clips that neurons, which saw the same, were shown."""
        return [
            (split, number, timeline)
            for split, timelines in self.timelines.items()
            for number, timeline in enumerate(timelines)
            if timeline.first_neuron <= columns[0] < timeline.first_neuron + timeline.n_neurons
        ]

    def _empty(self, timeline: Timeline) -> np.ndarray:
        clips = len(timeline) // timeline.clip_length
        return np.full((clips, timeline.clip_length - self.lag, timeline.n_neurons), np.nan, np.float32)


class Group:
    """Neurons of all sessions that saw the same training clips.

    Args:
        tables: tables of the data set.
        timeline: their training clips.
        frames: frames that a response depends on.
        link: nonlinearity of the GLMs.
        with_history: whether there is a GLM with spike history.
    """

    def __init__(self, tables: Tables, timeline: Timeline, frames: int, link: Link, with_history: bool):
        self.tables, self.frames, self.link = tables, frames, link
        self.columns = timeline.first_neuron + np.arange(timeline.n_neurons)
        self.shape = tables.dataset.info.input_shape
        held = [one for one in split_timelines(VALIDATION, tables) if one.first_neuron == timeline.first_neuron]
        if not held:
            raise UserError(
                f"{timeline.name}: its movie has no validation clips, which choose the strength of penalties; keep at "
                "least one"
            )
        self.train = Shown.clips(timeline, continuous=self._in_order())
        self.validation = Shown.clips(held[0])
        self._history = history_basis(frames - 1) if with_history and frames > 1 else None

    def fit(self, predictions: Predictions) -> Iterator[int]:
        """Fit all models to all neurons, and fill in their predictions.

        Args:
            predictions: of the data set.

        Yields:
            How many of the neurons' two fits are done.
        """
        yield 0
        centres, done = self._centres(), 0
        shown = [self.train, self.validation, *(Shown.clips(timeline) for *_, timeline in predictions.of(self.columns))]
        drives = [np.empty((len(one.predicted(self.frames - 1)), len(self.columns)), np.float32) for one in shown]
        size = Size.fitting(self.shape, self.frames)
        windows = self._windows(centres, size, GRID)
        widest = max(map(len, windows.values()))
        for axes, features, members in self._designs(windows, shown, size):
            for neurons in parts_of(members, widest):
                found = self._fit_linear(predictions, axes, features, neurons)
                for drive, of_part in zip(drives, found, strict=True):
                    drive[:, neurons] = of_part
            yield (done := done + len(members))
        size = Size.fitting(self.shape, self.frames, *QUADRATIC_SIZE)
        for axes, features, members in self._designs(self._windows(centres, size, 1), shown, size):
            x = [jnp.asarray(one) for one in features]
            for neuron in members:
                self._fit_quadratic(predictions, axes, x, [drive[:, neuron] for drive in drives], int(neuron))
                yield (done := done + 1)

    def _centres(self) -> list[tuple[float, float]]:
        """Row and column of every neuron's receptive field, from a regression on coarse pixels of the whole image."""
        height, width, _ = self.shape
        whole = [Size.fitting(self.shape, self.frames, *limits) for limits in ((), QUADRATIC_SIZE)]
        if all(size.side == (height, width) for size in whole):
            return [(height / 2, width / 2)] * len(self.columns)
        coarse = Size.coarse(self.shape, self.frames)
        window = coarse.window((height / 2, width / 2), self.shape)
        axes, x = Axes.of(self.tables, self.train, window, raised_cosines(self.frames, coarse.functions))
        filters = []
        for neurons in parts_of(np.arange(len(self.columns)), len(self.columns)):
            recorded = self._recorded(self.train, self.columns[neurons])
            filters.append(locating_filters(jnp.asarray(x), jnp.asarray(axes.power), recorded))
        found = np.concatenate(filters, axis=1)[:, : len(self.columns)]
        return peaks(axes.filters(found), window)

    def _windows(self, centres: Sequence[tuple[float, float]], size: Size, grid: int) -> dict[Window, Columns]:
        """Windows of a size, and the neurons around which each lies."""
        return together([size.window(centre, self.shape, grid * size.pixel) for centre in centres])

    def _designs(
        self, windows: Mapping[Window, Columns], shown: Sequence[Shown], size: Size
    ) -> Iterator[tuple[Axes, list[np.ndarray], Columns]]:
        """Axes of every window, the features of all clips, and the neurons around which it lies."""
        basis = raised_cosines(self.frames, size.functions)
        for window, members in windows.items():
            axes, x = Axes.of(self.tables, shown[0], window, basis)
            yield axes, [x, *(axes.features(self.tables, one) for one in shown[1:])], members

    def _fit_linear(
        self, predictions: Predictions, axes: Axes, features: Sequence[np.ndarray], neurons: Columns
    ) -> list[np.ndarray]:
        """Fit all but the quadratic GLM, fill in what they predict, and return the drive of the GLM in all clips."""
        x, power, columns = [jnp.asarray(one) for one in features], jnp.asarray(axes.power), self.columns[neurons]
        train, validation = (self._recorded(one, columns) for one in (self.train, self.validation))
        average = fit_average((x[0], x[1]), power, train, validation, poisson=self.link != "identity")
        models = {GLM: self._fit_glm(x, power, train, validation, with_history=False)}
        if self._history is not None:
            models[HISTORY] = self._fit_glm(x, power, train, validation, with_history=True)
        for (split, number, timeline), part in zip(predictions.of(self.columns), x[2:], strict=True):
            predictions.fill(STA, split, number, columns, np.asarray(predict_average(part, *average)))
            for name, weights in models.items():
                # trial by trial where the spikes before count, and without trials that a neuron lacks
                given = self._histories(split, timeline, columns, weights.own.shape[0] > 0)
                values = [
                    np.where(recorded, predict(self.link, Design(part, jnp.asarray(past)), weights), np.nan)
                    for past, recorded in given
                ]
                predictions.fill(name, split, number, columns, mean_of(np.stack(values)).astype(np.float32))
        filters = models[GLM].stimulus
        return [np.asarray(part @ filters) for part in x]

    def _fit_glm(
        self, x: Sequence[Array], power: Array, train: Recorded, validation: Recorded, with_history: bool
    ) -> Weights:
        own = [one.history if with_history else one.history[:, :0] for one in (train, validation)]
        return path(self.link, (Design(x[0], own[0]), Design(x[1], own[1])), power[0], train, validation)

    def _histories(
        self, split: str, timeline: Timeline, columns: Columns, with_history: bool
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Spikes before every predicted frame, and which neurons have the trial; once and none without history."""
        shown = Shown.clips(timeline)
        if not with_history:
            none = np.zeros((len(shown.predicted(self.frames - 1)), 0, len(columns)), np.float32)
            return [(none, np.ones(len(columns), bool))]
        return [
            (self._past(shown, trial)[0], np.isfinite(trial).any(axis=0))
            for trial in self._trials(split, timeline, columns)
        ]

    def _fit_quadratic(
        self,
        predictions: Predictions,
        axes: Axes,
        features: Sequence[Array],
        drives: Sequence[np.ndarray],
        neuron: int,
    ) -> None:
        column = self.columns[[neuron]]
        train, validation = (self._recorded(one, column) for one in (self.train, self.validation))
        linear = [jnp.asarray(one) for one in drives]
        power = jnp.asarray(axes.power)
        model = fit_quadratic(self.link, (features[0], features[1]), power, (linear[0], linear[1]), train, validation)
        for (split, number, _), x, drive in zip(predictions.of(self.columns), features[2:], linear[2:], strict=True):
            predictions.fill(
                QUADRATIC, split, number, column, np.asarray(predict_quadratic(self.link, model, x, drive))
            )

    def _recorded(self, shown: Shown, columns: Columns) -> Recorded:
        """Responses to the predicted frames, and the spikes before them."""
        responses = self.tables.responses[shown.timeline.rows][:, columns]
        history, whole = self._past(shown, responses)
        response = responses[shown.predicted(self.frames - 1)]
        known = np.isfinite(response) & whole
        return Recorded(jnp.where(known, response, jnp.float32(0)), jnp.asarray(known), jnp.asarray(history))

    def _past(self, shown: Shown, responses: Float32[np.ndarray, "time neuron"]) -> tuple[np.ndarray, np.ndarray]:
        """Responses before every predicted frame, through functions of time, and where all of them were recorded."""
        times = shown.predicted(self.frames - 1)
        if self._history is None:
            return np.zeros((len(times), 0, responses.shape[1]), np.float32), np.ones(responses[times].shape, bool)
        known = np.isfinite(responses)
        past = filtered(np.where(known, responses, np.float32(0)), self._history)[times - 1]
        missing = filtered((~known).astype(np.float32), np.ones((len(self._history), 1), np.float32))[times - 1]
        return past.reshape(len(times), responses.shape[1], -1).transpose(0, 2, 1), missing == 0

    def _trials(self, split: str, timeline: Timeline, columns: Columns) -> Float32[np.ndarray, "trial time neuron"]:
        """Recorded responses to the clips of a split, trial by trial; neurons lack the trials of other sessions."""
        dataset, tables = self.tables.dataset, self.tables
        if split not in dataset.test_names:
            return tables.responses[timeline.rows][None, :, columns]
        most = max(len(session.repeats[split]) for session in dataset.sessions if split in session.repeats)
        trials, first = np.full((most, len(timeline), len(tables.session)), np.nan, np.float32), 0
        for session in dataset.sessions:
            if split in session.repeats and timeline.first_neuron <= first < timeline.first_neuron + timeline.n_neurons:
                recorded = session.repeats[split]
                trials[: len(recorded), :, first : first + session.n_neurons] = recorded
            first += session.n_neurons
        return trials[:, :, columns]

    def _in_order(self) -> bool:
        """Whether all sessions were shown the clips in the order of the movie, one after the other."""
        numbers = np.unique(self.tables.session[self.columns])
        return all((np.diff(self.tables.dataset.sessions[number].frame_index) == 1).all() for number in numbers)


def parts_of(members: Columns, widest: int) -> list[Int[np.ndarray, " part"]]:
    """Split the neurons of a window, so that equally many are fitted at once, and all windows share compiled programs.

    Args:
        members: the neurons; the last part is filled up with the first ones.
        widest: how many the window with most of them has.
    """
    width = min(NEURONS_AT_ONCE, widest)
    return list(np.resize(members, (-(-len(members) // width), width)))
