"""Train a model, or go on with a run that was stopped.

openretina-jax train --config=hoefling_low_res[:word,word] [--config.a.b=c ...] [--workdir=DIR]
    [--profile]

Several processes can train together; docs/scaling.md has the commands.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line
from openretina_jax.runtime.settings import check_effect, entries

command_line.define_config("Configuration file; words after a colon choose variants.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/ and the name of the configuration.")
_PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of the second epoch, for TensorBoard and Perfetto.")
command_line.require_config()
command_line.define_process_flags()


def main() -> None:
    """Train what the flags describe."""
    config, name = command_line.configuration()
    check_effect(command_line.given_settings(), entries(config))
    command_line.join_processes()

    from openretina_jax.experiment.train import train  # takes seconds: flags are checked before

    train(config, Path(_WORKDIR.value or f"runs/{name}"), command_line.console, _PROFILE.value)


if __name__ == "__main__":
    command_line.run(main)
