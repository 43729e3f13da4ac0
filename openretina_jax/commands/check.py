"""Read a data set before training: what is in it, what is wrong with it, a table of the neurons, and a picture.

openretina-jax check --config=hdf5_core_readout[:word,word] [--config.data.path=DIR ...] [--folder=DIR]
openretina-jax check --recordings=my_data [--tests=movie_b,movie_c] [--folder=DIR]

The first form checks what openretina-jax train with the same flags would see. The second is a quick look at a folder of
the layout in docs/your_own_data.md, with pixels normalised by the training movie (--config=...:normalized).
It compares responses and movie by spike-triggered averages, so that an offset, a drift or swapped axes are found.
All problems are listed. The exit status is 0 if there are none and 2 if there are some.
"""

import sys
from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

command_line.define_config("Configuration file; words after a colon choose variants.")
_RECORDINGS = flags.DEFINE_string("recordings", None, "Folder of recordings of your own, instead of a configuration.")
_TESTS = flags.DEFINE_list("tests", [], "Names of the stimuli in --recordings that are tests.")
_FOLDER = flags.DEFINE_string("folder", None, "Where to write picture and table; made if missing. Default: none.")
flags.DEFINE_alias("out", "folder")

flags.register_multi_flags_validator(
    ["config", "recordings"],
    lambda given: (given["config"] is None) != (given["recordings"] is None),
    "give one of --config and --recordings",
)


def main() -> None:
    """Check, and leave with what was found."""
    if _RECORDINGS.value is None:
        config, _ = command_line.configuration()
        data, train, loss = config.data.to_dict(), config.train.to_dict(), config.objective.loss.kind
    else:
        # clips as short as those of a movie can be, so that short recordings can be checked too
        data = {"source": "hdf5", "path": _RECORDINGS.value, "test_names": _TESTS.value, "clip_length": 2}
        data["validation_clips"], train, loss = 1, None, None

    from openretina_jax.experiment.check_data import check_data  # takes seconds: flags are checked before

    folder = None if _FOLDER.value is None else Path(_FOLDER.value)
    if check_data(data, train, folder, command_line.console, loss):
        sys.exit(2)


if __name__ == "__main__":
    command_line.run(main)
