# %% [markdown]
# # Receptive fields and tuning
#
# The classical questions of a vision scientist: where does a cell look, what does it average over time, which direction
# of motion does it prefer? On the twin they take seconds for all cells at once, with as much noise or as many bars as
# one likes. Nothing here fits a curve: every number is defined on the responses themselves.

# %%
import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import insilico, plots
from openretina_jax.insilico import tuning
from openretina_jax.visualize.style import BLACK, Figure, channel_styles, colour_bar, draw_weights, open_axes, time_axis

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
dataset = openretina_jax.load_dataset(config)
model = openretina_jax.train(dataset, "runs/twin", config, settings)
info = model.data_info

# %% [markdown]
# ## Spike-triggered averages
#
# Show noise, and average what came before the responses. `noise_sta` does so for all neurons in one pass; `described`
# splits every average into an image times a time course, and measures these.

# %%
averages = insilico.noise_sta(model, frames=20_000)
fields = insilico.described(model, averages)
table = fields.table()
table.head(8).round(2)

# %% [markdown]
# Six neurons, the best predicted first: images above, time courses of the two colours below. Time 0 is the response.

# %%
scores = np.array(info.neuron_column("validation_correlation"))
best = np.argsort(-scores)[:6]
figure = Figure(figsize=(11, 4), layout="constrained")
rows = figure.subplots(2, 6, height_ratios=(1.4, 1))
time, unit = time_axis(averages.shape[1], info.frame_rate_hz)
for neuron, (above, below) in zip(best, rows.T, strict=True):
    image = draw_weights(above, fields.spatial[neuron], 1.0)
    above.set(xticks=[], yticks=[])
    above.set_title(f"neuron {neuron}\n{'ON' if fields.polarity[neuron] > 0 else 'OFF'}", fontsize=9)
    for course, (name, colour) in zip(fields.temporal[neuron].T, channel_styles(2, info.channels), strict=True):
        below.plot(time, course, color=colour, label=name)
    below.axhline(0, color=BLACK, linewidth=0.5)
    below.set_xlabel(unit)
    open_axes(below)
rows[1, 0].set_ylabel("time course")
rows[1, 0].legend(frameon=False, fontsize=8)
colour_bar(image, list(rows[0]), "relative to the peak")
figure

# %% [markdown]
# Noise is one probe; nature is another. The mean gradient over natural windows says what a neuron is sensitive to
# *while it sees a natural movie*. For a linear neuron both are the same. How similar are the maps?

# %%
windows = insilico.natural_windows(dataset, model.lag + 1, count=64)
natural = insilico.described(model, insilico.mean_gradient(model, windows))
cosine = (fields.spatial * natural.spatial).sum(axis=(1, 2)) / (
    np.linalg.norm(fields.spatial, axis=(1, 2)) * np.linalg.norm(natural.spatial, axis=(1, 2))
)
agree = (fields.polarity == natural.polarity).mean()
print(f"cosine of the maps {np.median(cosine):.2f} (median), ON or OFF alike in {agree:.0%} of {len(cosine)} neurons")

# %% [markdown]
# ## Tuning curves
#
# `tunings` shows bars, gratings, flashes, a chirp and more, each after grey, and returns the responses less that to
# grey. Spots need to lie on the receptive field, so they take the centres that we just measured.

# %%
experiments = ["direction", "orientation", "temporal_frequency", "contrast", "colour", "area"]
found = tuning.tunings(model, centres_px=fields.centre_px, experiments=experiments)
indices = tuning.table(model, found)
indices.describe().loc[["mean", "min", "max"]].T.round(2)

# %% [markdown]
# One neuron in detail: the one that is most selective for direction.

# %%
most = int(np.argmax(found["direction"].indices["selectivity"]))
plots.plot_tuning(found, most, channels=info.channels)

# %% [markdown]
# A neuron counts as directional only if its selectivity is high *and* unlikely under shuffled directions (`p`).

# %%
direction = found["direction"].indices
directional = (direction["selectivity"] > 0.3) & (direction["p"] < 0.05)
print(f"{directional.sum()} of {len(directional)} neurons are selective for direction")

# %% [markdown]
# Direction selectivity is among the last things that a twin learns. This one was trained for a few epochs only;
# notebook 07 compares such findings with the truth.

# %% [markdown]
# ## Populations
#
# By type of cell: medians, with quartiles as bands. The types are those of the recordings' metadata.

# %%
types = info.neuron_column("cell_type_name") or info.neuron_column("cell_type")
plots.plot_population(found, [str(one) for one in types], channels=info.channels)

# %% [markdown]
# All indices in one table, ready for statistics or a file.

# %%
summary = pd.concat([table[["neuron", "polarity", "colour", "peak_s"]], indices.filter(like="_selectivity")], axis=1)
summary["type"] = types
summary.groupby("type").mean(numeric_only=True).round(2)
