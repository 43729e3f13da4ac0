"""A callback that says which slow libraries a run has imported before its first step."""

import sys

from openretina_jax.training.callbacks import Callback

LATE = ("google.cloud", "matplotlib", "orbax", "pandas", "tensorboardX")


class Loaded(Callback):
    """Prints the names before every epoch."""

    def on_epoch_begin(self, number: int) -> None:
        print("loaded:", [name for name in LATE if name in sys.modules], flush=True)
