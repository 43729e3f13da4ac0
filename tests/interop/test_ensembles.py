"""Ensembles of the framework before openretina: the predictions of openretina's reader, or one line that says why not.

The files are written by ``tests/parity/write_ensembles.py``.
"""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.insilico import centred
from openretina_jax.interop import ensembles
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.saving import load_model, save_model
from openretina_jax.runtime.pickles import load_plain_pickle
from tests.runtime.web import serving

FOLDER = Path(__file__).parents[1] / "goldens" / "ensembles"


def check(model: Ensemble, name: str, which: str = "trained") -> None:
    with np.load(FOLDER / name / "answers.npz") as answers:
        for session in model.data_info.sessions:
            predicted = model(answers["stimulus"], session=session)
            np.testing.assert_allclose(predicted, answers[f"{which}/{session}"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "padded"])
def test_predictions_are_those_of_openretina(name: str, tmp_path: Path) -> None:
    model = openretina_jax.load(FOLDER / name)
    assert isinstance(model, Ensemble)
    check(model, name)
    check(centred(model), name, "centred")
    save_model(model, tmp_path / "ours")
    check(load_model(tmp_path / "ours"), name)


def test_what_it_knows_of_its_data() -> None:
    info = openretina_jax.load(FOLDER / "gaussian").data_info
    known = load_plain_pickle(FOLDER / "gaussian" / "data_info_00000.pkl", {"torch.Size": tuple})
    assert list(info.sessions) == list(known)
    for session, facts in known.items():
        assert info.sessions[session] == facts["output_dimension"]
        np.testing.assert_allclose(info.mean_activity[session], facts["mean_response"])
        np.testing.assert_allclose(info.neurons[session]["roi_coords"], facts["roi_coords"])


@pytest.mark.slow
def test_a_published_name_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(tmp_path))
    with serving({f"some/{file.name}": file.read_bytes() for file in (FOLDER / "gaussian").iterdir()}) as server:
        address = f"{server.url}/some"
        monkeypatch.setattr(ensembles, "PUBLISHED", {"published": (address, ("00000", "01000"))})
        model = openretina_jax.load("published")
    check(model, "gaussian")
    assert model.data_info.source["checkpoint"]["source"] == f"{address}/state_dict_00000.pth.tar"


def edited(old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        config = folder / "config_01000.yaml"
        assert old in config.read_text()
        config.write_text(config.read_text().replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edited("SFB3d_core", "Other_core"), "made by .*Other_core_SxF3d_readout; only those by SFB3d_core"),
        (edited("stack: -1", "stack: 0"), r"shows the maps of layers \[0\]"),
        (edited("gaussian_masks: true", "gaussian_masks: false"), "masks are not Gaussian"),
        (edited("stack: -1", "stack: -1\n  new_option: 3"), "has the arguments new_option"),
        (edited("model_config:", "!!python/object/apply:os.getcwd"), "does not say model_fn and model_config"),
        (edited("  - 4\n  - 3", "  - 5\n  - 3"), "do not fit the model that .* describes"),
        (edited("readout_scale: true", "readout_scale: true\n  batch_norm: false"), "do not fit the model"),
        (lambda folder: (folder / "state_dict_01000.pth.tar").unlink(), "does not exist; give a file, or connect"),
        (lambda folder: (folder / "data_info_01000.pkl").write_bytes(pickle.dumps({"a": 3})), "does not give output_d"),
        (lambda folder: (folder / "data_info_01000.pkl").write_bytes(b"cos\ngetcwd\n(tR."), "nothing was run"),
    ],
)
def test_one_line_says_why_not(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "ensemble"
    shutil.copytree(FOLDER / "gaussian", folder)
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        openretina_jax.load(folder)
    assert "\n" not in str(caught.value)
