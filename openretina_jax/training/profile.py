"""A trace of what the device does, for TensorBoard and Perfetto."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import jax

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def tracing(folder: Path | None) -> Iterator[None]:
    """Record what is computed within, and say where the trace is (None: do nothing).

    Args:
        folder: every trace has a subfolder of its own there.
    """
    if folder is None:
        yield
        return
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # frames of the interpreter would bury the operations
    with jax.profiler.trace(str(folder), profiler_options=options):
        yield
    trace = max(folder.rglob("*.trace.json.gz"), key=lambda file: file.stat().st_mtime)
    _log.info("trace of an epoch: tensorboard --logdir=%s, or open %s in https://ui.perfetto.dev", folder, trace)
