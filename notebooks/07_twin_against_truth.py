# %% [markdown]
# # The twin against the truth
#
# A model that predicts held-out responses may still be wrong about the cell: its receptive field, its preferred
# direction, its favourite movie. With recordings one can only go back to the retina. Here the retina is simulated, and
# its noise-free answers are known: every experiment runs on the twin *and* on the neurons behind the recordings.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import insilico
from openretina_jax.insilico import against_truth, controls, score
from openretina_jax.insilico.against_truth import Questions
from openretina_jax.insilico.constraints import of_training
from openretina_jax.visualize.style import BLACK, VERMILION, Figure, open_axes

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
dataset = openretina_jax.load_dataset(config)
model = openretina_jax.train(dataset, "runs/twin", config, settings)

# %% [markdown]
# The simulator wrote the truth beside the recordings. It opens as a model like any other, with its neurons in the order
# of the twin's.

# %%
folder = Path(dataset.source["responses"]["source"]).parent
truth = insilico.truth_model(folder, model.data_info, lag=model.lag)
truth

# %% [markdown]
# ## Predictions without noise
#
# The recorded mean over three repeats is noisy. Against the true responses the twin looks better than against the
# recorded ones, since their noise is not its fault.

# %%
movie = dataset.stimuli["test"].normalized()[None]
predicted, true = (np.asarray(one(movie)[0]) for one in (model, truth))
recorded = np.concatenate([session.repeats["test"].mean(axis=0) for session in dataset.sessions], axis=1)[model.lag :]


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation over time of every neuron."""
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, other.T, strict=True)])


against = pd.DataFrame(
    {
        "twin and recorded": correlations(predicted, recorded),
        "truth and recorded": correlations(true, recorded),
        "twin and truth": correlations(predicted, true),
    }
)
against.describe().loc[["mean", "min", "max"]].round(3)

# %%
neuron = int(against["twin and truth"].sub(against["twin and truth"].median()).abs().idxmin())
figure = Figure(figsize=(10, 2.8), layout="constrained")
axes = figure.subplots()
seconds = np.arange(300) / dataset.info.frame_rate_hz
axes.plot(seconds, recorded[:300, neuron], color="0.8", label="recorded, mean of 3 repeats")
axes.plot(seconds, true[:300, neuron], color=BLACK, label="truth")
axes.plot(seconds, predicted[:300, neuron], color=VERMILION, label="twin")
axes.set(xlabel="time (s)", ylabel="response", title=f"neuron {neuron}, the median one")
axes.legend(frameon=False, ncols=3, fontsize=8)
open_axes(axes)
figure

# %% [markdown]
# ## The same questions to both
#
# Gradients at natural windows, averages of noise, bars, spots, and most exciting stimuli. The *closed loop* shows the
# twin's favourite movies to the true neurons, and compares their answers with the best that they can give. A twin whose
# core was never trained must fail. A question that it passes as well tells nothing.

# %%
frames = model.lag + 10
questions = Questions(
    windows=insilico.natural_windows(dataset, model.lag + 1 + 30, 4, seed=1),
    natural=insilico.natural_windows(dataset, frames, 100),
    chosen=list(range(0, model.data_info.n_neurons, 12)),
    constraint=of_training(model.data_info, frames),
    seeds=2,
    ascent=insilico.Ascent(steps=20),
    sta_frames=2000,
)
truth = insilico.truth_model(folder, model.data_info)
answers = against_truth.answers(truth, truth, model.lag, questions)
models = {"trained": model, "untrained core": controls.untrained_core(model)}
columns = {name: against_truth.neuron_columns(one, truth, answers, questions) for name, one in models.items()}

# %%
metrics = {name: against_truth.metrics(one) for name, one in columns.items()}
table = score.table(metrics["trained"], {"untrained core": metrics["untrained core"]})
table = table.set_index("name")[["value", "low", "high", "neurons", "better", "untrained core"]]
table.round(2)

# %%
loops = {name: one["closed_loop"] for name, one in columns.items()}
print(
    f"the twin's favourite movies drive the true neurons to {np.nanmean(loops['trained']):.0%} of their best response "
    f"(mean of {np.isfinite(loops['trained']).sum()} neurons), those of the untrained one to "
    f"{np.nanmean(loops['untrained core']):.0%}"
)

# %% [markdown]
# ## What follows
#
# The table says which findings of a twin of this size, after so short a training, can be believed. Spatial maps,
# centres and polarities are close to the truth, since the training movies are full of such information. Directions of
# motion are not: `direction_auc` is the chance that a direction-selective neuron is told from another one, and 0.5 is
# guessing. It takes a wider core and a longer training. `openretina-jax insilico score` asks the same with more neurons
# and seeds, and writes a page.
