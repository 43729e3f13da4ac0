"""Scripts that other tests call in their own process start in one of theirs as well."""

from pathlib import Path

import pytest

from tests.scripts import start, wait

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", ["compile_for.py", "evaluate.py", "insilico.py", "simulate.py"])
def test_a_script_starts(script: str, tmp_path: Path) -> None:
    done = wait(start(script, "--help", cache=tmp_path / "cache", folder=tmp_path))
    assert "flags:" in done.stdout
    assert done.stderr == ""
