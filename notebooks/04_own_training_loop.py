# %% [markdown]
# # A training loop of your own
#
# `openretina_jax.train` does what most people need. If you study *training* itself, you want the loop in your hands: a
# loss that nobody has, two models at once, a curriculum. The parts of the loop are pure functions, so that you can jit,
# vmap or scan them.

# %%
import jax
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

import openretina_jax
from openretina_jax.data import batches_of
from openretina_jax.models.build import make_model
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer
from openretina_jax.visualize.style import VERMILION, Figure, open_axes

dataset = openretina_jax.load_dataset("hoefling_low_res:simulated,quick")
dataset

# %% [markdown]
# ## Model, trainer, batches
#
# A model is built from plain options; those that are not given have the defaults of its classes. A `Recipe` says how a
# step is taken: what it lowers, by which optimiser. A `Trainer` turns both into pure functions.

# %%
options = {
    "core": {
        "kind": "simple",
        "hidden_channels": (8,),
        "temporal_kernel_sizes": (21,),
        "spatial_kernel_sizes": (9,),
        "gamma_temporal": 40.0,
    },
    "readout": {"kind": "gaussian_mask", "mean_scale": 6.0, "var_scale": 4.0, "positive": True, "scale": True},
}
model = make_model(options, dataset.info)
trainer = Trainer(model, Recipe(ResponseObjective(Poisson()), AdamW(), learning_rate=0.01))
model

# %% [markdown]
# `batches_of` cuts the training movie into windows and gathers frames and responses on the device. All neurons whose
# sessions saw the same clips share a batch; the first frames of a window are history, and have no prediction.

# %%
batch = next(iter(batches_of(dataset, window_frames=50, windows_per_step=32, epochs=1)))
batch.stimulus.shape, batch.responses.shape

# %% [markdown]
# ## The loop
#
# Ten lines, with whatever you want to keep of every step.

# %%
state, step = trainer.init(), jax.jit(trainer.step)
rows = []
for batch in batches_of(dataset, window_frames=50, windows_per_step=32, epochs=10):
    state, metrics = step(state, batch)
    rows.append({name: float(metrics[name]) for name in ("loss", "correlation")})
history = pd.DataFrame(rows)
model = trainer.model(state)
history.describe().round(3)

# %%
figure = Figure(figsize=(8, 2.6), layout="constrained")
for axes, name in zip(figure.subplots(1, 2), history, strict=True):
    axes.plot(history[name], color="0.8", linewidth=0.8)
    axes.plot(history[name].rolling(12, min_periods=1).mean(), color=VERMILION, label="mean over 12 steps")
    axes.set(xlabel="step", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_axes(axes)
axes.legend(frameon=False)
figure

# %%
openretina_jax.evaluate(model, dataset)

# %% [markdown]
# ## A loss of your own
#
# Suppose that you want moments of strong firing to count more. A loss gives a value for every frame and neuron; masks,
# penalties and the balance between sessions stay as they are. Its fields are options, with their defaults.

# %%
from openretina_jax.modules import losses
from openretina_jax.training.hyperparameters import hyperparameters
from openretina_jax.training.objective import FrameLoss


@hyperparameters
class WeightedPoisson(FrameLoss):
    """Poisson loss in which a frame counts the more, the larger the response."""

    extra: float = 1.0

    def value(self, prediction, response):
        """Loss of every frame."""
        return (1 + self.extra * response) * losses.poisson(prediction, response)


# %%
def fitted(loss: FrameLoss, epochs: int = 10):
    """Model after some epochs from the same start."""
    trainer = Trainer(make_model(options, dataset.info), Recipe(ResponseObjective(loss), AdamW(), learning_rate=0.01))
    state, step = trainer.init(), jax.jit(trainer.step)
    for batch in batches_of(dataset, window_frames=50, windows_per_step=32, epochs=epochs):
        state, _ = step(state, batch)
    return trainer.model(state)


evaluations = {
    "Poisson": openretina_jax.evaluate(model, dataset),
    "weighted": openretina_jax.evaluate(fitted(WeightedPoisson()), dataset),
}
pd.DataFrame({name: one.neurons[["correlation", "poisson_loss", "mse"]].mean() for name, one in evaluations.items()})

# %% [markdown]
# The weighted loss asks for larger responses than the neurons give on average: see its squared error. A score that
# neither was trained on, such as the correlation, is the fair one to compare by.
#
# ## Many models at once
#
# Since a step is pure, several trainings run as one program: `vmap` over the states, with one batch for all. Here three
# models differ in their first parameters alone. (`config.population` does this for whole runs.)

# %%
starts = [trainer.init(make_model(options, dataset.info, seed)) for seed in range(3)]
states = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *starts)
steps = jax.jit(jax.vmap(trainer.step, in_axes=(0, None)))
for batch in batches_of(dataset, window_frames=50, windows_per_step=32, epochs=2):
    states, metrics = steps(states, batch)
print("correlation in the last step:", np.asarray(metrics["correlation"]).round(3))

# %% [markdown]
# ## Evaluation, checkpoints, early stopping
#
# When you want these too, `openretina_jax.fit(trainer, data, checkpoints, epochs=...)` is the loop that `train` uses:
# it saves the whole state after every epoch and resumes to the bit. `docs/extending.md` has the parts that you can
# replace.
