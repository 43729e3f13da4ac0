# %% [markdown]
# # Training on spikes
#
# Multi-electrode arrays record spikes: sharp in time, and of dozens of cells rather than hundreds. Two groups built
# models of marmoset ganglion cells that watch natural movies and white noise: Vystrčilová et al. 2024 compared LN
# models and convolutional networks, and Sridhar et al. 2025 found that *spatial contrast* within the receptive field
# explains much of what LN models miss. Here are all three on one retina, which is simulated in the published format at
# 85 Hz.

# %%
import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import plots

simulated = {
    "data.simulated.n_sessions": 1,
    "data.retinas": ("01",),
    "data.simulated.neurons_per_session": 8,
    "data.simulated.n_trials": 12,
}
dataset = openretina_jax.load_dataset("sridhar_2025_nm_sc_multicell:simulated,quick", simulated)
dataset

# %% [markdown]
# A trial is a piece of the movie; responses are spike counts per frame. Two cells of the simulated retina are
# unreliable, and are left out, as the publications leave out such cells.

# %%
session = dataset.sessions[0]
counts = np.nanmean(session.responses, axis=0) * dataset.info.frame_rate_hz
pd.Series(counts, name="spikes per second").round(1).to_frame().T

# %%
plots.plot_dataset(dataset)

# %% [markdown]
# ## LN: one filter per cell
#
# The linear-nonlinear model filters the movie with a kernel, an image times a time course, and passes the result
# through a softplus. Each cell is a row of the readout, so one compiled program fits all cells, and none knows of the
# others.
#
# The best epoch is the one of the lowest Poisson loss on validation clips. The correlation, which chooses elsewhere,
# does not care whether the predicted counts are of the right size.

# %%
quiet = {"train.picture_every": 0, "stopping.score": "loss"}
linear = openretina_jax.train(
    dataset, "runs/spikes_ln", "vystrcilova_2024_nm_ln:simulated,quick", quiet | {"train.epochs": 30}
)
linear

# %% [markdown]
# ## SC: the contrast within the receptive field
#
# The filter of a cell is measured once, from its spike-triggered average to white noise. Two numbers join what it
# computes: the mean light and the *standard deviation of light* under the receptive field. A cell whose bipolar cells
# rectify responds to fine patterns whose mean is grey; an LN model cannot see these. Four numbers per cell are trained.

# %%
contrast = openretina_jax.train(
    dataset,
    "runs/spikes_sc",
    "sridhar_2025_nm_sc_multicell:simulated,quick",
    quiet | {"train.epochs": 15, "optimizer.learning_rate": 0.05},
)
contrast

# %% [markdown]
# ## CNN: a shared core
#
# The convolutional network learns the subunits from all cells at once, here with one layer of 4 channels instead of
# three of 64.

# %%
sizes = {
    "model.core.simple.hidden_channels": (4,),
    "model.core.simple.temporal_kernel_sizes": (21,),
    "model.core.simple.spatial_kernel_sizes": (9,),
}
network = openretina_jax.train(
    dataset, "runs/spikes_cnn", "vystrcilova_2024_nm_cnn:simulated,quick", quiet | sizes | {"train.epochs": 8}
)
network

# %% [markdown]
# ## Which one predicts best?
#
# The test movie was repeated, so that we know what is possible: spikes are noisy.

# %%
models = {"LN": linear, "SC": contrast, "CNN": network}
evaluations = {name: openretina_jax.evaluate(model, dataset, name=name) for name, model in models.items()}
tables = {name: one.neurons for name, one in evaluations.items()}
scores = pd.DataFrame({name: table["correlation"] for name, table in tables.items()})
scores["possible"] = tables["LN"]["max_correlation"]
scores.round(2)

# %%
print(scores.mean().round(3).to_string())
better = (scores["SC"] > scores["LN"]).sum()
print(f"spatial contrast predicts {better} of {len(scores)} cells better than the LN model")

# %%
sc = evaluations["SC"]
plots.plot_traces(next(iter(sc.responses.values())), sc.neurons["correlation"].to_numpy(), dataset.info.frame_rate_hz)

# %% [markdown]
# A model with four trained numbers per cell needs few data; a network needs many, and gains where there are many cells
# and long recordings. So short a training says nothing about which model is right: leave out `quick` for a longer one,
# and `:simulated,quick` for the published recordings.
