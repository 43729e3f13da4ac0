"""The parent's side of a measurement: fresh processes that are asked for one repeat at a time."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from openretina_jax.errors import UserError

_HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Program:
    """What can be measured.

    Attributes:
        implementation: name of the package that does the work.
        python: interpreter that has it.
        file: has a function ``prepare``, see ``serving``.
        environment: variables of the process, besides those of this one.
        remedy: what a user can do if it fails (None: nothing, a failure is a bug of ours).
        of_task: fields of a task that are other ones for this program.
    """

    implementation: str
    python: str
    file: Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    remedy: str | None = None
    of_task: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def ours(file: str = "ours.py") -> Program:
    """This package, as it is imported here."""
    folders = [str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return Program("openretina_jax", sys.executable, _HERE / file, {"PYTHONPATH": os.pathsep.join(folders)})


def singly() -> Program:
    """This package with the models of a population one after the other."""
    return dataclasses.replace(
        ours(), implementation="openretina_jax, one by one", of_task={"measure": "population_singly"}
    )


def reference(python: str, file: str = "reference.py", name: str = "openretina") -> Program:
    """The reference in that interpreter.

    Args:
        python: the interpreter.
        file: of the program.
        name: of the library that it needs.

    Raises:
        UserError: there is no such interpreter.
    """
    if shutil.which(python) is None:
        raise UserError(f"there is no Python interpreter {python}; give the one in which {name} is installed")
    return Program(name, python, _HERE / file, remedy=f"install {name} there, or give another one")


def torch_alone(python: str) -> Program:
    """The reference's layers in that interpreter, written in torch: openretina need not be there."""
    return reference(python, "torch_layers.py", "torch")


class Child:
    """A process that has prepared a task.

    Attributes:
        about: what the program says of the task.
    """

    def __init__(
        self, program: Program, task: Mapping[str, Any], process: subprocess.Popen[bytes], complaints: IO[bytes]
    ):
        self._program, self._process, self._complaints = program, process, complaints
        self.about = self._ask(task)

    def repeat(self) -> dict[str, float]:
        """Do the work once.

        Returns:
            Its ``seconds`` and ``core_seconds`` (of all threads), and the ``peak_memory_mb`` of the process so far.

        Raises:
            UserError: the program failed.
        """
        return self._ask("repeat")

    def work_memory_mb(self) -> float:
        """By how much the memory of the process grows, at its peak, while it does the work once more.

        Raises:
            UserError: the program failed.
        """
        return self._ask("memory")["work_memory_mb"]

    def _ask(self, request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise self._failure()
        return json.loads(answer)

    def _failure(self) -> Exception:
        """Why there was no answer."""
        status = self._process.wait()
        self._complaints.seek(0)
        text = self._complaints.read().decode(errors="replace").strip()
        last = text.splitlines()[-1] if status > 0 and text else f"it was ended by {_cause(status)}"
        kind, _, message = last.partition(": ")
        if kind.endswith("UserError"):
            return UserError(message)
        if self._program.remedy is None:
            return RuntimeError(f"{self._program.implementation} failed: {last}\n{text}")
        return UserError(
            f"{self._program.implementation} does not run in {self._program.python}: {last}; {self._program.remedy}"
        )


@contextlib.contextmanager
def child(program: Program, task: Mapping[str, Any]) -> Iterator[Child]:
    """A fresh process that has prepared the task; it ends with the context.

    Raises:
        UserError: the program cannot do the task.
    """
    command = [program.python, str(_HERE / "serving.py"), str(program.file)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | program.environment,
        ) as process,
    ):
        try:
            yield Child(program, {**task, **program.of_task}, process, complaints)
        finally:
            process.kill()


def _cause(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


def run_to_end(
    command: Sequence[str], folder: Path, log: IO[str], environment: Mapping[str, str]
) -> tuple[bool, dict[str, float]]:
    """Run a program to its end, and measure the whole of it.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        log: takes what it prints.
        environment: variables, besides those of this process.

    Returns:
        Whether it succeeded; ``processor_s``, ``passed_s``, and ``memory_gb`` at the peak.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=os.environ | dict(environment)
    )
    _, status, usage = os.wait4(process.pid, 0)  # of this child alone
    process.returncode = os.waitstatus_to_exitcode(status)
    return not status, {
        "processor_s": usage.ru_utime + usage.ru_stime,
        "passed_s": time.perf_counter() - began,
        "memory_gb": usage.ru_maxrss / 1e6,
    }
