"""Configurations as the command line makes them, in the process of a test."""

from unittest import mock

import ml_collections
from absl import flags

from openretina_jax.experiment.command_line import define_config


def configuration(file: str, *overrides: str) -> ml_collections.ConfigDict:
    """The configuration of ``--config=file`` and of flags such as ``--config.train.epochs=3``."""
    values = flags.FlagValues()
    define_config("", values)
    line = ["train.py", f"--config={file}", *overrides]
    with mock.patch("sys.argv", line):  # where ml_collections looks for overrides
        values(line)
    config: ml_collections.ConfigDict = values.config
    return config
