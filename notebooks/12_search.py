# %% [markdown]
# # Searching for settings
#
# Which learning rate, which smoothness, how many channels? Nobody knows for a new recording, and the answer decides
# whether two models are compared fairly: give both the same search. There are two ways. A *population* trains many
# members in one program; they may differ in numbers. A *search* runs whole trainings, one after the other or side by
# side; these may differ in anything, and each learns from those before.
#
# The data are two model neurons that look at noise, so that everything takes seconds.

# %%
import numpy as np
import optuna
import pandas as pd

import openretina_jax
from openretina_jax import ArrayRecording, plots
from openretina_jax.search.run import trial_table

rng = np.random.default_rng(0)
movie = rng.normal(size=(2400, 10, 10)).astype(np.float32)
kernel = np.exp(-np.arange(12) / 3) * np.sin(np.arange(12) / 2)
light = np.stack([movie[:, 3:6, 3:6].mean(axis=(1, 2)), -movie[:, 5:8, 4:7].mean(axis=(1, 2))], axis=1)
drive = np.stack([np.convolve(one, kernel)[: len(movie)] for one in light.T], axis=1)
responses = rng.poisson(np.exp(2 * drive / drive.std(axis=0) - 2)).astype(np.float32)
dataset = openretina_jax.from_arrays({"noise": ArrayRecording(movie, responses)}, frame_rate_hz=30.0)
small = {
    "model.core.simple.hidden_channels": (4,),
    "model.core.simple.temporal_kernel_sizes": (15,),
    "model.core.simple.spatial_kernel_sizes": (5,),
    "train.picture_every": 0,
    "logging.tensorboard": False,
}
dataset

# %% [markdown]
# ## A population
#
# Four members with learning rates and penalties of their own, drawn once. Member 0 has the seed of the configuration,
# the others the next ones. All see the same windows, which are gathered once.

# %%
vary = {
    "optimizer.learning_rate": {"log_uniform": (1e-3, 1e-1)},
    "model.core.simple.gamma_temporal": {"uniform": (0.0, 80.0)},
}
population = small | {"population.size": 4, "population.vary": vary, "train.epochs": 12}
best = openretina_jax.train(dataset, "runs/population", settings=population)
best

# %%
members = pd.read_csv("runs/population/members.csv")
members.round(4)

# %% [markdown]
# The run itself opens as its best member, and `runs/population/ensemble` as all of them together. Choose by validation
# alone, as here: a test movie that chooses is no test any more.
#
# ## A search
#
# The number of channels changes the program, so it takes runs of its own. `openretina-jax search` does this with
# processes side by side, stops trials that will not win, and goes on after an interruption. In a notebook, three lines
# of optuna are enough.


# %%
def validation(trial: optuna.Trial) -> float:
    """Validation correlation of a run with settings that the search chooses."""
    chosen = {
        "optimizer.learning_rate": trial.suggest_float("learning rate", 3e-3, 1e-1, log=True),
        "model.core.simple.hidden_channels": (trial.suggest_categorical("channels", [2, 4]),),
    }
    model = openretina_jax.train(dataset, f"runs/search/{trial.number}", settings=small | chosen | {"train.epochs": 8})
    scores = openretina_jax.evaluate(model, dataset, ["validation"]).of_split("validation")
    return float(scores["correlation"].mean())


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(validation, n_trials=5)

# %%
trials = trial_table(study)
trials[["trial", "value", "learning rate", "channels"]].round(4)

# %%
plots.plot_scores(trials, "validation correlation")

# %%
plots.plot_slices(
    trials.astype({"channels": str}), {"learning rate": "log", "channels": ["2", "4"]}, "validation correlation"
)

# %%
print(
    f"the best of {len(trials)} trials has {study.best_params}, and a validation correlation of {study.best_value:.3f}"
)

# %% [markdown]
# With five trials, differences as small as those between seeds mean nothing; a population without `population.vary`
# shows how large these are.
