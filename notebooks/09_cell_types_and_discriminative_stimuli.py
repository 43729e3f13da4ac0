# %% [markdown]
# # Cell types and discriminative stimuli
#
# Mice have more than 40 types of ganglion cells. To tell them apart, one shows many stimuli and clusters the responses.
# Burg et al. 2024 turned this around: for every type, look for *the* stimulus that excites this type and no other.
# Shown in an experiment, a few of them name a cell within seconds.

# %%
import collections

import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import insilico, plots
from openretina_jax.insilico.score import mean_responses
from openretina_jax.visualize.style import Figure, colour_bar

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
dataset = openretina_jax.load_dataset(config)
model = openretina_jax.train(dataset, "runs/twin", config, settings)
info = model.data_info

# %% [markdown]
# ## The types
#
# Types come with the recordings (or from your own clustering). We take the four with most cells.

# %%
names = np.array(info.neuron_column("cell_type_name"))
groups = {
    name: np.flatnonzero(names == name).tolist() for name, _ in collections.Counter(names.tolist()).most_common(4)
}
pd.Series({name: len(rows) for name, rows in groups.items()}, name="cells")

# %% [markdown]
# ## A stimulus for every type
#
# The objective is a softmax over types: it rises when the wanted type responds, and falls when any other does.
# Responses are divided by the mean response of each cell, so that no loud cell decides.

# %%
stimuli = insilico.most_discriminative(model, groups, seeds=2)
stimuli.table().set_index("target")[["activation", "grey", "linear", "agreement"]].round(2)

# %%
plots.plot_composition(stimuli.best[0], info.frame_rate_hz, channels=info.channels, pixel_size_um=info.pixel_size_um)

# %% [markdown]
# ## Does it work?
#
# Show every stimulus to every cell of the four types. Rows are the types of the cells, columns the stimuli; numbers are
# mean responses in units of the cells' mean response. On the diagonal, a type sees its own stimulus.

# %%
rows = [row for members in groups.values() for row in members]
activity = insilico.experiments.mean_activity(model)[rows]
targets = insilico.neurons(model, rows)
responses = np.stack(
    [mean_responses(model, np.repeat(movie[None], len(rows), axis=0), targets) / activity for movie in stimuli.best],
    axis=1,
)
table = pd.DataFrame(responses, columns=list(groups)).groupby(names[rows], sort=False).mean()
table.round(2)

# %%
figure = Figure(figsize=(6, 4.4), layout="constrained")
axes = figure.subplots()
image = axes.imshow(table, cmap="viridis", vmin=0)
axes.set_xticks(range(len(groups)), groups, rotation=20, ha="right", fontsize=8)
axes.set_yticks(range(len(groups)), groups, fontsize=8)
axes.set(xlabel="stimulus for", ylabel="cells of type")
colour_bar(image, axes, "response / mean response", fraction=0.05)
figure

# %% [markdown]
# Classify every cell by the stimulus to which it responds most:

# %%
found = np.array(list(groups))[responses.argmax(axis=1)]
right = (found == names[rows]).mean()
largest = max(map(len, groups.values())) / len(rows)
print(f"{right:.0%} of {len(rows)} cells are named right by four stimuli; one name for all gives {largest:.0%}")

# %% [markdown]
# These cells helped to find the stimuli. A fair test takes other cells: leave half of them out.

# %%
train_half = {name: members[::2] for name, members in groups.items()}
held_out = [row for members in groups.values() for row in members[1::2]]
of_half = insilico.most_discriminative(model, train_half)
activity = insilico.experiments.mean_activity(model)[held_out]
targets = insilico.neurons(model, held_out)
responses = np.stack(
    [
        mean_responses(model, np.repeat(movie[None], len(held_out), axis=0), targets) / activity
        for movie in of_half.best
    ],
    axis=1,
)
right = (np.array(list(groups))[responses.argmax(axis=1)] == names[held_out]).mean()
print(f"{right:.0%} of {len(held_out)} cells that had no part in it are named right")

# %% [markdown]
# ## Types without names
#
# `cluster_by_stimuli` needs no types: it draws clusters, finds their stimuli, moves every cell to the cluster whose
# stimulus it likes most, and starts again, until no cell moves.

# %%
clustering = insilico.cluster_by_stimuli(model, rows, count=4, iterations=3, ascent=insilico.Ascent(steps=20))
pd.crosstab(pd.Series(names[rows], name="type"), pd.Series(clustering.cluster, name="cluster"))

# %%
print("cells that moved in each turn:", list(clustering.moved))
