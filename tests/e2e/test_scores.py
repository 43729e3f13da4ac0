"""Small versions of the presets must reach their share of what a perfect model would have."""

from pathlib import Path
from typing import Any

import pytest

import openretina_jax
from benchmarks.noise_ceiling import noise_ceiling
from benchmarks.presets import mean_correlations
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.notebook import changed, train
from tests.scripts import ROOT

_CELLS = {"data.simulated.neurons_per_session": 8}
_TRIALS = {**_CELLS, "data.simulated.n_trials": 10, "data.simulated.frames_per_trial": 850}
# words after the colon besides "simulated" and "quick", settings, and the least share of the ceiling of the test
GATES: dict[str, tuple[str, dict[str, Any], float]] = {
    "hoefling_low_res": ("", {"data.simulated.n_sessions": 2, "data.simulated.neurons_per_session": 9}, 0.5),
    "goldin_2022_core_readout": ("", {**_CELLS, "data.simulated.n_images": 800}, 0.5),
    "hdf5_core_readout": ("", _CELLS, 0.3),
    "karamanlis_2024_core_readout": ("", {**_CELLS, "data.simulated.n_sessions": 1}, 0.5),
    "maheswaranathan_2023_core_readout": ("", {**_CELLS, "data.simulated.seconds": 60}, 0.4),
    "maheswaranathan_2023_lnp": ("separable_lnp", {**_CELLS, "data.simulated.seconds": 60}, 0.5),
    "sridhar_2025_nm_sc": ("", _TRIALS, 0.5),
    "sridhar_2025_nm_sc_multicell": ("", _TRIALS, 0.5),
    "sridhar_2025_wn_sc": ("", _TRIALS, 0.5),
    "sridhar_2025_wn_sc_multicell": ("", _TRIALS, 0.5),
    "vystrcilova_2024_nm_cnn": ("", {**_TRIALS, "data.simulated.n_sessions": 1}, 0.5),
    "vystrcilova_2024_nm_ln": ("", _TRIALS, 0.5),
    "vystrcilova_2024_wn_cnn": ("", _TRIALS, 0.5),
    "vystrcilova_2024_wn_ln": ("", _TRIALS, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GATES)
def test_a_preset_reaches_its_share_of_the_noise_ceiling(name: str, simulated: Path, tmp_path: Path) -> None:
    words, settings, least = GATES[name]
    preset = f"{ROOT / 'configs' / name}.py:{','.join(filter(None, ('simulated', 'quick', words)))}"
    config = changed(preset, {**settings, "train.picture_every": 0})
    data = config.data.to_dict()
    dataset = make_dataset(data, simulated)
    model = train(dataset, tmp_path / "run", config)
    evaluation = openretina_jax.evaluate(model, dataset, ["validation", "test"])
    reached = mean_correlations({split: evaluation.of_split(split) for split in evaluation.responses})
    ceiling = mean_correlations(noise_ceiling(data, dataset, list(evaluation.responses), model.lag, simulated))
    print(f"{name}: test {reached['test']:.3f} of {ceiling['test']:.3f}, {reached['test'] / ceiling['test']:.0%}")
    assert reached["test"] > least * ceiling["test"]
