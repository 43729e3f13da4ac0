"""Read a data set before training: what is in it, what is wrong with it, and a picture.

python scripts/check_data.py --config=configs/hdf5_core_readout.py[:word,word] [--config.data.path=DIR ...] [--out=DIR]
python scripts/check_data.py --folder=my_data [--tests=movie_b,movie_c] [--out=DIR]

The first form checks what scripts/train.py with the same flags would see. The second is a quick look at a folder of the
layout in docs/your_own_data.md, with pixels normalised by the training movie (--config=...:normalized).
All problems are listed. The exit status is 0 if there are none and 2 if there are some.
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parent.parent))  # where configurations find configs/common.py

from openretina_jax.experiment import command_line

command_line.define_config("Configuration file; words after a colon choose variants.")
_FOLDER = flags.DEFINE_string("folder", None, "Folder of recordings of your own, instead of a configuration.")
_TESTS = flags.DEFINE_list("tests", [], "Names of the stimuli in --folder that are tests.")
_OUT = flags.DEFINE_string("out", None, "Where to write the picture; made if missing. Default: no picture.")

flags.register_multi_flags_validator(
    ["config", "folder"],
    lambda given: (given["config"] is None) != (given["folder"] is None),
    "give one of --config and --folder",
)


def main() -> None:
    """Check, and leave with what was found."""
    if _FOLDER.value is None:
        config, _ = command_line.configuration()
        data, train = config.data.to_dict(), config.train.to_dict()
    else:
        # clips as short as can be, so that short recordings can be checked too
        data = {"source": "hdf5", "path": _FOLDER.value, "test_names": _TESTS.value, "clip_length": 1}
        data["validation_clips"], train = 1, None

    from openretina_jax.experiment.check_data import check_data  # takes seconds: flags are checked before

    if check_data(data, train, None if _OUT.value is None else Path(_OUT.value), command_line.console):
        sys.exit(2)


if __name__ == "__main__":
    command_line.run(main)
