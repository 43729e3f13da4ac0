"""Fit the neurons of new recordings behind the core of a trained model, in seconds.

openretina-jax adapt --checkpoint=RUN --config=hoefling_low_res[:word,word] [--config.data.a=b ...] --folder=DIR
openretina-jax adapt --checkpoint=RUN --recordings=my_data [--tests=movie_b,movie_c] --folder=DIR

The core stays as it is. The model is saved in --folder with the sessions of RUN besides (--nokeep_sessions: without),
and openretina-jax train can go on from there (--config.start_from=DIR). docs/adapting.md says when this is enough.
Of a configuration only config.data is used, and with --finetune_epochs how it is trained. --recordings is a folder of
the layout in docs/your_own_data.md; its pixels are normalised as those of RUN.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Folder of a run, of a checkpoint or of a saved model, or a published model.", required=True
)
command_line.define_config("Whose data to take; words after a colon choose variants.")
_RECORDINGS = flags.DEFINE_string("recordings", None, "Folder of recordings of your own, instead of a configuration.")
_TESTS = flags.DEFINE_list("tests", [], "Names of the stimuli in --recordings that are tests.")
_FOLDER = flags.DEFINE_string("folder", None, "Where the model is saved; must not exist.", required=True)
flags.DEFINE_alias("out", "folder")
_KEEP_SESSIONS = flags.DEFINE_bool("keep_sessions", True, "Keep the sessions of the trained model besides.")
_FINETUNE_EPOCHS = flags.DEFINE_integer(
    "finetune_epochs", 0, "Epochs of the usual training afterwards, of the core too.", lower_bound=0
)

flags.register_multi_flags_validator(
    ["config", "recordings"],
    lambda given: (given["config"] is None) != (given["recordings"] is None),
    "give one of --config and --recordings",
)


def main() -> None:
    """Adapt what the flags name."""
    from openretina_jax.experiment.adapt import adapt_run, settings_of_folder  # these take seconds

    config = None
    if _RECORDINGS.value is None:
        config, _ = command_line.configuration()
        data = config.data.to_dict()
    else:
        data = settings_of_folder(_RECORDINGS.value, _TESTS.value)
    adapt_run(
        _CHECKPOINT.value,
        data,
        Path(_FOLDER.value),
        command_line.console,
        keep_sessions=_KEEP_SESSIONS.value,
        finetune_epochs=_FINETUNE_EPOCHS.value,
        config=config,
    )


if __name__ == "__main__":
    command_line.run(main)
