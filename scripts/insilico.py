"""Experiment on a trained model: most exciting stimuli, receptive fields, tuning.

python scripts/insilico.py EXPERIMENT --checkpoint=runs/hoefling_low_res --folder=DIR [--neurons=best:50]
    [--steps=50] [--seeds=1] [--window=10] [--norm=30 --low=-0.6 --high=6.2] [--natural] [--overwrite]

EXPERIMENT is mei (most exciting), mdi (most suppressive), mds (most discriminative of cell types), surround (most
suppressive around the most exciting), receptive_fields or tuning. The folder gets arrays (HDF5), neurons.csv and, for
stimuli, gallery.html. Several checkpoints make an ensemble. docs/insilico.md explains the numbers.
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parent.parent))

from openretina_jax.experiment import command_line

NAMES = ("mei", "mdi", "mds", "surround", "receptive_fields", "tuning")

_EXPERIMENT = flags.DEFINE_enum("experiment", None, NAMES, "What to do; may be given as the first word.", required=True)
_CHECKPOINT = flags.DEFINE_multi_string(
    "checkpoint", None, "Folder of a run, checkpoint or saved model, or a model of openretina.", required=True
)
_FOLDER = flags.DEFINE_string("folder", None, "Where to write; must not exist.", required=True)
_NEURONS = flags.DEFINE_string("neurons", "all", "all, best:50, every:10, type:28, SESSION, or SESSION:0,3.")
_WINDOW = flags.DEFINE_integer("window", 10, "Last frames of the response that count.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 50, "Gradients of a stimulus.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Stimuli of each target.", lower_bound=1)
_NORM = flags.DEFINE_float("norm", None, "Norm of stimuli. Default: a fifth of that of training windows.")
_LOW = flags.DEFINE_float("low", None, "Least value of a pixel. Default: that of the training movies.")
_HIGH = flags.DEFINE_float("high", None, "Largest value of a pixel. Default: that of the training movies.")
_NATURAL = flags.DEFINE_bool("natural", False, "Score the best natural window beside each stimulus; reads the data.")
_FRAMES = flags.DEFINE_integer("frames", 20_000, "Frames of noise for receptive fields.", lower_bound=100)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the folder if it holds an experiment.")


def main() -> None:
    """Run the experiment that the flags name."""
    from openretina_jax.experiment.insilico import Options, run  # takes seconds: flags are checked before

    options = Options(
        chosen=_NEURONS.value,
        window=_WINDOW.value,
        steps=_STEPS.value,
        seeds=_SEEDS.value,
        norm=_NORM.value,
        low=_LOW.value,
        high=_HIGH.value,
        natural=_NATURAL.value,
        frames=_FRAMES.value,
    )
    run(_EXPERIMENT.value, _CHECKPOINT.value, Path(_FOLDER.value), options, overwrite=_OVERWRITE.value)
    command_line.console.print(f"written to {_FOLDER.value}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"--experiment={sys.argv[1]}"
    command_line.run(main)
