"""Small versions of the presets must reach their share of what a perfect model would have."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import openretina_jax
from benchmarks.noise_ceiling import noise_ceiling
from benchmarks.presets import mean_correlations
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.notebook import changed, train
from tests.presets import TWO_SESSIONS
from tests.scripts import ROOT

_TWO_SESSIONS = {f"data.simulated.{name}": value for name, value in TWO_SESSIONS.items()}
_CELLS = {"data.simulated.neurons_per_session": 6}
_TRIALS = {**_CELLS, "data.simulated.n_trials": 10}
_BRIEF = {**_TRIALS, "data.simulated.frames_per_trial": 500, "train.epochs": 10}
_LN = {**_TRIALS, "optimizer.learning_rate": 0.02, "train.windows.session.windows_per_step": 4}
_KARAMANLIS = {
    "data.simulated.n_sessions": 1,
    "optimizer.learning_rate": 0.01,
    "train.average_decay": 0.9,
    "train.epochs": 8,
}
_NM_CNN = {"data.simulated.frames_per_trial": 850, "optimizer.learning_rate": 0.03}
_MINUTE = {**_CELLS, "data.simulated.seconds": 60}
# words after the colon besides "simulated" and "quick", settings, and the least share of the ceiling of the test:
# about three quarters of what was reached
GATES: dict[str, tuple[str, dict[str, Any], float]] = {
    "hoefling_low_res": ("", {**_TWO_SESSIONS, "train.epochs": 4}, 0.65),
    "goldin_2022_core_readout": ("", {**_CELLS, "data.simulated.n_images": 800, "train.epochs": 8}, 0.6),
    "hdf5_core_readout": ("", {**_CELLS, "data.simulated.clips": 80, "train.epochs": 8}, 0.5),
    "karamanlis_2024_core_readout": ("", {**_CELLS, **_KARAMANLIS}, 0.4),
    "maheswaranathan_2023_core_readout": ("", {**_MINUTE, "train.epochs": 6}, 0.55),
    "maheswaranathan_2023_lnp": ("", {**_MINUTE, "train.epochs": 10}, 0.4),
    "maheswaranathan_2023_lnp-separable_lnp": ("separable_lnp", {**_MINUTE, "train.epochs": 5}, 0.45),
    "sridhar_2025_nm_sc": ("", _BRIEF, 0.6),
    "sridhar_2025_nm_sc_multicell": ("", _BRIEF, 0.6),
    "sridhar_2025_wn_sc": ("", _BRIEF, 0.6),
    "sridhar_2025_wn_sc_multicell": ("", _BRIEF, 0.65),
    "vystrcilova_2024_nm_cnn": ("", {**_TRIALS, **_NM_CNN}, 0.5),
    "vystrcilova_2024_nm_ln": ("", {**_LN, "train.epochs": 10}, 0.7),
    "vystrcilova_2024_wn_cnn": ("", {**_TRIALS, "data.simulated.frames_per_trial": 850, "train.epochs": 5}, 0.45),
    "vystrcilova_2024_wn_ln": ("", _LN, 0.65),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GATES)
def test_a_preset_reaches_its_share_of_the_noise_ceiling(
    name: str, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: None)
    words, settings, least = GATES[name]
    preset = f"{ROOT / 'configs' / name.partition('-')[0]}.py:{','.join(filter(None, ('simulated', 'quick', words)))}"
    config = changed(preset, {**settings, "train.picture_every": 0})
    data = config.data.to_dict()
    dataset = make_dataset(data, simulated)
    model = train(dataset, tmp_path / "run", config)
    evaluation = openretina_jax.evaluate(model, dataset, ["validation", "test"])
    reached = mean_correlations({split: evaluation.of_split(split) for split in evaluation.responses})
    ceiling = mean_correlations(noise_ceiling(data, dataset, list(evaluation.responses), model.lag, simulated))
    print(f"{name}: test {reached['test']:.3f} of {ceiling['test']:.3f}, {reached['test'] / ceiling['test']:.0%}")
    assert reached["test"] > least * ceiling["test"]
