# %% [markdown]
# # A closed loop in three minutes
#
# A retina lives for hours, and an experiment that asks *this* cell for its favourite movie must find it while the cell
# is still under the electrode. The loop: record some minutes, make a model of the cells, optimise stimuli in it, and
# show them to the retina (Walker et al. 2019; Höfling et al. 2024). Training a model takes too long for that. A core
# that other retinas have trained needs only new readouts, which takes seconds.
#
# Here the retina is simulated, so that the loop can be closed on any computer.
#
# ## The day before: a core
#
# Two retinas train a small model, as in notebook 11.

# %%
import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import insilico
from openretina_jax.data.dataset import Session
from openretina_jax.visualize.style import BLACK, BLUE, GREEN, VERMILION, Figure, open_axes

config = "hoefling_low_res:simulated,quick"
settings = {"model.core.simple.hidden_channels": (8, 8), "train.epochs": 8}
dataset = openretina_jax.load_dataset(config)
new, *known = dataset.sessions
before = dataclasses.replace(dataset, sessions=tuple(known))
core = openretina_jax.train(before, "runs/two_retinas", config, settings)
core

# %% [markdown]
# ## Record five minutes
#
# The third retina is the one on the table today. `retina` answers to any movie without noise; what is recorded of it is
# noisy. It sees 60 clips of five seconds: a natural movie of five minutes.

# %%
folder = Path(dataset.source["responses"]["source"]).parent
of_new = dataclasses.replace(dataset, sessions=(new,)).info
retina = insilico.truth_model(folder, of_new)
rng = np.random.default_rng(0)


def record(movie: np.ndarray) -> np.ndarray:
    """Responses (time, neuron) of the retina to a normalised movie, with noise."""
    rates = np.asarray(retina(movie[None])[0])
    return np.maximum(rates + 0.5 * rates.std(axis=0) * rng.standard_normal(rates.shape), 0).astype(np.float32)


began = time.perf_counter()
length, rate = dataset.clip_length, dataset.info.frame_rate_hz
(validation,) = dataset.validation_clips.values()
clips = np.r_[[clip for clip in range(100) if clip not in validation][:52], validation[:8]]
shown = (clips[:, None] * length + np.arange(length)).ravel().astype(np.int32)
movie = dataset.stimuli[new.stimulus].normalized(shown)
responses = record(movie)
print(f"{len(shown) / rate / 60:.0f} minutes of {responses.shape[1]} cells")

# %%
session = Session("today", new.stimulus, responses, shown, repeats={})
today = dataclasses.replace(
    dataset, sessions=(session,), validation_clips={new.stimulus: tuple(int(clip) for clip in validation[:8])}
)
today

# %% [markdown]
# ## Adapt
#
# The feature maps of the trained core are computed once, and all readouts are fitted together. `keep_sessions=False`
# leaves out the cells of the day before.

# %%
model = openretina_jax.adapt(core, today, keep_sessions=False)

# %% [markdown]
# ## Ask for the favourite movies of twenty cells

# %%
stimuli = insilico.most_exciting(model, "best:20", progress=openretina_jax.progress)
rows = [int(name.rpartition(":")[2]) for name in stimuli.names]
window = stimuli.config["window"]
stimuli

# %% [markdown]
# ## Show them to the retina
#
# Each cell is asked with three movies: its own favourite, the favourites of the 19 others, and the moment of the five
# minutes to which its *recorded* response was strongest. The last one is what an experiment without a model has. Such
# moments have a high contrast on the whole screen, while a favourite has a fifth of the norm of the movie, most of it
# where the cell looks: the retina sees the moment as it was, and with the norm of the favourite.


# %%
def shown_to_retina(movies: np.ndarray) -> np.ndarray:
    """Mean true response (movie, cell) of the twenty cells in the last frames, for which stimuli were optimised."""
    return np.asarray(retina(movies))[:, -window:, rows].mean(axis=1)


frames = stimuli.best.shape[1]
smooth = np.stack([responses[end - window : end, rows].mean(axis=0) for end in range(frames, len(movie) + 1)])
ends = frames + smooth.argmax(axis=0)
recorded = np.stack([movie[end - frames : end] for end in ends])
power = [np.linalg.norm(movies.reshape(len(movies), -1), axis=1) for movies in (stimuli.best, recorded)]
louder = power[1] / power[0]
answers = shown_to_retina(stimuli.best)
table = pd.DataFrame(
    {
        "own favourite": np.diag(answers),
        "best recorded clip": np.diag(shown_to_retina(recorded)),
        "the same, of equal norm": np.diag(shown_to_retina(recorded / louder[:, None, None, None, None])),
        "favourites of others": (answers.sum(axis=0) - np.diag(answers)) / (len(rows) - 1),
        "grey": shown_to_retina(np.zeros_like(stimuli.best[:1]))[0],
    },
    index=pd.Index(rows, name="cell"),
)
table.describe().loc[["mean", "min", "max"]].round(2)

# %%
figure = Figure(figsize=(10, 4), layout="constrained")
one, other = figure.subplots(1, 2, width_ratios=(1, 1.3))
scaled = answers / answers.max(axis=0)
image = one.imshow(scaled, cmap="magma", vmin=0, vmax=1)
one.set(xlabel="cell", ylabel="favourite movie of cell", title="true responses, largest of each cell = 1")
one.set(xticks=range(0, len(rows), 5), yticks=range(0, len(rows), 5))
figure.colorbar(image, ax=one, fraction=0.046)
for column, colour in zip(table.columns[1:], (GREEN, BLUE, BLACK, "0.7"), strict=True):
    other.plot(table["own favourite"], table[column], "o", color=colour, label=column)
top = float(table.max().max()) * 1.05
other.plot([0, top], [0, top], color=VERMILION, linewidth=1)
other.set(xlabel="true response to the own favourite", ylabel="true response to the other movie")
other.legend(frameon=False)
open_axes(other)
figure

# %%
own = table["own favourite"]
for column in table.columns[1:4]:
    gain = own / table[column]
    print(
        f"own favourite against {column}: {gain.median():.1f} times (median), more in {(gain > 1).sum()} of {len(own)}"
    )
print(f"norm of the best recorded clip: {np.median(louder):.1f} times that of the favourite (median)")

# %% [markdown]
# Points below the red line: the cell prefers its own favourite. The rows of the picture are movies; one that drives
# several cells says that they are of one type, or look at one place.
#
# ## Predict while recording
#
# `stream` predicts frame by frame, as the frames appear on the screen: each step takes one frame and gives the response
# to it. So an experiment can act on what the model expects now.

# %%
test = dataset.stimuli["test"].normalized(np.arange(300))
heard = record(test)
stream = model.stream("today")
state, predicted, steps = stream.init(), [], []
for frame in test:
    start = time.perf_counter()
    response, state = stream.step(state, frame)
    predicted.append(np.asarray(response))
    steps.append(time.perf_counter() - start)
predicted = np.stack(predicted)
print(f"{1e3 * np.median(steps):.1f} ms for a frame, which is on the screen for {1e3 / rate:.0f} ms")

# %%
figure = Figure(figsize=(10, 4), layout="constrained")
seconds = np.arange(len(test)) / rate
for axes, cell in zip(figure.subplots(3, 1, sharex=True), rows[:3], strict=True):
    axes.plot(seconds, heard[:, cell], color="0.7", label="recorded")
    axes.plot(seconds, predicted[:, cell], color=VERMILION, label="predicted, frame by frame")
    axes.set_ylabel(f"cell {cell}")
    open_axes(axes)
axes.set_xlabel("time (s)")
figure.axes[0].legend(frameon=False, ncols=2)
figure

# %%
took = time.perf_counter() - began
print(f"from the first frame of the recording to here: {took:.0f} s of computing, the retina's five minutes aside")

# %% [markdown]
# ## With a real retina
#
# Replace `record` by the projector and the array. `openretina_jax.from_arrays` makes the data set, with `normalization`
# set to what the core was trained with; `adapt` refuses a movie of another frame rate, size or contrast. `Stimuli.save`
# writes the movies for the projector. `docs/adapting.md` says how many minutes of recording are enough.
