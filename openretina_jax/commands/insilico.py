"""Experiment on a trained model: most exciting stimuli, receptive fields, gradients, tuning.

openretina-jax insilico EXPERIMENT --checkpoint=runs/hoefling_low_res --folder=DIR [--neurons=best:50] [--overwrite]
    [--steps=50 --seeds=1 --window=10 --norm=30 --low=-0.6 --high=6.2 --natural, or other options of the experiment]

EXPERIMENT is mei (most exciting), mdi (most suppressive), dei (diverse exciting), mds (most discriminative of cell
types), types (most exciting of cell types), surround (most suppressive around the most exciting), layer (most exciting
of channels of the core), receptive_fields, gradients, contrast_grid, vector_field, tuning, perturb, export (stimuli as
bytes for a projector), or your own as package.module:Class. docs/insilico.md lists the options and files of each. The
folder gets arrays (HDF5), a table and a page. Several checkpoints make an ensemble. An experiment on many neurons that
was interrupted goes on when the same command is given again.
"""

import sys
from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_EXPERIMENT = flags.DEFINE_string("experiment", None, "What to do; may be given as the first word.", required=True)
_CHECKPOINT = flags.DEFINE_multi_string(
    "checkpoint", None, "Folder of a run, checkpoint or saved model, or a model of openretina.", required=True
)
_FOLDER = flags.DEFINE_string("folder", None, "Where to write; must not exist.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the folder if it holds an experiment.")


def main(options: dict[str, str]) -> None:
    """Run the experiment that the flags name.

    Args:
        options: flags that are not of the script, but of the experiment.
    """
    from openretina_jax.experiment.insilico.run import run  # takes seconds: flags are checked before

    folder = Path(_FOLDER.value)
    failures = run(_EXPERIMENT.value, _CHECKPOINT.value, folder, options, overwrite=_OVERWRITE.value)
    command_line.console.print(f"written to {folder}", soft_wrap=True, markup=False)
    for line in failures:
        command_line.print_error(line)
    if failures:
        sys.exit(1)


def options_of_experiment() -> str:
    """Options of the experiment that is the first word, for ``--help``."""
    given = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("--experiment=")]
    if not given:
        return "\noptions of an experiment: openretina-jax insilico EXPERIMENT --help"
    from openretina_jax.experiment.insilico.run import describe  # takes seconds

    return describe(given[0])


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"--experiment={sys.argv[1]}"
    command_line.run_with_options(main, options_of_experiment)
