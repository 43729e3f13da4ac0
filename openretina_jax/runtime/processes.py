"""Processes: a run of several of them, and how signals end a run."""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from openretina_jax.errors import UserError

_log = logging.getLogger(__name__)

HEARTBEAT_S = 30  # a process that is silent for longer counts as dead, and the others end
FIRST_WAITS_S = 5  # the first process holds the connection of all, so that it must leave last
LOST = re.compile(r"gloo|nccl|unavailable|heartbeat|connection (reset|closed|refused)|socket closed", re.IGNORECASE)


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Join other processes that train together; must come before any other use of JAX.

    Args:
        coordinator: host and port of the first process.
        processes: number of processes.
        process: index of this one. All three are None where JAX finds them out: SLURM, Open MPI, TPU pods.

    Raises:
        UserError: only some of them are given, or the other processes cannot be found.
    """
    given = (coordinator, processes, process)
    if None in given and given != (None, None, None):
        raise UserError("--coordinator, --processes and --process go together; give all three or none of them")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise UserError(f"--process is {process}, but must be at least 0 and below --processes, which is {processes}")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM away, and nobody hears of it
    try:
        jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=HEARTBEAT_S)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the other processes cannot be joined: {str(error).splitlines()[0]}; "
            "outside SLURM, Open MPI and TPU pods give --coordinator, --processes and --process"
        ) from error


def several() -> bool:
    """Whether this process has joined others."""
    return jax.distributed.is_initialized()


def is_first() -> bool:
    """Whether this is the process that writes logs, pictures and tables for all."""
    return jax.process_index() == 0


def in_any(condition: bool) -> bool:
    """Whether a condition holds in any process; all processes must call this."""
    return bool(multihost_utils.process_allgather(np.array(condition)).any()) if jax.process_count() > 1 else condition


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """Block that the first process runs before all others, such as one that fills a cache."""
    if not is_first():
        multihost_utils.sync_global_devices("the first process is done")
    yield
    if is_first():
        multihost_utils.sync_global_devices("the first process is done")


def lost(error: BaseException) -> bool:
    """Whether an error means that another process is gone."""
    return several() and LOST.search(str(error)) is not None


def leave(status: int) -> NoReturn:
    """End a process that has failed at once, without waiting for the others."""
    if is_first():
        time.sleep(FIRST_WAITS_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Interruption:
    """True as soon as a signal has asked the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, number: int, _: object) -> None:
        """Handle a signal; a second one ends the process at once."""
        self._asked = True
        _log.warning("%s: stopping after this epoch (again to stop at once)", signal.Signals(number).name)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Block in which Ctrl-C and SIGTERM ask for the end of the run instead of killing it.

    Signals reach the main thread only; in another thread nothing changes.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, interruption.ask) for number in signals]
    try:
        yield interruption
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
