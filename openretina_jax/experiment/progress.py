"""Progress of long work: a line that stays up to date on a terminal or in a notebook, a line now and then elsewhere."""

import functools
import math
import time
from collections.abc import Callable

from rich.console import Console

LIVE_S = 0.1  # between updates of a line that is written over
PLAIN_S = 30.0  # between lines that stay, as in a log
SHORT_S = 2.0  # what takes less leaves no line behind
NOTEBOOK_WIDTH = 110  # characters


class _Output(Console):
    """Standard output; what nobody reads any more is an error as any other, and no quiet end."""

    def on_broken_pipe(self) -> None:
        """Let the error pass."""
        raise


def new_console() -> Console:
    """Make a console of plain lines, in notebooks too, where rich would make a block of HTML of each."""
    return _Output(highlight=False, force_jupyter=False)


def in_notebook(console: Console) -> bool:
    """Whether a console writes to the output of a cell."""
    return type(console.file).__module__.startswith("ipykernel.")


@functools.cache
def progress_of(console: Console) -> "ProgressLine":
    """The one line of a console: whoever writes there clears it before."""
    return ProgressLine(console)


class ProgressLine:
    """Tells how far a piece of work is, how long it has taken, and how long the rest will take.

    Time counts from the first call of a piece of work on, which may well say that nothing is done yet.

    Args:
        console: where to write.
        clock: seconds from any point in time on.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console, self._clock = console, clock
        self._piece: tuple[str, int] | None = None  # what, total
        self._began, self._before = 0.0, 0  # time of its first call, and what was done by then
        self._done, self._shown, self._open = 0, 0.0, False
        self._told = False  # whether something was said besides

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` are done.

        Args:
            what: name of the work; another name, another total or a smaller number begins a new piece.
            done, total: numbers of whatever the work consists of.
            note: what to say besides, such as the last score; work of which something is said leaves a line, however
                short it was.
        """
        now, live = self._clock(), self._console.is_terminal or in_notebook(self._console)
        if self._piece != (what, total) or done < self._done:
            self._piece, self._began, self._before = (what, total), now, done
            # a notebook cannot take a line back: it shows at once only what has not begun, which may take long
            waits = (LIVE_S - SHORT_S) if done and in_notebook(self._console) else math.inf
            self._shown = now - waits if live else now
        self._done, self._told, taken = done, bool(note), now - self._began
        if done >= total:
            self._leave(f"{what}: {f'{total} in ' if total > 1 else ''}{clock_text(taken)}", taken)
        elif now - self._shown >= (LIVE_S if live else PLAIN_S):
            left = (
                "" if done == self._before else f", {clock_text(taken / (done - self._before) * (total - done))} left"
            )
            parts = [f"{what}: {done} of {total}, {clock_text(taken)} elapsed{left}", *filter(None, [note])]
            self._write(", ".join(parts), "" if live else "\n")
            self._shown, self._open = now, live

    def end(self) -> None:
        """End a piece of work before all of it is done."""
        if self._piece is not None and self._done > self._before:
            (what, total), taken = self._piece, self._clock() - self._began
            self._leave(f"{what}: {self._done} of {total} in {clock_text(taken)}", taken)
        self.clear()

    def _leave(self, line: str, taken: float) -> None:
        """Put a line that stays in place of the one that is written over; what was short leaves none."""
        stays = self._told or taken >= SHORT_S or (self._open and in_notebook(self._console))
        self.clear()
        self._piece = None
        if stays:
            self._write(line, "\n")

    def clear(self) -> None:
        """Remove the line that is written over, so that another can take its place."""
        if self._open:
            self._write("", "\r")
        self._open = False

    def _write(self, line: str, end: str) -> None:
        if self._console.quiet:
            return
        notebook = in_notebook(self._console)
        if notebook or self._console.is_terminal:
            width = NOTEBOOK_WIDTH if notebook else self._console.width - 1
            line = f"\r{line[:width].ljust(width)}"
        self._console.file.write(line + end)
        self._console.file.flush()


def clock_text(seconds: float) -> str:
    """Write a duration as minutes and seconds, with hours where there are any: 1:05, 2:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
