"""Fit of all rows of a readout to a data set, behind a core that stays as it is."""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.evaluation.splits import VALIDATION, check_clips
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.layers import NeuronParam
from openretina_jax.modules.readouts.readout import Grid, Readout
from openretina_jax.training.adaptation import descent, starts
from openretina_jax.training.adaptation.maps import Maps
from openretina_jax.training.adaptation.rows import Rows, Table
from openretina_jax.training.loop import check_windows
from openretina_jax.training.objective import FrameLoss, Loss, SquaredError

PASSES = 120  # over the training data, at most
CHECK_EVERY = 5  # passes between validations
PATIENCE = 2  # validations without improvement after which the fit ends
THRESHOLD = 2e-4  # least improvement of the mean score that counts

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What came of a fit.

    Attributes:
        scores: validation correlation of every neuron; NaN for neurons without responses.
        passes: passes over the training data, without those of the start.
        seconds_of_maps, seconds: of the feature maps, and of all that followed.
    """

    scores: Float[np.ndarray, " neuron"]
    passes: int
    seconds_of_maps: float
    seconds: float


def fit_readout(model: CoreReadout, dataset: Dataset, loss: Loss, progress: Progress | None = None) -> Fitted:
    """Fit all rows of a model's readout to the training responses; the core stays as it is.

    Args:
        model: model of the sessions of the data; its readout is changed.
        dataset: the data; the validation clips say when to end.
        loss: loss of predictions.
        progress: told what is done, how much of it, and of how much; a fit that ends early does not reach its total.

    Raises:
        UserError: there are no validation clips or no responses, or recordings or clips are too short for the model.
    """
    tell = progress or (lambda what, done, total: None)
    tables = Tables(dataset, per_session=True)
    check_windows(model, max(map(len, tables.training())))
    check_clips([VALIDATION], tables, model.lag)
    began = time.perf_counter()
    whole_clips = model.receptive_field().past is None  # as in training: a core that remembers all begins with a clip
    training = Maps(model, tables, tables.training(), whole_clips)
    validation = Maps(model, tables, tables.validation(), True)
    if not len(training) or not len(validation):
        part = "validation" if len(training) else "training"
        raise UserError(f"no neuron has a response in the {part} clips; were they recorded?")
    _compute((training, validation), tell)
    ready = time.perf_counter()
    rows = Rows(model, loss, training, validation)
    tell("fit", 0, PASSES)
    table = _start(rows, training, loss)
    table, scores, passes = _descend(rows, table, tell)
    nnx.update(model.readout, nnx.state(rows.readout(table), NeuronParam))
    return Fitted(np.asarray(scores), passes, ready - began, time.perf_counter() - ready)


def _compute(parts: tuple[Maps, ...], tell: Progress) -> None:
    """Compute the maps that are kept."""
    total, done = sum(map(len, parts)), 0
    tell("feature maps", 0, total)
    for part in parts:
        for piece in part if part.keeps else ():
            jax.block_until_ready(piece.maps)
            done += 1
            tell("feature maps", done, total)


def _start(rows: Rows, training: Maps, loss: Loss) -> Table:
    """Rows at the best places of the readout's grid; as they are where it has none."""
    readout = rows.readout(rows.table)
    grid = readout.grid()
    if grid is None:
        return rows.table
    of_frames = loss if isinstance(loss, FrameLoss) else SquaredError()
    place, linear = starts.screen(grid, training, len(rows.table))
    bias = getattr(readout, "bias", None)
    trained = isinstance(bias, NeuronParam)
    if not trained:
        linear = linear.at[:, -1].set(0.0 if bias is None else bias[...])
    penalty = rows.feature_penalty(readout)
    linear = starts.fit_features(grid, place, linear, training, of_frames, rows.weight, penalty, fixed_bias=not trained)
    put(readout, grid, place, linear, trained)
    return rows.projected(rows.flat(readout))


def put(readout: Readout, grid: Grid, place: jax.Array, linear: jax.Array, with_bias: bool) -> None:
    """Set the parameters of all rows to those of their places."""
    new = {name: values[place] for name, values in grid.parameters.items()} | {"features": linear[:, :-1]}
    if with_bias:
        new["bias"] = linear[:, -1]
    for name, values in new.items():
        variable = functools.reduce(getattr, name.split("."), readout)
        if isinstance(variable, NeuronParam):
            variable[...] = values


def _descend(rows: Rows, table: Table, tell: Progress) -> tuple[Table, jax.Array, int]:
    """Lower the objective until validation stops rising; the table and scores of the best validation."""
    steps = (descent.begin, descent.trial, descent.advance)
    begin, trial, advance = (jax.jit(functools.partial(step, project=rows.projected)) for step in steps)
    state = begin(table, *rows(table))
    best, best_scores = table, rows.scores(table)
    waited = 0
    for done in range(1, PASSES + 1):
        x = trial(state)
        state = advance(state, x, *rows(x))
        tell("fit", done, PASSES)
        ended = bool(state.ended.all())
        if done % CHECK_EVERY and not ended:
            continue
        scores = rows.scores(state.x)
        gain = jnp.nanmean(scores) - jnp.nanmean(best_scores)
        if gain > 0:
            best, best_scores = state.x, scores
        waited = 0 if gain > THRESHOLD else waited + 1
        if ended or waited >= PATIENCE:
            break
    return best, best_scores, done
