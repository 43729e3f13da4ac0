"""Models of new sessions with the core of a trained one."""

import dataclasses
import math

import numpy as np
from flax import nnx

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.models.saving import SCORE
from openretina_jax.models.transfer import add_sessions, filters_of, start_at_sta
from openretina_jax.modules.layers import NeuronConstant, NeuronParam
from openretina_jax.runtime.devices import own_numbers
from openretina_jax.training.adaptation.fit import Fitted, Progress, fit_readout
from openretina_jax.training.objective import Loss, Poisson

RATE_TOLERANCE = 0.01  # relative difference of frame rates that a core does not notice
SIZE_TOLERANCE = 0.05  # of sizes of a pixel
CONTRAST_TOLERANCE = 0.1  # of means and deviations of the raw movies, in deviations


@own_numbers()
def adapt_model(
    model: Model,
    dataset: Dataset,
    *,
    loss: Loss | None = None,
    keep_sessions: bool = True,
    progress: Progress | None = None,
) -> tuple[CoreReadout, Fitted]:
    """Fit the readout of new sessions behind the core of a trained model, which stays as it is to the bit.

    Args:
        model: trained core + readout model; it is not changed.
        dataset: recordings of the new sessions.
        loss: loss of predictions (None: Poisson).
        keep_sessions: whether the sessions of the trained model stay; the new ones come first.
        progress: told what is done, how much of it, and of how much.

    Returns:
        The model, with the validation score of every new neuron in its ``data_info``, and what came of the fit.

    Raises:
        UserError: the core was trained for other stimuli, a session is in the model already, or there are no validation
            clips.
    """
    info, trained = dataset.info, with_core(model)
    check_stimuli(trained.data_info, info)
    known = sorted(info.sessions.keys() & trained.data_info.sessions.keys())
    if keep_sessions and known:
        raise UserError(
            f"the model has the session {known[0]} already; rename it, leave it out, or take the new sessions instead "
            "of those of the model (keep_sessions=False)"
        )
    alone = add_sessions(trained, info, keep=False)
    start_at_sta(alone, filters_of(dataset), list(info.sessions))
    fitted = fit_readout(alone, dataset, loss or Poisson(), progress)
    adapted = add_sessions(trained, info) if keep_sessions else alone
    of_neurons = (NeuronParam, NeuronConstant)  # such as weights, and places of patches
    rows = dict(nnx.to_flat_state(nnx.state(alone.readout, of_neurons)))
    for path, variable in nnx.to_flat_state(nnx.state(adapted.readout, of_neurons)):
        variable[...] = variable[...].at[: info.n_neurons].set(rows[path][...])
    adapted.data_info = nnx.static(with_scores(adapted.data_info, fitted.scores))
    return adapted, fitted


def with_core(model: Model) -> CoreReadout:
    """The model, if it has a core and a readout.

    Raises:
        UserError: it has not, or it has a shifter.
    """
    if not isinstance(model, CoreReadout):
        raise UserError(f"only a core + readout model can be adapted; this one is of the kind {type(model).__name__}")
    if model.reads_behaviour:
        raise UserError(
            "the model has a shifter, which cannot be fitted behind maps that are computed once; train it on the new "
            "recordings instead, with config.start_from"
        )
    return model


def check_stimuli(known: DataInfo, new: DataInfo) -> None:
    """Check that a core was trained for the stimuli of other data; what is not known of both is not compared.

    Args:
        known: facts about the data of the core.
        new: facts about the other data.

    Raises:
        UserError: pixels, channels, frame rate or normalisation differ.
    """
    if new.input_shape != known.input_shape:
        raise UserError(
            f"the recordings have frames (height, width, channel) {new.input_shape}, but the core was trained on "
            f"{known.input_shape}; scale or crop the movie, or train a model of its own"
        )
    if None not in (new.channels, known.channels) and new.channels != known.channels:
        raise UserError(
            f"the recordings have the channels {', '.join(new.channels or ())}, but the core was trained on "
            f"{', '.join(known.channels or ())}; bring them into this order"
        )
    if _differ(new.frame_rate_hz, known.frame_rate_hz, RATE_TOLERANCE):
        raise UserError(
            f"the recordings have {new.frame_rate_hz:g} frames per second, but the core was trained on "
            f"{known.frame_rate_hz:g}; resample movie and responses, or train a model of its own"
        )
    if _differ(new.pixel_size_um, known.pixel_size_um, SIZE_TOLERANCE):
        raise UserError(
            f"a pixel of the recordings has {new.pixel_size_um:g} µm on the retina, but {known.pixel_size_um:g} µm in "
            "the data of the core; scale the movie"
        )
    deviation = known.norm_std or 1.0
    for name in ("norm_mean", "norm_std"):
        here, there = getattr(new, name), getattr(known, name)
        if None not in (here, there) and not math.isclose(here, there, abs_tol=CONTRAST_TOLERANCE * deviation):
            raise UserError(
                f"the movie is normalised with {name} {here:g}, but that of the core with {there:g}: the same light "
                f"would be another number; set norm_mean to {known.norm_mean:g} and norm_std to {known.norm_std:g}"
            )


def with_scores(info: DataInfo, scores: np.ndarray) -> DataInfo:
    """Add the validation scores of the first neurons to their metadata, so that experiments can choose the best."""
    neurons, first = dict(info.neurons), 0
    for name, count in info.sessions.items():
        if first < len(scores):
            of_session = [None if np.isnan(score) else float(score) for score in scores[first : first + count]]
            neurons[name] = {**neurons.get(name, {}), SCORE: of_session}
        first += count
    return dataclasses.replace(info, neurons=neurons)


def _differ(here: float | None, there: float | None, tolerance: float) -> bool:
    return here is not None and there is not None and not math.isclose(here, there, rel_tol=tolerance)
