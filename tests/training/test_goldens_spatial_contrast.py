"""Five steps of the reference's single-cell spatial contrast model, by our own trainer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.data.batches import Batch
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.cores.identity import IdentityCore
from openretina_jax.modules.losses import correlation, poisson, without_lag
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer
from tests import reference
from tests.goldens_case import case
from tests.module_goldens import channels_last

CASE = case("sta", "sc_cell_training")
NAMES = ("w", "nl_a", "nl_b", "nl_c")


def make_model() -> CoreReadout:
    """The model with the stored parameters and filters."""
    kwargs = {name: value for name, value in CASE.kwargs.items() if name != "learning_rate"}
    _, _, height, width = kwargs["in_shape"]
    frames = len(CASE.array("param/temporal_filter"))
    readout = reference.make_readout(
        CASE.entry["path"], kwargs, (1, height, width), 1, temporal_frames=frames, nonnegative="w"
    )
    centre = np.asarray([[height // 2, width // 2]])  # the patch is the whole image
    readout.set_filters(CASE.array("param/spatial_filter")[None], CASE.array("param/temporal_filter")[None], centre)
    for name in NAMES:
        getattr(readout, name[-1])[...] = jnp.asarray(CASE.array(f"param/{name}"))[None]
    info = reference.make_info({"cell": 1}, (height, width, 1))
    return CoreReadout(IdentityCore(1), readout, {}, info)


@pytest.mark.slow
def test_steps() -> None:
    model = make_model()
    x, targets = channels_last(CASE.array("input/x")), jnp.asarray(CASE.array("input/targets"))
    prediction = model(x)
    response = without_lag(targets, prediction.shape[1])
    size = prediction.size
    # its loss is a mean that is divided by the number of predictions once more
    CASE.check("validation/returned", poisson(prediction, response).mean(axis=(0, 1)) / size)
    CASE.check("log/val_correlation", correlation(prediction, response).mean())
    recipe = Recipe(ResponseObjective(Poisson(samples=1 / size)), AdamW(), CASE.kwargs["learning_rate"])
    trainer = Trainer(model, recipe)
    state = trainer.init()
    batch = Batch(
        stimulus=x[None],
        responses=targets[None],
        first_neuron=jnp.zeros(1, jnp.int32),
        neuron_mask=jnp.ones((1, 1), bool),
        own_order=jnp.ones((1, len(x), 1), bool),
        clip_time=jnp.zeros((1, *x.shape[:2]), jnp.int32),
        n_sessions=jnp.ones(1, jnp.int32),
        session=jnp.zeros(1, jnp.int32),
        neuron_session=jnp.zeros((1, 1), jnp.int32),
    )
    step = jax.jit(lambda state: trainer.step(state, batch))
    rows = []
    for _ in range(len(CASE.array("trajectory"))):
        state, metrics = step(state)
        a, b, c, w = (float(state.params["readout"][name][0]) for name in "abcw")
        # the reference clips after the step, ours before the next
        rows.append([float(metrics["loss"]) / size, a, b, c, max(w, 0.0)])
    CASE.check("trajectory", np.asarray(rows))
