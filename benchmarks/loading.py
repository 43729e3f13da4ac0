"""How long it takes, and how much memory, until recordings are ready for training: here, and with openretina.

Both get the same simulated files. Each is measured in a fresh process, twice: the first time movies are rendered or
unpacked and kept on the disk, the second time they are there.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.children import Program, child, ours, reference
from openretina_jax.errors import UserError
from openretina_jax.simulation.cache import simulate
from openretina_jax.simulation.writing import Progress
from openretina_jax.sources.hoefling_2024.cells import GANGLION_CELL_TYPES
from openretina_jax.sources.hoefling_2024.sessions import VALIDATION_CLIPS
from openretina_jax.sources.karamanlis_2024 import N_VALIDATION_CLIPS

# the published way to load each source, without words that both programs take by default
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "hoefling_2024": {
        "resolution": "72x64",
        "trace_type": "spikes",
        "norm_by_std": True,
        "scale_traces": 1.0,
        "quality": {"cell_types": GANGLION_CELL_TYPES},
        "validation_clips": VALIDATION_CLIPS,
        "pixel_size_um": 12.5,
    },
    "karamanlis_2024": {
        "species": "mouse",
        "stimulus": "fixationmovie",
        "size": (60, 80),
        "fr_normalization": 1.0,
        "onset_frames": 0,
        "clip_length": 75,
        "validation_clips": N_VALIDATION_CLIPS,
        "split_seed": 42,
    },
}
RUNS = ("first", "second")


def measure_loading(
    source: str,
    *,
    sessions: int,
    neurons: int,
    options: Sequence[str] = (),
    reference_python: str | None = None,
    progress: Progress | None = None,
) -> Iterator[dict[str, Any]]:
    """Simulate files, and load them in fresh processes: a line per program and run, and ratios.

    Args:
        source: one of ``SETTINGS``.
        sessions, neurons: number of sessions, and of the neurons of each.
        options: others of the simulation, as "name=value".
        reference_python: the Python in which openretina is installed (None: measure ours alone).
        progress: told what is simulated.

    Raises:
        UserError: a wrong choice, or the reference does not run.
    """
    if source not in SETTINGS:
        raise UserError(f'the loading of "{source}" is not measured; choose among {", ".join(SETTINGS)}')
    programs: list[tuple[Program, Callable[[Path, Mapping[str, Path]], Any]]] = [
        (ours("loading_ours.py"), lambda folder, files: files)
    ]
    if reference_python is not None:
        # openretina writes into folders that it reads
        programs.append((reference(reference_python, "loading_reference.py"), _copied))
    with tempfile.TemporaryDirectory(prefix="loading-") as work:
        named = {"n_sessions": sessions, "neurons_per_session": neurons}
        files = _unpacked(simulate(source, Path(work) / "files", named, options, progress))
        lines = []
        for program, prepared in programs:
            folder = Path(work) / program.implementation
            own = {setting: str(path) for setting, path in prepared(folder, files).items()}
            for run in RUNS:
                lines.append(_measured(program, source, {**SETTINGS[source], **own}, run, folder / "cache"))
                yield lines[-1]
    for here, there in zip(lines[: len(RUNS)], lines[len(RUNS) :], strict=False):
        yield {
            "source": source,
            "run": here["run"],
            "implementation": f"{there['implementation']} / {here['implementation']}",
            "ratio": {name: round(there[name] / here[name], 2) for name in ("seconds", "peak_memory_mb")},
        }


def _measured(program: Program, source: str, settings: Mapping[str, Any], run: str, cache: Path) -> dict[str, Any]:
    """Load in a fresh process; ``before_mb`` is what its libraries need."""
    task = {"source": source, "settings": settings, "cache": str(cache), "threads": len(os.sched_getaffinity(0))}
    with child(program, task) as process:
        return {
            "source": source,
            "run": run,
            "implementation": program.implementation,
            "seconds": round(process.about["compile_seconds"], 2),  # of the first piece of work, which is this
            "peak_memory_mb": round(process.about["peak_memory_mb"], 1),
            "before_mb": round(process.about["before_mb"], 1),
        }


def _unpacked(files: Mapping[str, Path]) -> dict[str, Path]:
    """Files out of their archives, which openretina unpacks only if it has fetched them."""
    unpacked = {}
    for setting, path in files.items():
        unpacked[setting] = path
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                (member,) = archive.namelist()
                unpacked[setting] = Path(archive.extract(member, path.parent))
            path.unlink()
    return unpacked


def _copied(folder: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    copies = {}
    for setting, path in files.items():
        copies[setting] = folder / path.name
        if path.is_dir():
            shutil.copytree(path, copies[setting])
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copies[setting])
    return copies
