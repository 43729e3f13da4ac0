"""The lines of a measurement as a table for people."""

from collections.abc import Iterable, Mapping
from typing import Any

Line = Mapping[str, Any]
TITLES = ("variant", "work", "threads", "openretina", "here", "ratio", "first call", "peak memory", "of the work")


def table(lines: Iterable[Line]) -> str:
    """A Markdown table with a row for each measurement.

    Seconds are the least of the repeats, which other programs disturb least. Of the first call, which compiles, and of
    the memory the reference's figure comes first. Memory "of the work" is by how much the process grows while it works.

    Args:
        lines: those of ``run.benchmark``.
    """
    groups: list[list[Line]] = []
    for line in lines:
        if line["implementation"] == "openretina_jax":
            groups.append([])
        groups[-1].append(line)
    rows = [TITLES, ("---",) * len(TITLES), *(_row(*group) for group in groups)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(ours: Line, reference: Line | None = None, ratio: Line | None = None) -> tuple[str, ...]:
    both = [ours] if reference is None else [reference, ours]
    return (
        ours["variant"] if ours["lowering"] in (None, "auto") else f"{ours['variant']}, {ours['lowering']}",
        ours["name"].replace("_", " "),
        str(ours["threads"]),
        "" if reference is None else f"{reference['seconds']['min']:.3g} s",
        f"{ours['seconds']['min']:.3g} s",
        "" if ratio is None else f"{ratio['ratio']['min']:.2f}",
        " / ".join(f"{line['compile_seconds']:.2g} s" for line in both),
        " / ".join(f"{line['peak_memory_mb'] / 1000:.2f} GB" for line in both),
        " / ".join(f"{line['work_memory_mb'] / 1000:.2f} GB" for line in both),
    )
