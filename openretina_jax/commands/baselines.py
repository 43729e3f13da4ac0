"""Fit the field's simple models to all neurons of a data set, and say for how many a network beats them.

openretina-jax baselines --checkpoint=runs/hoefling_low_res [--config=hoefling_low_res] [--split=test]
openretina-jax baselines --config=hoefling_low_res:simulated,quick [--frames=30] [--table=baselines.csv]

A spike-triggered average with a nonlinearity, a generalised linear model (of counts also with spike history), and a
quadratic one, fitted to the training clips of a network, with penalties that its validation clips choose. A row for
every model, split and neuron is written beside the run. docs/evaluation.md explains them.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Network to compare with; what openretina-jax evaluate takes.")
command_line.define_config("Whose data to take. Default: those that the network was trained on.")
_SPLIT = flags.DEFINE_list("split", ["test"], "Of train, validation, test (all test movies), or names of test movies.")
_FRAMES = flags.DEFINE_integer(
    "frames", None, "Frames that a response depends on. Default: as for the network, or half a second.", lower_bound=1
)
_TABLE = flags.DEFINE_string("table", None, "File of the table. Default: baselines.csv in the folder of the run.")

flags.register_multi_flags_validator(
    ["checkpoint", "config"],
    lambda given: given["checkpoint"] is not None or given["config"] is not None,
    "give --checkpoint, --config or both",
)


def main() -> None:
    """Fit what the flags name."""
    config = command_line.configuration()[0] if flags.FLAGS["config"].present else None

    # these take seconds: flags are checked before
    from openretina_jax.evaluation.tables import SummaryOptions
    from openretina_jax.experiment.baselines import baselines

    table = None if _TABLE.value is None else Path(_TABLE.value)
    baselines(_CHECKPOINT.value, _SPLIT.value, config, _FRAMES.value, table, SummaryOptions(), command_line.console)


if __name__ == "__main__":
    command_line.run(main)
