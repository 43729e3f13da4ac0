# %% [markdown]
# # Your own data
#
# You need a movie and one number per neuron and frame. Nothing else: no files, no configuration. Here the arrays come
# from five model neurons that look at noise, so that we know what a good fit is: 3,000 frames of 12 x 12 pixels at 30
# Hz, and a test movie with 8 repeats.

# %%
import numpy as np

rng = np.random.default_rng(0)


def rates(movie: np.ndarray) -> np.ndarray:
    """Spikes per frame of five neurons, ON and OFF in turn: a Gaussian in space, a biphasic kernel in time."""
    rows, columns = np.mgrid[:12, :12]
    frames = np.arange(15)
    kernel = np.exp(-frames / 4) * np.sin(frames / 2.5)
    found = []
    for sign, (row, column) in zip((1, -1, 1, -1, 1), ((3, 3), (6, 6), (8, 4), (5, 9), (9, 9)), strict=True):
        centre = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 1.5**2))
        light = (movie * centre / np.linalg.norm(centre)).sum(axis=(1, 2))
        drive = np.convolve(light, kernel / np.linalg.norm(kernel))[: len(movie)]
        found.append(np.exp(0.8 * sign * drive - 1))
    return np.stack(found, axis=1)


movie, test_movie = (rng.normal(size=(frames, 12, 12)).astype(np.float32) for frames in (3000, 300))
responses = rng.poisson(rates(movie)).astype(np.float32)  # (time, neuron)
repeats = rng.poisson(np.stack([rates(test_movie)] * 8)).astype(np.float32)  # (trial, time, neuron)

# %% [markdown]
# ## Trained, scored and plotted in ten lines
#
# Axes are named, never guessed: swapping two of them is an error, not a bad fit. Without a configuration, the sizes of
# the model follow from your frames, your frame rate and the length of your clips.

# %%
import openretina_jax
from openretina_jax import ArrayRecording, ArrayTest, plots

test = ArrayTest(test_movie, repeats, axes="trial time neuron")
recording = ArrayRecording(movie, responses, tests={"noise": test}, response_axes="time neuron")
dataset = openretina_jax.from_arrays({"my_retina": recording}, frame_rate_hz=30.0)
model = openretina_jax.train(dataset, "runs/my_retina")
evaluation = openretina_jax.evaluate(model, dataset)
plots.plot_traces(evaluation.responses["noise"], evaluation.neurons["correlation"].to_numpy(), 30.0)

# %% [markdown]
# ## Is that good?
#
# Ask what is possible. Spikes are noisy, so that even the neuron's own rate does not correlate perfectly with the mean
# over 8 repeats. Here we know the rate, and can compare. With recordings, `max_correlation` estimates the same from the
# repeats, and `normalized_correlation` is the correlation relative to it.

# %%
columns = ["correlation", "max_correlation", "normalized_correlation", "feve"]
table = evaluation.neurons[columns].copy()
lag = evaluation.lag
measured = repeats.mean(axis=0)[lag:]
table["of_true_rate"] = [
    np.corrcoef(rate, mean)[0, 1] for rate, mean in zip(rates(test_movie)[lag:].T, measured.T, strict=True)
]
table.round(3)

# %% [markdown]
# ## What did it find?
#
# The receptive fields, measured on the model as one would on the retina: by averaging noise before responses. The true
# centres are (3, 3), (6, 6), (8, 4), (5, 9) and (9, 9); ON and OFF take turns.

# %%
from openretina_jax import insilico

fields = insilico.described(model, insilico.noise_sta(model, frames=8_000))
fields.table()[["neuron", "centre_y_px", "centre_x_px", "polarity", "peak_s"]].round(2)

# %% [markdown]
# ## Where to go from here
#
# * Movies in colour have axes `time height width channel`; `channels=["green", "UV"]` names them for pictures.
# * Several recordings are several entries of the dictionary. A movie that all of them saw is kept once, and all neurons
#   are trained together.
# * NaN stands for what was not recorded. It is left out of training and scores.
# * `openretina_jax.check(dataset)` lists what looks wrong, before you train:

# %%
problems = openretina_jax.check(dataset)

# %% [markdown]
# * Any setting can be changed: `train(dataset, workdir, settings={"train.epochs": 200})`. `config="template"` and
#   others replace all of them, and a mistyped name is an error that says what was meant:

# %%
from openretina_jax.errors import UserError

try:
    openretina_jax.train(dataset, settings={"train.epoch": 200})
except UserError as error:
    print(error)
