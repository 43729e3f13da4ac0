# %% [markdown]
# # Most exciting stimuli
#
# What does a neuron want to see? On the retina one can only try stimuli that somebody thought of. A differentiable twin
# can be asked: start from noise, follow the gradient of the response, and keep the movie within the power and the range
# of the natural movies that the model was trained on. The result is the *most exciting input*, MEI (Walker et al. 2019;
# Höfling et al. 2024).

# %%
import numpy as np

import openretina_jax
from openretina_jax import insilico, plots

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
dataset = openretina_jax.load_dataset(config)
model = openretina_jax.train(dataset, "runs/twin", config, settings)
info = model.data_info
look = {"channels": info.channels, "pixel_size_um": info.pixel_size_um}

# %% [markdown]
# ## One optimisation for many neurons
#
# Neurons are chosen by words: here the four with the best validation correlation. All of them climb in one program,
# from two starts each; `progress` tells how far they are.

# %%
windows = insilico.natural_windows(dataset, model.lag + 10, count=200)
stimuli = insilico.most_exciting(model, "best:4", seeds=2, natural=windows, progress=openretina_jax.progress)
stimuli

# %%
table = stimuli.table().set_index("target")
table[["activation", "natural", "linear", "grey", "agreement", "steps"]].round(2)

# %% [markdown]
# How to read it. `activation` is the mean response in the last third of a second. `natural` is the best of 200 windows
# of the natural movie, given the same power: the optimised movie must beat it, or the optimisation failed. `linear` is
# the response to the gradient at grey: what a linear neuron would like best. `agreement` is the correlation between the
# two starts.

# %%
gain = table["activation"] / table["natural"]
print(
    f"the MEI drives a neuron {gain.median():.1f} times as strongly as the best natural window (median), and "
    f"{(table['activation'] / table['linear']).median():.2f} times as the linear stimulus; "
    f"agreement of starts {table['agreement'].min():.2f} or more"
)

# %% [markdown]
# ## Space, time, frequencies
#
# An MEI of a ganglion cell is nearly the product of an image and a time course. The picture says for each colour how
# much of the power this product holds.

# %%
plots.plot_composition(stimuli.best[0], info.frame_rate_hz, **look)

# %% [markdown]
# As a movie, from the first frame to the moment of the response:

# %%
plots.animate_stimulus(stimuli.best[0], info.frame_rate_hz, channels=info.channels)

# %% [markdown]
# ## The most suppressive stimulus, and the surround
#
# Turn the sign around, and the movie silences the neuron: for an ON cell, that is mostly darkness in its centre. The
# `contextual` stimulus keeps the MEI in the centre and looks for the *surround* that suppresses it most.

# %%
suppressive = insilico.most_suppressive(model, "best:4")
table = -suppressive.table().set_index("target")[["activation", "grey"]]  # an objective that rises as responses fall
table.rename(columns={"activation": "response"}).round(2)

# %%
correlations = [
    float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    for one, other in zip(stimuli.best, suppressive.best, strict=True)
]
print("correlation of most exciting and most suppressive stimuli:", np.round(correlations, 2))

# %%
surround = insilico.contextual(model, stimuli, "best:4", sign=-1)
table = surround.table().set_index("target")[["activation", "grey"]]
table = -table.rename(columns={"activation": "with surround", "grey": "centre alone"})
table.round(2)

# %%
plots.plot_composition(surround.best[0], info.frame_rate_hz, **look)

# %% [markdown]
# ## How much can the model be trusted?
#
# A stimulus that excites the *model* need not excite the *neuron*. Three safeguards: the range and the norm keep the
# movie near what the model was trained on; an ensemble (`openretina_jax.load([...])`) shows where models disagree; and
# the closed loop, which shows the movie to the retina, decides. Notebook 07 does it on the simulated retina.
#
# How does the answer depend on the power of the movie? Half the norm gives less response, and nearly the same movie:

# %%
constraint = insilico.Constraint.of(
    len(info.channels), norm=stimuli.norm[0] / 2, low=info.pixel_low, high=info.pixel_high
)
weaker = insilico.most_exciting(model, "best:4", constraint=constraint)
similar = [
    float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) for one, other in zip(stimuli.best, weaker.best, strict=True)
]
print(
    "activation",
    weaker.table()["activation"].to_numpy().round(2),
    "correlation with that of full norm",
    np.round(similar, 2),
)

# %% [markdown]
# ## Keep them
#
# `save` writes one HDF5 file with all arrays, norms and settings; nothing is pickled.

# %%
stimuli.save("runs/meis.h5")
