"""The table of ``docs/scores.md``, from what ``presets`` measured."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.presets_reference import CRASHES
from openretina_jax.errors import UserError

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TITLES = (
    "`--config=configs/...`",
    "test (ceiling)",
    "of the ceiling",
    "validation (ceiling)",
    "epochs (best)",
    "neurons (sessions)",
    "recorded",
    "processor",
    "memory",
)
OF_REFERENCE = ("epochs (best)", "validation", "test", "processor", "here: test", "here: processor")

Row = Mapping[str, Any]


def write_table(page: Path, rows: Sequence[Row]) -> None:
    """Replace what stands between the two marks of a page by the tables of all rows.

    Raises:
        UserError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f"{page} has no lines {BEGIN} and {END}, between which the table goes; add them")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    compared = [row for row in rows if row.get("reference")]
    parts = [f"{machine()}, {', '.join(sorted({row['date'] for row in rows}))}.", table(TITLES, map(_ours, rows))]
    if compared:
        parts += [
            "openretina's own command on the same files:",
            table((TITLES[0], *OF_REFERENCE), map(_both, compared)),
            *failures([row["reference"] for row in compared]),
        ]
    page.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}", encoding="utf-8")


def machine() -> str:
    """This machine in a few words."""
    model = platform.processor() or platform.machine()
    for line in (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else ()
    ):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def table(titles: Sequence[str], rows: Any) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(row: Row) -> float:
    """Test correlation in parts of that of a perfect model."""
    return row["test"] / row["test_ceiling"]


def failures(references: Sequence[Row]) -> list[str]:
    """What of openretina failed: after trainings, and configurations that do not train."""
    configs: dict[str, set[str]] = {}
    for one in references:
        if one.get("note"):
            configs.setdefault(one["note"], set()).add(one["config"])
    after = [f"After the training of {', '.join(sorted(names))}, {note}." for note, names in configs.items()]
    never = [f"- `{name}`: {reason}" for name, reason in CRASHES.items()]
    return [*after, "Configurations of openretina that do not train:", "\n".join(never)]


def command(row: Row) -> str:
    """The preset and what differs from it, as on the command line."""
    preset = row["preset"]
    changed = "".join(f" {name}={_plain(value)}" for name, value in preset["settings"].items())
    return f"`{preset['config'].rstrip(':')}{changed}`"


def _plain(value: Any) -> str:
    return f"({','.join(json.dumps(one) for one in value)})" if isinstance(value, list | tuple) else str(value)


def _ours(row: Row) -> list[str]:
    recorded = f"{row['images']} images" if row["images"] else f"{row['minutes']:.0f} min"
    return [
        command(row),
        f"{row['test']:.3f} ({row['test_ceiling']:.3f})",
        f"{share(row):.0%}",
        f"{row['validation']:.3f} ({row['validation_ceiling']:.3f})",
        f"{row['epochs']} ({row['best_epoch']})",
        f"{row['neurons']} ({row['sessions']})",
        recorded,
        *_cost(row),
    ]


def _cost(row: Row) -> list[str]:
    if row["processor_s"] is None:
        return ["in parts", ""]
    return [f"{row['processor_s']:.0f} s", f"{row['memory_gb']:.1f} GB"]


def _both(row: Row) -> list[str]:
    theirs = row["reference"]
    return [
        command(row),
        f"{theirs['epochs']} ({theirs['best_epoch']})",
        f"{theirs['validation']:.3f}",
        f"{theirs['test']:.3f}",
        f"{theirs['processor_s']:.0f} s",
        f"{row['test']:.3f}",
        _cost(row)[0],
    ]
