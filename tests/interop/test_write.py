"""Models of ours in openretina's words, and back again."""

import json
from pathlib import Path

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.interop import to_openretina
from openretina_jax.interop.description import describe
from openretina_jax.interop.lightning import read_lightning_checkpoint
from openretina_jax.interop.state import load_state, state_dict
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.ensemble import Ensemble
from tests import tiny
from tests.interop.frozen import NAMES, load, path_of, slow_unless

OF_OPTIONS = ("filter", "grid", "num_batches_tracked", "sf_sums")


@pytest.mark.parametrize(
    "name",
    slow_unless(
        [name for name in NAMES if not name.endswith("_cell") and name not in ("cloned", "legacy")],
        quick=("by_command_line", "lnp", "spatial_contrast"),
    ),
)
def test_every_weight_comes_back(name: str, tmp_path: Path) -> None:
    model, original = load(name), read_lightning_checkpoint(path_of(name)).state
    to_openretina(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        written = dict(arrays)
    arguments = written.pop("hyper_parameters", None)
    for key, array in written.items():
        np.testing.assert_array_equal(array, original[key], err_msg=key)
        assert array.shape == original[key].shape, key
    missing = {key.rpartition(".")[2] for key in original if key not in written}
    assert {part for part in missing if not part.startswith("log_speed")} <= {*OF_OPTIONS, "_log_speed_default", "bias"}
    if arguments is not None:
        check_arguments(json.loads(str(arguments)), model, written)


def check_arguments(arguments: dict, model: object, state: dict[str, np.ndarray]) -> None:
    """The arguments describe a model that takes the weights."""
    described = describe(state, arguments)
    assert described.sessions == model.data_info.sessions
    assert described.input_shape == model.data_info.input_shape
    again = make_core_readout(described.options, model.data_info)
    assert [problem for problem in load_state(again, state) if not problem.endswith("is missing")] == []


def test_our_own_models(tmp_path: Path) -> None:
    model = tiny.model(seed=2)
    to_openretina(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        arguments = json.loads(str(arrays["hyper_parameters"]))
    assert arguments["in_shape"] == [2, 7, 12, 10]
    assert arguments["hidden_channels"] == [4]
    again = tiny.model(seed=3)
    assert load_state(again, state_dict(model)) == []
    np.testing.assert_array_equal(again.readout.features[...], model.readout.features[...])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a Ensemble cannot be written for openretina"):
        to_openretina(Ensemble([tiny.model()]), tmp_path / "model.npz")
    with pytest.raises(UserError, match=r"must end in \.npz"):
        to_openretina(tiny.model(), tmp_path / "model.ckpt")
    relu = make_core_readout(tiny.MODEL | {"core": tiny.MODEL["core"] | {"nonlinearity": "relu"}}, tiny.dataset().info)
    with pytest.raises(UserError, match="with nonlinearity 'relu'; set it to 'elu'"):
        to_openretina(relu, tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []
