"""Ctrl-C and SIGTERM end an epoch instead of the process."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

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
