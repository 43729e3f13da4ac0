"""A run of several processes: how it is joined, what the first one does for all, and how it ends."""

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

HEARTBEAT_S = 30  # a process that is silent for so long counts as dead, and the others end
FIRST_WAITS_S = 5  # the first process speaks for the connection of all: it leaves last
LOST = re.compile(r"gloo|nccl|unavailable|heartbeat|connection (reset|closed|refused)|socket closed", re.IGNORECASE)


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Make this process one of several that train together; nothing of jax may have been used before.

    Args:
        coordinator: host and port of the first process.
        processes: their number.
        process: number of this one. All three are None where jax knows them: SLURM, Open MPI, TPU pods.

    Raises:
        UserError: only some of them are given, or the others cannot be found.
    """
    given = (coordinator, processes, process)
    if None in given and given != (None, None, None):
        raise UserError("--coordinator, --processes and --process go together; give all three or none of them")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise UserError(f"--process is {process}, but must be at least 0 and below --processes, which is {processes}")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
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
    """Whether this process writes what there is one of: logs, pictures, tables."""
    return jax.process_index() == 0


def in_any(condition: bool) -> bool:
    """Whether a condition holds in any of the processes; all must ask."""
    return bool(multihost_utils.process_allgather(np.array(condition)).any()) if jax.process_count() > 1 else condition


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process fill a cache before the others look there."""
    if not is_first():
        multihost_utils.sync_global_devices("the first process is done")
    yield
    if is_first():
        multihost_utils.sync_global_devices("the first process is done")


def lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return several() and LOST.search(str(error)) is not None


def leave(status: int) -> NoReturn:
    """End a process that has failed, without waiting until all others have come to their end."""
    if is_first():
        time.sleep(FIRST_WAITS_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


_log = logging.getLogger(__name__)


class Interruption:
    """True once the user or the system has asked the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, number: int, _: object) -> None:
        """Handle a signal: finish the epoch; a second one ends the process as usual."""
        self._asked = True
        _log.warning("%s: stopping after this epoch (again to stop at once)", signal.Signals(number).name)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let Ctrl-C and SIGTERM end the epoch instead of the process (in the main thread, which receives them)."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, interruption.ask) for number in numbers]
    try:
        yield interruption
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
