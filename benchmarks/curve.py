"""Scores of a run against seconds, as JSON lines: a callback for ``config.callbacks``.

python -m openretina_jax train --config=hoefling_low_res:simulated
    --config.callbacks='({"kind": "benchmarks.curve:Curve", "seconds": 60},)'
"""

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from openretina_jax.training.callbacks import Callback, Epoch


class Curve(Callback):
    """Prints the validation score of every epoch, and of a finished run those of the test.

    Args:
        seconds: of training after which the run ends as by Ctrl-C, and could go on.
    """

    def __init__(self, seconds: float):
        self._limit = seconds

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Print a line."""
        names = {"epoch": "epoch", "seconds": "seconds", "validation/correlation": "validation"}
        print(json.dumps({to: round(float(epoch.metrics[name]), 4) for name, to in names.items()}), flush=True)
        if epoch.metrics["seconds"] >= self._limit:
            signal.raise_signal(signal.SIGINT)

    def on_test_end(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: str) -> None:
        """Print the scores."""
        print(json.dumps({name: round(float(score), 4) for name, score in scores.items()}), flush=True)
