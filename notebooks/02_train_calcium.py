# %% [markdown]
# # Training on calcium imaging
#
# Two-photon imaging records hundreds of ganglion cells at once, slowly: the calcium signal follows the spikes within a
# second. Höfling et al. 2024 deconvolved it into event rates at 30 Hz, which is what a model learns here. This notebook
# shows what a training run consists of, what to look at while it goes on, and how to compare two models fairly.

# %%
import pandas as pd

import openretina_jax
from openretina_jax import plots

config = "hoefling_low_res:simulated,quick"
dataset = openretina_jax.load_dataset(config)
dataset

# %% [markdown]
# ## Sessions that saw clips in different orders
#
# Every field of cells saw the same clips in another random order, and some eyes saw them mirrored. The movie is stored
# once; a session keeps, for every moment, the number of the frame on the screen.

# %%
dataset.sessions[0]

# %%
pd.DataFrame(
    {
        "neurons": session.n_neurons,
        "first clips": str((session.frame_index[:: dataset.clip_length][:6] // dataset.clip_length).tolist()),
        "eye": session.metadata.get("eye", "unknown"),
    }
    for session in dataset.sessions
)

# %% [markdown]
# ## A run
#
# A configuration says everything: data, model, loss, optimiser, schedule. Settings change entries of it by name; a
# misspelt one is an error before anything is computed. Validation clips choose the best epoch and lower the learning
# rate when their score no longer rises. Here only the number of epochs and the width of the core differ.

# %%
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
model = openretina_jax.train(dataset, "runs/twin", config, settings)
model

# %% [markdown]
# The folder holds the checkpoints of all epochs, tables and pictures. The loss falls on the training data by
# construction; what counts is the correlation on clips that were kept aside.

# %%
history = pd.read_csv("runs/twin/metrics.csv")
plots.plot_history(history)

# %%
print(
    f"validation correlation {history['validation/correlation'].iloc[0]:.3f} after the first epoch, "
    f"{history['validation/correlation'].max():.3f} at best"
)

# %% [markdown]
# ## Against a linear model
#
# Is the convolutional core needed? An LNP model has no shared core: each neuron has one linear filter in space and
# time, and a nonlinearity. It is a configuration of the same data (the word `separable_lnp`), so that nothing but the
# model differs.

# %%
linear = openretina_jax.train(dataset, "runs/lnp", f"{config},separable_lnp", {"train.epochs": 8})
linear

# %%
evaluations = {
    name: openretina_jax.evaluate(one, dataset, name=name) for name, one in (("core", model), ("LNP", linear))
}
for evaluation in evaluations.values():
    print(evaluation.name, evaluation)

# %% [markdown]
# Compare neuron by neuron, not mean by mean: both models see the same noise. Points above the line are neurons that the
# core predicts better.

# %%
plots.plot_pairs([(name, one.of_split("test")) for name, one in evaluations.items()])

# %%
scores = pd.DataFrame({name: one.of_split("test")["correlation"] for name, one in evaluations.items()})
gain = scores["core"] - scores["LNP"]
print(f"the core predicts {(gain > 0).mean():.0%} of {len(gain)} neurons better, by {gain.mean():.3f} on average")

# %% [markdown]
# `openretina_jax.evaluation.compare` resamples these differences over neurons and sessions; `scripts/evaluate.py` with
# two checkpoints does it for you. By cell type:

# %%
plots.plot_cell_types(evaluations["core"].summaries["test"].by_cell_type)
