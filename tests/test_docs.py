"""Examples in the documentation run."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.models.parameters import summary
from openretina_jax.models.saved import load_model, save_model
from openretina_jax.training.objective import Objective
from openretina_jax.training.optimizers import adamw
from openretina_jax.training.step import Recipe, Trainer
from tests import tiny

DOCS = Path(__file__).parents[1] / "docs"


def test_a_core_of_ones_own(tmp_path: Path) -> None:
    """The core of docs/architecture.md is built by kind, trained, saved and loaded without an edit elsewhere."""
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "architecture.md").read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 30
    exec(compile(example, "architecture.md", "exec"), {})
    options = {"core": {"kind": "difference", "features": 4, "gamma": 0.1}, "readout": tiny.MODEL["readout"]}
    model = make_model(options, tiny.dataset().info)
    assert (model.lag, model.receptive_field().frames, model.is_causal()) == (5, 6, True)
    assert summary(model)["parameters"]["core.mix"] == 8
    trainer = Trainer(model, Recipe(Objective(samples=100.0), adamw(), learning_rate=0.01))
    data, table, windows = tiny.session_windows(frames=16, windows_per_step=4)
    state, metrics = trainer.epoch(16)(
        trainer.start(model), data, table, windows.timeline[:2], windows.start[:2], jnp.asarray(0)
    )
    assert float(metrics["penalty_core"]) > 0
    assert (state.params["core"]["mix"][...] != model.core.mix[...]).any()
    save_model(model, tmp_path / "model")
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(12)).astype(np.float32)
    found, expected = (tiny.predict(one, movie) for one in (load_model(tmp_path / "model"), model))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match='has no option "feature"; did you mean "features"'):
        make_model(options | {"core": {"kind": "difference", "feature": 4}}, tiny.dataset().info)
