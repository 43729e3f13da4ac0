"""Cores and readouts of every kind can be adapted."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.training.adaptation import fit
from openretina_jax.training.adaptation.adapt import adapt_model
from tests import tiny

KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "gru": {
        "core": {
            "kind": "gru",
            "hidden_channels": (4,),
            "temporal_kernel_sizes": (5,),
            "spatial_kernel_sizes": (5,),
            "recurrent_channels": 3,
        },
        "readout": tiny.MODEL["readout"],
    },
    "separable_lnp": {
        "core": {"kind": "identity"},
        "readout": {"kind": "separable_lnp", "temporal_frames": 4, "spatial_size": (10, 10)},
    },
    "speeds": {"core": tiny.MODEL["core"] | {"adapt_speed": True}, "readout": tiny.MODEL["readout"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_better_than_before(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "PASSES", 20)
    info = tiny.dataset().info
    before = dataclasses.replace(info, sessions={"old": 2}, mean_activity={"old": [0.5] * 2}, neurons={})
    trained = make_core_readout(KINDS[kind], before)
    model, fitted = adapt_model(trained, tiny.dataset())
    assert fitted.scores.shape == (info.n_neurons,)
    assert np.isfinite(fitted.scores).all()
    assert fitted.scores.mean() > 0.15
    movie = jnp.asarray(tiny.dataset().stimuli["test"].frames[None])
    assert jnp.isfinite(tiny.predict(model, movie, session="left")).all()


def test_a_core_with_fewer_maps_than_frames() -> None:
    core = tiny.MODEL["core"] | {"downsample_input": (2, 1, 1)}
    info = dataclasses.replace(tiny.dataset().info, sessions={"old": 2}, mean_activity={"old": [0.5] * 2}, neurons={})
    model = make_core_readout(tiny.MODEL | {"core": core}, info)
    with pytest.raises(UserError, match="fewer predictions than the stimulus has frames"):
        adapt_model(model, tiny.dataset())
