"""Numbers that make no sense are refused before any work begins."""

import fnmatch
import functools
import math
from pathlib import Path
from typing import Any

import ml_collections
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from openretina_jax.errors import UserError
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.ranges import RANGES, check_ranges
from openretina_jax.experiment.recipe import resolved, without_kind
from openretina_jax.models.build import make_model
from openretina_jax.runtime import presets
from openretina_jax.runtime.settings import entries, read_config
from tests import tiny
from tests.experiment.configuration import configuration

TEMPLATE = str(Path(presets.folder(), "template.py"))


@functools.cache
def configs() -> dict[str, ml_collections.ConfigDict]:
    """Configurations by name, but "mix", which is made of the others."""
    return {name: read_config(name) for name in presets.names() if name != "mix"}


def names() -> set[str]:
    """Names of all settings of all configurations, as ``resolved`` has them."""
    return {without_kind(name) for config in configs().values() for name in entries(config)}


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("seed", -1, "between 0 and 4294967295"),
        ("seed", 2**40, "between 0 and 4294967295"),
        ("train.epochs", 0, "at least 1"),
        ("train.average_decay", 2.0, "at least 0 and below 1"),
        ("optimizer.learning_rate", -1.0, "at least 0"),
        ("optimizer.learning_rate", math.nan, "at least 0"),
        ("optimizer.adamw.b1", 1.0, "at least 0 and below 1"),
        ("schedule.plateau.factor", -1.0, "above 0 and at most 1"),
        ("objective.loss.poisson.samples", 0.0, "above 0"),
        ("stopping.threshold", -0.1, "at least 0"),
        ("model.core.simple.temporal_kernel_sizes", (0, 3), "at least 1"),
        ("model.readout.gaussian_mask.gamma_mask", -1.0, "at least 0"),
        ("model.readout.gaussian_mask.var_scale", 0.0, "above 0"),
        ("data.clip_length", 0, "at least 1"),
        ("data.norm_mean", math.inf, "a finite number"),
    ],
)
def test_values_out_of_range(setting: str, value: Any, rule: str) -> None:
    settings = unflatten_dict({**flatten_dict(configs()["template"].to_dict(), sep="."), setting: value}, sep=".")
    with pytest.raises(UserError) as caught:
        resolved(settings)
    shown = list(value) if isinstance(value, tuple) else value
    assert str(caught.value) == f"config.{without_kind(setting)} is {shown!r}, but must be {rule}"


def test_values_of_other_types() -> None:
    config = configuration(TEMPLATE, "--config.model.core.simple.hidden_channels=(2.5,)")
    with pytest.raises(UserError, match=r"hidden_channels is .*2\.5"):
        make_model(resolved(config.to_dict())["model"], tiny.dataset().info)


@pytest.mark.parametrize(
    "options", [{"simulated": {"neurons_per_session": 0}}, {"split": {"train_fraction": 1.5}}, {"subsample": 0}]
)
def test_data_are_not_read_with_them(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^config\.data\..* is .*, but must be"):
        make_dataset({"source": "hdf5", **options}, tmp_path)


def test_switches_have_no_range() -> None:
    check_ranges({"data": {"simulated": {"enabled": False}}, "model": {"core": {"gamma_any": True}}})


def test_every_range_is_that_of_a_setting() -> None:
    known = names()
    unused = {pattern for pattern in RANGES if not fnmatch.filter(known, pattern)}
    assert unused == set()
