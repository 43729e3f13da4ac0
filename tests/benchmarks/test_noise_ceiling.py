"""The score of a perfect model, beside what repeats alone say of it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.noise_ceiling import noise_ceiling
from openretina_jax.data.masked import correlation
from openretina_jax.errors import UserError
from openretina_jax.experiment.data import make_dataset
from tests.presets import small

LAG = 20
PRESETS = [
    "hdf5_core_readout.py",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("hoefling_low_res.py", "karamanlis_2024_core_readout.py", "maheswaranathan_2023_lnp.py")
    ),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("sridhar_2025_nm_sc_multicell.py",)),
    "goldin_2022_core_readout.py",
]


@pytest.mark.parametrize("preset", PRESETS)
def test_responses_without_noise_score_what_repeats_promise(preset: str, simulated: Path) -> None:
    config = small(preset)
    if config.data.source == "hdf5":
        config.data.simulated.trials = 1
    data = config.data.to_dict()
    dataset = make_dataset(data, simulated)
    lag = 0 if dataset.info.single_images else LAG
    test = dataset.test_names[0]
    table = noise_ceiling(data, dataset, ["validation", test], lag, simulated)[test]
    assert len(table) == dataset.n_neurons
    # what is left of a trial is noise of mean 0 that no other trial shares
    np.testing.assert_allclose(table["correlation"].mean(), table["max_correlation"].mean(), atol=0.06)
    assert (table["correlation"] > table["correlation_single_trials"]).all()
    truth = make_dataset({**data, "simulated": {**data["simulated"], "noise": 0}}, simulated)
    for session in truth.sessions:  # trials differ by what was shown before them, if at all
        trials = session.repeats[test]
        agreement = correlation(trials, np.broadcast_to(trials[:1], trials.shape), axis=1)
        assert np.nanmedian(agreement) > 0.95
    assert truth.info.input_shape == dataset.info.input_shape
    for name, stimulus in dataset.stimuli.items():
        np.testing.assert_array_equal(stimulus.frames[:5], truth.stimuli[name].frames[:5])


def test_recordings_that_were_not_simulated_have_none(simulated: Path) -> None:
    data = small("goldin_2022_core_readout.py").data.to_dict()
    dataset = make_dataset(data, simulated)
    with pytest.raises(UserError, match="known of simulated recordings alone"):
        noise_ceiling({"source": "goldin_2022"}, dataset, ["test"], 0, simulated)
