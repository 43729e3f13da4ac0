"""Measurements of loading, as a user makes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts import call, mistake

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
SMALL = {"n_blocks": 6, "block_frames": 300, "n_images": 2}


def test_loading_is_measured() -> None:
    options = [f"--set={name}={value}" for name, value in SMALL.items()]
    done = subprocess.run(
        [sys.executable, "scripts/benchmark_loading.py", "--source=karamanlis_2024", "--neurons=3", *options],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ,
    )
    first, second = map(json.loads, filter(lambda line: line.startswith("{"), done.stdout.splitlines()))
    assert (first["run"], second["run"]) == ("first", "second")
    assert min(first["seconds"], second["seconds"]) > 0
    assert second["peak_memory_mb"] > second["before_mb"] > 0


def test_only_known_sources_are_measured(cache: Path) -> None:
    line = mistake(call("benchmark_loading.py", "--source=goldin", cache=cache))
    assert line == 'error: the loading of "goldin" is not measured; choose among hoefling_2024, karamanlis_2024'
