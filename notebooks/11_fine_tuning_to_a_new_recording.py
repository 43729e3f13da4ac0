# %% [markdown]
# # Fine-tuning to a new recording
#
# A new recording is short: a retina lives for hours, and the time on one field is minutes. A core that many sessions
# have trained knows what ganglion cells compute; a new cell only has to say where it looks, and which features it
# takes. How many minutes does that save?
#
# We train on two sessions, keep the third as the new recording, and pretend that only its first ten clips were
# recorded.

# %%
import dataclasses

import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import plots

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 6}
dataset = openretina_jax.load_dataset(config)
*known, new = dataset.sessions
before = dataclasses.replace(dataset, sessions=tuple(known))
before

# %%
kept = set(dataset.kept_for_validation(new))
clips = new.frame_index[:: dataset.clip_length] // dataset.clip_length
recorded = [number for number, clip in enumerate(clips) if clip not in kept][:10]
responses = new.responses.copy()
for number, clip in enumerate(clips):
    if number not in recorded and clip not in kept:
        responses[number * dataset.clip_length : (number + 1) * dataset.clip_length] = np.nan
minutes = len(recorded) * dataset.clip_length / dataset.info.frame_rate_hz / 60
short = dataclasses.replace(dataset, sessions=(dataclasses.replace(new, responses=responses),))
print(f"{minutes:.1f} minutes of the new recording are left for training")
short

# %% [markdown]
# What was not recorded is NaN, and is left out. The validation clips stay, to choose the best epoch.
#
# ## The trained core

# %%
start = openretina_jax.train(before, "runs/two_sessions", config, settings)
start

# %% [markdown]
# ## Two ways to a model of the new cells
#
# From scratch; and with the trained core, where only the readout learns (`train.trainable`). `start_from` names the run
# of the core; the options of the model stay those of that run.

# %%
ways = {
    "from scratch": settings,
    "readout only": {"start_from": "runs/two_sessions", "train.trainable": ("readout",), "train.epochs": 4},
}
models = {
    name: openretina_jax.train(short, f"runs/{name.replace(' ', '_')}", config, way) for name, way in ways.items()
}

# %% [markdown]
# ## On the test movie
#
# All are scored on the new cells alone, with the same repeats.

# %%
evaluations = {name: openretina_jax.evaluate(model, short, name=name) for name, model in models.items()}
scores = pd.DataFrame({name: one.of_split("test")["correlation"] for name, one in evaluations.items()})
scores.describe().loc[["mean", "min", "max"]].round(3)

# %%
plots.plot_pairs([(name, evaluations[name].of_split("test")) for name in ("readout only", "from scratch")])

# %%
gain = scores["readout only"] - scores["from scratch"]
better = f"{(gain > 0).mean():.0%} of {len(gain)} new cells"
print(f"the trained core predicts {better} better, by {gain.mean():.2f} on average")

# %% [markdown]
# Cells at 0 on the horizontal axis are those about which the model from scratch learnt nothing in these epochs.
#
# How does the advantage depend on the length of the recording? Change the 10 above. Without `train.trainable`, the core
# learns too; with so few data, that is rarely worth it. A published model is a start as well: `{"start_from":
# "hoefling_2024_low_res"}`.
