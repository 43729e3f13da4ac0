"""Score a trained model on any split of its data, or compare several models on the same neurons.

openretina-jax evaluate --checkpoint=runs/hoefling_low_res [--checkpoint=OTHER ...] [--split=test,validation,train]
    [--config=hoefling_low_res] [--folder=DIR [--table=neurons.parquet] [--responses] [--overwrite]] [--baselines]

prints the scores; with a folder it writes the table of neurons, summary.json and a page with figures, report.html.
docs/evaluation.md explains them.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_CHECKPOINT = flags.DEFINE_multi_string(
    "checkpoint",
    None,
    "Folder of a run, of a checkpoint or of a saved model; or a name, path or address of openretina's. "
    "Several are compared.",
    required=True,
)
_SPLIT = flags.DEFINE_list("split", ["test"], "Of train, validation, test (all test movies), or names of test movies.")
command_line.define_config("Whose data to take. Default: those that the model was trained on.")
_FOLDER = flags.DEFINE_string("folder", None, "Where to write; must not exist. Default: the scores are printed only.")
_TABLE = flags.DEFINE_string("table", "neurons.csv", "Name of the table of neurons; .parquet needs pyarrow.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Fit the field's simple models too; see openretina-jax baselines.")
_RESPONSES = flags.DEFINE_bool("responses", False, "Write recorded and predicted responses too, as responses.npz.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the folder if it exists.")
_MIN_VARIANCE_RATIO = flags.DEFINE_float(
    "min_variance_ratio", 0.15, "Neurons with a smaller share of explainable variance are left out of the summary."
)
_RESAMPLES = flags.DEFINE_integer("resamples", 2000, "Resamples of each bootstrap.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.", lower_bound=0)


def main() -> None:
    """Evaluate what the flags name."""
    config = command_line.configuration()[0] if flags.FLAGS["config"].present else None

    # these take seconds: flags are checked before
    from openretina_jax.evaluation.tables import SummaryOptions
    from openretina_jax.experiment.evaluate import Output, evaluate

    folder = None if _FOLDER.value is None else Path(_FOLDER.value)
    evaluate(
        _CHECKPOINT.value,
        _SPLIT.value,
        config,
        SummaryOptions(_MIN_VARIANCE_RATIO.value, _RESAMPLES.value, _SEED.value),
        Output(folder, _TABLE.value, _RESPONSES.value, _OVERWRITE.value, _BASELINES.value),
        command_line.console,
    )


if __name__ == "__main__":
    command_line.run(main)
