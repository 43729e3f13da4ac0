"""The line that says how far long work is."""

import io

import pytest
from rich.console import Console

from openretina_jax.experiment.progress import ProgressLine, clock_text


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def written(calls: list[tuple[float, int]], *, terminal: bool) -> str:
    """What is shown of four pieces, of which so many were done at such times."""
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(Console(file=stream, force_terminal=terminal, width=80), clock)
    for now, done in calls:
        clock.now = float(now)
        line("stimuli", done, 4)
    return stream.getvalue()


def test_a_terminal_keeps_one_line_with_the_time_left() -> None:
    shown = written([(0, 0), (10, 1), (10.01, 2), (40, 4)], terminal=True)
    parts = [part.strip() for part in shown.split("\r") if part.strip()]
    assert parts == [
        "stimuli: 0 of 4, 0:00 elapsed",
        "stimuli: 1 of 4, 0:10 elapsed, 0:30 left",
        "stimuli: 4 in 0:40",
    ]
    assert shown.count("\n") == 1


def test_a_log_gets_a_line_now_and_then() -> None:
    shown = written([(second, min(second // 20, 3)) for second in range(62)] + [(80, 4)], terminal=False)
    assert shown.splitlines() == [
        "stimuli: 1 of 4, 0:30 elapsed, 1:30 left",
        "stimuli: 3 of 4, 1:00 elapsed, 0:20 left",
        "stimuli: 4 in 1:20",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_done_at_once_leaves_no_line(terminal: bool) -> None:
    assert written([(0, 0), (0.5, 2), (1, 4)], terminal=terminal).count("\n") == 0


def test_a_single_piece_of_work_and_a_note() -> None:
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(Console(file=stream, force_terminal=True, width=80), clock)
    line("compiling", 0, 1)
    clock.now += 12
    line("compiling", 1, 1)
    line("epochs", 1, 3, "loss 0.500")
    parts = [part.strip() for part in stream.getvalue().split("\r") if part.strip()]
    assert parts[1:] == ["compiling: 0:12", "epochs: 1 of 3, 0:00 elapsed, loss 0.500"]


def test_work_of_which_something_is_said_leaves_a_line() -> None:
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(Console(file=stream, force_terminal=False, width=80), clock)
    for done in range(3):
        line("epochs", done, 2, "loss 0.500")
        clock.now += 0.1
    line("epochs", 1, 9, "loss 0.500")
    line("epochs", 2, 9, "loss 0.400")
    line.end()
    assert stream.getvalue().splitlines() == ["epochs: 2 in 0:00", "epochs: 2 of 9 in 0:00"]


def test_work_that_ends_early_says_how_far_it_came() -> None:
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(Console(file=stream, force_terminal=True, width=80), clock)
    for done in (1, 2):
        line("epochs", done, 20)
        clock.now += 30
    line.end()
    line.end()
    assert stream.getvalue().split("\r")[-1].strip() == "epochs: 2 of 20 in 1:00"
    assert stream.getvalue().endswith("\n")


def test_a_notebook_keeps_no_blank_line() -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    line = ProgressLine(Console(file=stream, force_jupyter=False), Clock())
    line("compiling", 0, 1)
    line("compiling", 1, 1)
    for done in (1, 2, 3):
        line("responses", done, 3)
    assert stream.getvalue().split("\r")[-1].strip() == "compiling: 0:00"


def test_the_same_work_begins_anew() -> None:
    shown = written([(0, 0), (40, 4), (100, 0), (110, 4)], terminal=False)
    assert shown.splitlines() == ["stimuli: 4 in 0:40", "stimuli: 4 in 0:10"]


def test_durations() -> None:
    assert [clock_text(seconds) for seconds in (0.4, 65.0, 3600.0)] == ["0:00", "1:05", "1:00:00"]
