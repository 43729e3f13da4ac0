# %% [markdown]
# # Colour, context and vector fields
#
# A receptive field is one map; a nonlinear cell has another one at every stimulus. This notebook differentiates the
# twin where it is: at its favourite movie with the colours rescaled, and at natural images.

# %%
import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import insilico, plots
from openretina_jax.insilico import tuning

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
dataset = openretina_jax.load_dataset(config)
model = openretina_jax.train(dataset, "runs/twin", config, settings)
info = model.data_info

# %% [markdown]
# ## Colour of the whole field
#
# Mouse cones see green and UV, more UV in the ventral retina. Flash the whole field in one channel at a time.
# `colour_index` is -1 for a cell that answers to UV alone, and 1 for green.

# %%
found = tuning.colour(model)
table = pd.DataFrame(found.indices)
table["session"] = [name for name, count in info.sessions.items() for _ in range(count)]
table.groupby("session").mean().round(2)

# %% [markdown]
# ## Contrast of both colours
#
# Höfling et al. 2024 found cells that respond to *contrast of colours*: one colour on, the other off. Scale the two
# channels of a cell's favourite movie independently, from inverted (-1) to as it is (1). A cell that adds colours has
# straight, parallel lines of equal response. Arrows are the gradient: what to change for more response.

# %%
chosen = "best:3"
stimuli = insilico.most_exciting(model, chosen)
grid = insilico.contrast_grid(model, stimuli.best, chosen)
plots.plot_contrast_grid(grid, 0, channels=info.channels)

# %% [markdown]
# How far do the gradients turn within the plane, the large ones counting more? For a cell that adds colours their
# direction is the same everywhere.

# %%
directions = np.rad2deg(np.arctan2(grid.gradient[..., 1], grid.gradient[..., 0]))
weights = np.linalg.norm(grid.gradient, axis=-1)
mean = (weights[..., None] * np.stack([np.cos(np.deg2rad(directions)), np.sin(np.deg2rad(directions))], -1)).sum((1, 2))
straight = np.linalg.norm(mean, axis=-1) / weights.sum((1, 2))
for name, value in zip(grid.names, straight, strict=True):
    print(f"{name}: the gradients point the same way to {value:.0%}")

# %% [markdown]
# ## Context: what a surround does
#
# Keep the favourite movie where it has most of its power, and look for the surround that suppresses the response most,
# and for the one that enhances it most.

# %%
suppressing, enhancing = (insilico.contextual(model, stimuli, chosen, sign=sign) for sign in (-1, 1))
pd.DataFrame(
    {
        "suppressed": -suppressing.table()["activation"].to_numpy(),  # an objective that rises as the response falls
        "centre alone": enhancing.grey,
        "enhanced": enhancing.table()["activation"].to_numpy(),
    },
    index=stimuli.names,
).round(2)

# %% [markdown]
# ## Local receptive fields at natural images
#
# Goldin et al. 2022 perturbed natural images on the retina and found cells that are ON at one image and OFF at another.
# Show images after grey, and take the gradient of the response with respect to every image.

# %%
frames = dataset.stimuli["train"].normalized()
images = frames[np.linspace(0, len(frames) - 1, 300).astype(int)]
local = insilico.lsta(model, images, chosen)
signs = np.sign(local.gradients.sum(axis=(2, 3, 4)))
responsive = np.abs(local.gradients).sum(axis=(2, 3, 4)) > 1e-3
for name, sign, counts in zip(local.names, signs, responsive, strict=True):
    print(f"{name}: ON at {(sign[counts] > 0).mean():.0%} of {counts.sum()} images that it is sensitive to")

# %% [markdown]
# ## A vector field
#
# Two principal components of the gradients span a plane; every image is a point in it, every gradient an arrow. A
# linear cell has parallel arrows of one length. Arrows that turn or grow say where the cell computes something else.

# %%
field = insilico.vector_field(local, neuron=0, channel=1)
plots.plot_vector_field(field, bins=12)
