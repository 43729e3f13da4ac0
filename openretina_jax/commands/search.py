"""Search for good settings of a training run, or go on with a search that was stopped.

openretina-jax search --config=hoefling_low_res[:word,word] --space=hoefling_low_res
    [--config.a.b=c ...] [--trials=20] [--jobs=1] [--workdir=DIR] [--storage=FILE] [--objective=validation/loss]
    [--pruner=median|hyperband|none] [--warmup_epochs=5] [--seed=42]

Every trial is a run of scripts/train.py; docs/search.md has an example. Needs pip install -e ".[search]".
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from openretina_jax.errors import require
from openretina_jax.experiment import command_line
from openretina_jax.runtime.presets import file_of
from openretina_jax.runtime.settings import entries, returned_by

command_line.define_config("Configuration file; words after a colon choose variants.")
_SPACE = flags.DEFINE_string(
    "space", None, "Python file whose get_space() returns a distribution by setting, or a name of ours.", required=True
)
_TRIALS = flags.DEFINE_integer("trials", 20, "Number of trials, those of earlier calls included.", lower_bound=1)
_JOBS = flags.DEFINE_integer("jobs", 1, "Trials side by side: each has a GPU, or a share of the cores.", lower_bound=1)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the search. Default: runs/, the configuration's name, _search."
)
_STORAGE = flags.DEFINE_string("storage", None, "SQLite file, or a folder for it. Default: the folder of the search.")
_OBJECTIVE = flags.DEFINE_enum(
    "objective", "validation/correlation", ["validation/correlation", "validation/loss"], "What is to be the best."
)
_PRUNER = flags.DEFINE_enum("pruner", "median", ["median", "hyperband", "none"], "Which trials end before their time.")
_WARMUP = flags.DEFINE_integer("warmup_epochs", 5, "Epochs before a trial may be pruned.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 42, "Of the draws.", lower_bound=0)
command_line.require_config()


def main() -> None:
    """Search as the flags say."""
    config, name = command_line.configuration()
    require("optuna", "search", "a search is made by optuna")

    from openretina_jax.search.run import run_search  # takes seconds: flags are checked before
    from openretina_jax.search.study import Rules

    workdir = Path(_WORKDIR.value or f"runs/{name}_search")
    for line in run_search(
        distributions=returned_by(file_of(_SPACE.value, "spaces"), "get_space"),
        entries=entries(config),
        config=config_flags.get_config_filename(flags.FLAGS["config"]),
        given=command_line.given_settings(),
        program=[sys.executable, "-m", "openretina_jax", "train"],
        workdir=workdir,
        storage=Path(_STORAGE.value or workdir),
        name=name,
        rules=Rules(_OBJECTIVE.value, _PRUNER.value, _WARMUP.value, config.train.epochs, _SEED.value),
        trials=_TRIALS.value,
        jobs=_JOBS.value,
    ):
        command_line.console.print(line, soft_wrap=True)


if __name__ == "__main__":
    command_line.run(main)
