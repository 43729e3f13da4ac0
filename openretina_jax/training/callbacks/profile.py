"""A trace of what the device does, for TensorBoard and Perfetto."""

import logging
from pathlib import Path

import jax

from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch

_log = logging.getLogger(__name__)


@CALLBACKS("profile")
class Profile(Callback):
    """A trace of the second epoch of a call (the first one compiles), in ``profile`` of the workdir."""

    everywhere = True

    def __init__(self, workdir: Path):
        self._folder = workdir / "profile"
        self._first: int | None = None
        self._tracing = False

    def on_epoch_begin(self, number: int) -> None:
        """Begin to trace."""
        self._first = number if self._first is None else self._first
        if number != self._first + 1:
            return
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # frames of the interpreter would bury the operations
        jax.profiler.start_trace(str(self._folder), profiler_options=options)
        self._tracing = True

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write the trace, and say where it is."""
        if not self._tracing:
            return
        self._stop()
        trace = max(self._folder.rglob("*.trace.json.gz"), key=lambda file: file.stat().st_mtime)
        _log.info(
            "trace of an epoch: tensorboard --logdir=%s, or open %s in https://ui.perfetto.dev", self._folder, trace
        )

    def on_train_end(self) -> None:
        """End a trace whose epoch has failed."""
        if self._tracing:
            self._stop()

    def _stop(self) -> None:
        self._tracing = False
        jax.profiler.stop_trace()
