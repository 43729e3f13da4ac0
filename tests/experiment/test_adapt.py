"""The door to adapting."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.experiment.adapt import as_trained, loss_of_run, settings_of_folder
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.saving import save_model
from tests import tiny

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.mark.slow
def test_a_few_epochs_afterwards_train_the_core(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tiny.model(), tmp_path / "trained")
    out = tmp_path / "new"
    model = openretina_jax.adapt(
        str(tmp_path / "trained"), tiny.dataset(), keep_sessions=False, finetune_epochs=1, workdir=out
    )
    said = capsys.readouterr().out
    assert "validation correlation" in said
    assert "12 neurons, 3 sessions" in said
    adapted = openretina_jax.load(out)
    assert isinstance(adapted, CoreReadout)
    assert isinstance(model, CoreReadout)
    before, after = (one.core.layers[0].conv.spatial[...] for one in (adapted, model))
    np.testing.assert_array_equal(before, tiny.model().core.layers[0].conv.spatial[...])
    assert (np.asarray(before) != np.asarray(after)).any()
    assert (out / "fine_tuned" / "metrics.csv").is_file()


def test_epochs_need_a_folder() -> None:
    with pytest.raises(UserError, match="finetune_epochs is 2; give workdir"):
        openretina_jax.adapt(tiny.model(), tiny.dataset(), finetune_epochs=2)


def test_a_saved_model_says_no_loss(tmp_path: Path) -> None:
    save_model(tiny.model(), tmp_path / "model")
    assert loss_of_run(tmp_path / "model") is None
    assert loss_of_run(tmp_path / "nothing") is None


def test_a_folder_is_read_as_the_data_of_the_model() -> None:
    model = tiny.model()
    info = dataclasses.replace(model.data_info, norm_mean=40.0, norm_std=20.0, pixel_size_um=50.0)
    model = CoreReadout(model.core, model.readout, model.options, info)
    settings = as_trained(settings_of_folder("my_data", ["movie_b"]), model)
    assert settings["norm_mean"] == 40.0
    assert settings["norm_std"] == 20.0
    assert settings["frame_rate_hz"] == 30.0
    assert settings["clip_length"] == model.lag + 45
    # what a configuration says stays
    assert as_trained({"norm_mean": 0.0, "norm_std": 1.0}, model) == {"norm_mean": 0.0, "norm_std": 1.0}
    unknown = CoreReadout(model.core, model.readout, model.options, dataclasses.replace(info, frame_rate_hz=None))
    with pytest.raises(UserError, match="give --config with that of the recordings"):
        as_trained(settings_of_folder("my_data", []), unknown)
