"""Train a model, or go on with a run that was stopped.

openretina-jax train --config=hoefling_low_res[:word,word] [--config.a.b=c ...] [--workdir=DIR]
    [--profile] [--print_config] [--dry_run]

Several processes can train together; docs/scaling.md has the commands.
"""

from pathlib import Path

from absl import flags

from openretina_jax.experiment import command_line
from openretina_jax.runtime.settings import check_effect, entries

command_line.define_config("Configuration file; words after a colon choose variants.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/ and the name of the configuration.")
_PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of the second epoch, for TensorBoard and Perfetto.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Read the data, make the model, say what would be trained, and stop.")
_PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "Print all settings that have an effect, and stop.")
command_line.require_config()
command_line.define_process_flags()


def main() -> None:
    """Train what the flags describe."""
    config, name = command_line.configuration()
    check_effect(command_line.given_settings(), entries(config))
    if _PRINT_CONFIG.value:
        from openretina_jax.experiment.recipe import listed  # takes seconds

        for line in listed(config.to_dict(), command_line.preset().to_dict()):
            command_line.console.print(line, soft_wrap=True, markup=False)
        return
    command_line.join_processes()

    from openretina_jax.experiment.provenance import origin  # these take seconds: flags are checked before
    from openretina_jax.experiment.train import train
    from openretina_jax.runtime.devices import use_cores

    use_cores()
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    preset = origin(command_line.preset_name(), command_line.preset().to_dict(), config.to_dict())
    train(config, workdir, command_line.console, _PROFILE.value, dry_run=_DRY_RUN.value, origin=preset)


if __name__ == "__main__":
    command_line.run(main)
