# %% [markdown]
# # First look
#
# A retina turns light into the spikes of ganglion cells. This notebook takes recordings of such cells, trains a
# *digital twin* of them, and asks two questions: how well could any model predict a cell, and which movie would the
# cell like best?
#
# The recordings are simulated, so that nothing is downloaded, and so that the truth is known. They are stored as those
# of Höfling et al. 2024: natural movies in green and UV light, 18 x 16 pixels at 30 frames per second. Replace the name
# below by `"hoefling_low_res"`, and the notebook works with the published recordings.

# %%
import openretina_jax
from openretina_jax import plots

dataset = openretina_jax.load_dataset("hoefling_low_res:simulated,quick")
dataset

# %% [markdown]
# ## The data
#
# Look before you train. Above are frames of the movie, below the responses of a session's neurons in the first minute,
# and at the bottom how reliable they are. A neuron that does not answer two showings of a movie alike cannot be
# predicted by any model.

# %%
plots.plot_dataset(dataset)

# %% [markdown]
# `check` lists movies and sessions, and says what is wrong with them.

# %%
problems = openretina_jax.check(dataset)

# %% [markdown]
# ## The twin
#
# All sessions share a *core*: two layers of space-time filters, as bipolar and amacrine cells would be. Every neuron
# has its own *readout*: a place in the visual field, and a weight for each feature of the core. So neurons of all
# sessions teach the core together, and a neuron itself needs few data.
#
# This model is half as wide as the usual one and trained for 8 epochs instead of 100. A run lies in a folder: the same
# call again goes on from there, or returns at once if it has ended.

# %%
config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
model = openretina_jax.train(dataset, "runs/twin", config, settings)
model

# %% [markdown]
# `summary` shows what it is made of, and what a predicted frame costs.

# %%
openretina_jax.summary(model)

# %% [markdown]
# ## How good is it?
#
# The test movie was not used in training, and was shown several times. The correlation compares the prediction with the
# mean over these repeats. FEVe is the share of the variance explained *that can be explained*: what differs from repeat
# to repeat is noise, and is left out.

# %%
evaluation = openretina_jax.evaluate(model, dataset)
evaluation

# %%
rate = dataset.info.frame_rate_hz
table = evaluation.of_split("test")
plots.plot_traces(evaluation.responses["test"], table["correlation"].to_numpy(), rate)

# %% [markdown]
# Some neurons are predicted worse than others. Is that the model's fault? The noise ceiling says so: points on the line
# are predicted as well as the reliability of the neuron allows.

# %%
plots.plot_reliability(table)

# %%
print(
    f"best neuron {table['correlation'].max():.2f}, median {table['correlation'].median():.2f}, "
    f"median of what is possible {table['max_correlation'].median():.2f}"
)

# %% [markdown]
# ## What did it learn?
#
# The filters of the first layer look for light of one colour, at a place, at a time. Temporal kernels end at 0, the
# frame of the response. Below are the best neurons: where each looks, and which features it takes.

# %%
best = openretina_jax.insilico.neurons(model, "best:4")
figures = plots.weight_figures(model, best.rows[:, 0].tolist())
figures["filters_layer_0"]

# %%
figures["neurons"]

# %% [markdown]
# ## What would a cell like to see?
#
# The twin is differentiable, so a movie can climb its response: the *most exciting input*, within the power and range
# of natural movies. `linear` is the response to the movie that a linear neuron would like best; the more the optimised
# movie (`activation`) exceeds it, the more nonlinear the cell. `agreement` is the correlation of the movies from
# different starts: near 1, there is one best movie.

# %%
stimuli = openretina_jax.insilico.most_exciting(model, "best:2", seeds=2)
stimuli.table().round(3)

# %%
info = model.data_info
plots.plot_composition(stimuli.best[0], rate, channels=info.channels, pixel_size_um=info.pixel_size_um)

# %% [markdown]
# The other notebooks take these steps one by one: training (02), your own recordings (03), stimuli (05), tuning (06),
# and whether any of it is true (07).
