"""The scripts of the checkout, started as users do, or called in this process where what they say and write counts."""

import contextlib
import copy
import dataclasses
import io
import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import pytest
from absl import app, flags
from jax.experimental.compilation_cache import compilation_cache
from matplotlib.figure import Figure

from openretina_jax.experiment import command_line
from tests.kept import with_programs

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300


@dataclasses.dataclass(frozen=True)
class Done:
    """What a script that has ended wrote to standard output and standard error, and its exit status."""

    stdout: str
    stderr: str
    returncode: int


def start(script: str, *arguments: str, cache: Path, folder: Path = ROOT) -> subprocess.Popen[str]:
    """Start a script in a process of its own, as a user does in that folder."""
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(with_programs(cache))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def wait(process: subprocess.Popen[str]) -> Done:
    """Wait for the end of a script."""
    return Done(*process.communicate(timeout=TIMEOUT_S), process.returncode)


def call(script: str, *arguments: str, cache: Path, folder: Path = ROOT, parse_only: bool = False) -> Done:
    """Run a script in this process, which has imported everything already; its pictures stay blank.

    With ``parse_only`` it ends when it has read its flags.
    """
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, own_state(folder):
        patch.setenv("OPENRETINA_JAX_CACHE", str(with_programs(cache)))
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script, *arguments])
        act = (lambda rest: None) if parse_only else None
        patch.setattr(app, "run", lambda main, flags_parser: (act or main)(flags_parser(sys.argv)))
        patch.setattr(command_line, "keep_freed_memory", lambda: None)
        patch.setattr(command_line, "collect_garbage_rarely", lambda: None)
        patch.setattr(Figure, "draw", lambda figure, renderer: None)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
            except SystemExit as end:
                status = int(end.code or 0)
    return Done(output.getvalue(), errors.getvalue(), status)


def printed(done: Done) -> str:
    """What a script printed that ended well."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def mistake(done: Done) -> str:
    """The one line that a user's mistake gives."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@contextlib.contextmanager
def own_state(folder: Path) -> Iterator[None]:
    """Block after which flags, logging, environment and paths are as before, and programs are not kept on disk.

    Modules of a folder outside the checkout are forgotten: others may have the same names.
    """
    with contextlib.ExitStack() as stack:
        for where, kept in ((vars(flags.FLAGS), _copy(vars(flags.FLAGS))), (os.environ, {})):
            stack.enter_context(mock.patch.dict(where, kept, clear=bool(kept)))
        stack.enter_context(mock.patch.object(sys, "path", list(sys.path)))
        for logger in map(logging.getLogger, ("", "openretina_jax")):
            stack.callback(logger.setLevel, logger.level)
            stack.enter_context(mock.patch.object(logger, "handlers", list(logger.handlers)))
        stack.callback(compilation_cache.reset_cache)
        stack.callback(jax.config.update, "jax_compilation_cache_dir", jax.config.jax_compilation_cache_dir)
        compilation_cache.reset_cache()
        yield
        if folder != ROOT:
            inside = f"{folder}{os.sep}"  # a comparison of thousands of paths would take a tenth of a second
            for name, module in list(sys.modules.items()):
                places = [getattr(module, "__file__", None) or "/", *getattr(module, "__path__", ())]
                if any(f"{place}{os.sep}".startswith(inside) for place in places):
                    del sys.modules[name]


def _copy(flag_values: dict[str, Any]) -> dict[str, Any]:
    """The inside of flags, whose tables are dictionaries, some of them of lists."""

    def copied(value: Any) -> Any:
        return {key: copied(item) for key, item in value.items()} if isinstance(value, dict) else copy.copy(value)

    return {name: value if name == "__flags" else copied(value) for name, value in flag_values.items()} | {
        "__flags": dict(flag_values["__flags"])
    }
