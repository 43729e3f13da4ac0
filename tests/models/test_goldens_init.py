"""What the reference's models begin with: the fixed numbers, and the spread of the drawn ones."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.models.autoencoder import SparseAutoencoder
from tests import reference
from tests.goldens_case import case, cases

STATISTICS = case("init", "parameter_statistics")
ALIKE = 5  # standard errors
KNOWN_OTHERWISE = r"running_var"  # ours begin at 1, the reference's have seen a pass of zeros


def build(entry: Mapping[str, Any]) -> nnx.Module:
    """Our counterpart of a module of the reference."""
    kind, kwargs = entry["path"].rsplit(".", 1)[1], dict(entry["kwargs"])
    if kind == "Autoencoder":
        return SparseAutoencoder(kwargs["input_dim"], hidden=kwargs["hidden_dim"], rngs=nnx.Rngs(0))
    if "channels" in kwargs:
        return reference.make_core(entry["path"], kwargs, kwargs["channels"])
    count = kwargs.pop("outdims", 1)
    more: dict[str, Any] = {}
    if kind == "SingleCellSeparatedLNP":
        more = {"temporal_frames": kwargs["in_shape"][1]}
    channels, _, height, width = kwargs["in_shape"]
    if (activity := kwargs.pop("mean_activity", None)) is not None:
        (limits,) = re.findall(r"linspace\(([\d.]+), ([\d.]+), \d+\)", activity)
        more["mean_activity"] = jnp.linspace(*map(float, limits), count)
    return reference.make_readout(entry["path"], kwargs, (channels, height, width), count, **more)


def ours_of(entry: Mapping[str, Any], module: nnx.Module) -> dict[str, tuple[dict[str, float], np.ndarray]]:
    """The reference's statistics beside our values, by our names."""
    shaped = {name: np.zeros(facts["shape"] or ()) for name, facts in entry["state"].items()}
    variables = reference.variables(module)
    return {
        place.path: (entry["state"][name], np.asarray(variables[place.path][...]))
        for name, place in reference.places(module, shaped).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", STATISTICS.entry["modules"])
def test_spread_of_drawn_parameters(name: str) -> None:
    entry = STATISTICS.entry["modules"][name]
    module = build(entry)
    found = ours_of(entry, module)
    assert found
    for path, (facts, values) in found.items():
        std, count = facts["std"], values.size
        assert values.size == math.prod(facts["shape"]), path
        error = ALIKE * max(std, 1e-3 * abs(facts["mean"])) * math.sqrt(2 / count) + 1e-6
        assert abs(values.mean() - facts["mean"]) < error, path
        assert abs(values.std() - std) < error, path


@pytest.mark.slow
def test_fixed_numbers_after_construction() -> None:
    begun = case("init", "after_construction")
    kwargs = begun.kwargs
    model = reference.make_core_readout(kwargs)
    fixed = {n: v for n, v in begun.under("state").items() if not re.search(f"{KNOWN_OTHERWISE}|bias$", n)}
    variables = reference.variables(model)
    names = set()
    for name, (path, rows, expected) in reference.places_in_model(model, fixed).items():
        names.add(path)
        np.testing.assert_allclose(variables[path][rows], expected, atol=1e-6, err_msg=name)
    assert {"core.layers.0.norm.scale", "core.layers.1.norm.mean", "readout.mask_mean", "readout.mask_log_var"} <= names
    _, time, height, width = begun.entry["core_output_shape"]
    frames = kwargs["in_shape"][1]
    maps = model.core(jnp.zeros((1, frames, *model.data_info.input_shape)))
    assert maps.shape[1:4] == (time, height, width)
    biases = [begun.array(f"state/readout.{session}.bias") for session in kwargs["n_neurons_dict"]]
    np.testing.assert_allclose(model.readout.bias[...], np.concatenate(biases), rtol=1e-6)


def test_every_case_is_known() -> None:
    known: set[str] = {"parameter_statistics", "after_construction"}
    assert {found.name for found in cases("init")} == known
