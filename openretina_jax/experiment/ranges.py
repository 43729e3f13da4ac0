"""Ranges of all settings, checked before any work begins."""

import fnmatch
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict

from openretina_jax.errors import UserError


class Range(NamedTuple):
    """Numbers that a setting may have.

    Attributes:
        low, high: least and largest one.
        text: the rule, as the end of a sentence.
        without_ends: whether ``low`` and ``high`` are not among them; a tuple says it of each.
    """

    low: float
    high: float
    text: str
    without_ends: tuple[bool, bool] = (False, False)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        above = value > self.low if self.without_ends[0] else value >= self.low
        below = value < self.high if self.without_ends[1] else value <= self.high
        return above and below


POSITIVE = Range(0, math.inf, "above 0", (True, False))
NOT_NEGATIVE = Range(0, math.inf, "at least 0")
COUNT = Range(1, math.inf, "at least 1")
FRACTION = Range(0, 1, "between 0 and 1")
BELOW_ONE = Range(0, 1, "at least 0 and below 1", (False, True))
INSIDE = Range(0, 1, "above 0 and below 1", (True, True))
UP_TO_ONE = Range(0, 1, "above 0 and at most 1", (True, False))
FINITE = Range(-math.inf, math.inf, "a finite number")
SEED = Range(0, 2**32 - 1, f"between 0 and {2**32 - 1}")

# the first pattern that a name matches counts; kinds stand alone, as in ``resolved``
RANGES: Mapping[str, Range] = {
    "seed": SEED,
    "*.seed": SEED,
    "*_seed": SEED,
    "autoencoder.hidden": COUNT,
    "autoencoder.sparsity": NOT_NEGATIVE,
    "data.frame_rate_hz": POSITIVE,
    "data.pixel_size_um": POSITIVE,
    "data.clip_length": COUNT,
    "data.norm_std": POSITIVE,
    "data.cell_index": NOT_NEGATIVE,
    "data.fr_normalization": POSITIVE,
    "data.onset_frames": NOT_NEGATIVE,
    "data.quality.cell_types": NOT_NEGATIVE,
    "data.quality.min_neurons": NOT_NEGATIVE,
    "data.quality.*": FRACTION,
    "data.response_delay": NOT_NEGATIVE,
    "data.scale_traces": POSITIVE,
    "data.screen.padding": NOT_NEGATIVE,
    "data.screen.*": COUNT,
    "data.simulated.centre_sd_px": POSITIVE,
    "data.simulated.margin_*": NOT_NEGATIVE,
    "data.simulated.noise": NOT_NEGATIVE,
    "data.simulated.own_stimuli": NOT_NEGATIVE,
    "data.simulated.padding": NOT_NEGATIVE,
    "data.simulated.*": COUNT,
    "data.size": COUNT,
    "data.split.first": NOT_NEGATIVE,
    "data.split.count": COUNT,
    "data.split.train_fraction": INSIDE,
    "data.subsample": COUNT,
    "data.validation_clips": NOT_NEGATIVE,
    "data.validation_images": COUNT,
    "population.size": COUNT,
    "population.chunk": COUNT,
    "population.ensemble": COUNT,
    "optimizer.learning_rate": NOT_NEGATIVE,
    "optimizer.clip_norm": NOT_NEGATIVE,
    "optimizer.accumulate": COUNT,
    "optimizer.b[12]": BELOW_ONE,
    "optimizer.epsilon": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.momentum": BELOW_ONE,
    "optimizer.dampening": FRACTION,
    "schedule.factor": UP_TO_ONE,
    "schedule.lowest": NOT_NEGATIVE,
    "schedule.epochs": NOT_NEGATIVE,
    "schedule.reductions": NOT_NEGATIVE,
    "schedule.first_epochs": COUNT,
    "schedule.growth": COUNT,
    "schedule.every": COUNT,
    "schedule.rise": FRACTION,
    "schedule.*_divisor": POSITIVE,
    "schedule.*_momentum": FRACTION,
    "schedule.milestones": NOT_NEGATIVE,
    "*.threshold": NOT_NEGATIVE,
    "stopping.epochs": NOT_NEGATIVE,
    "objective.loss.samples": POSITIVE,
    "objective.loss.frames": COUNT,
    "train.epochs": COUNT,
    "train.picture_every": NOT_NEGATIVE,
    "train.average_decay": BELOW_ONE,
    "train.windows.*.window_frames": COUNT,
    "train.windows.*.windows_per_step": COUNT,
    "*.gamma": NOT_NEGATIVE,
    "*.gamma_*": NOT_NEGATIVE,
    "model.*.dropout_rate": BELOW_ONE,
    "model.*.batch_norm_momentum": FRACTION,
    "model.*_kernel_sizes": COUNT,
    "model.*_kernel": COUNT,
    "model.*.hidden_channels": COUNT,
    "model.*.recurrent_channels": COUNT,
    "model.*.groups": COUNT,
    "model.*.pool_every": COUNT,
    "model.*.downsample_input": COUNT,
    "model.*.condition_size": COUNT,
    "model.*.cut_first_frames": NOT_NEGATIVE,
    "model.*.temporal_frames": COUNT,
    "model.*.spatial_size": COUNT,
    "model.*.rank": COUNT,
    "model.*.neurons_per_chunk": COUNT,
    "model.*.init_sigma": NOT_NEGATIVE,
    "model.*.sigma_contour": POSITIVE,
    "model.*.variance_floor": NOT_NEGATIVE,
    "model.*.hidden_padding": NOT_NEGATIVE,
    "model.*.laplace_padding": NOT_NEGATIVE,
    "model.*.init_mean": NOT_NEGATIVE,
    "model.*.mean_scale": POSITIVE,
    "model.*.var_scale": POSITIVE,
    "model.shifter.hidden": COUNT,
    "model.shifter.max_shift": POSITIVE,
    "*": FINITE,
}


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Refuse settings whose values make no sense; those without a value, and options of other packages, are left out.

    Args:
        settings: as ``recipe.resolved`` gives them.

    Raises:
        UserError: the first of them, and its range.
    """
    of_others = {name[:-4] for name, value in _flat(settings).items() if name.endswith("kind") and ":" in str(value)}
    for name, value in _flat(settings).items():
        if name.startswith(tuple(of_others)):
            continue
        allowed = next(found for pattern, found in RANGES.items() if fnmatch.fnmatchcase(name, pattern))
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in allowed:
                raise UserError(f"config.{name} is {value!r}, but must be {allowed.text}")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict(dict(settings), sep=".")
