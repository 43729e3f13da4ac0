"""Where the time of a training step goes on a CPU: every operation of its program, with its work and its bytes.

    taskset -c 0 python -m benchmarks.operations --config=configs/hoefling_low_res.py

takes the step of ``scripts/benchmark.py --measure=train_step``, lets JAX's profiler time every operation of the
compiled program, and sets beside it what the text of the program says: multiplications and additions of products, and
the bytes that an operation reads and writes.
"""

import argparse
import collections
import contextlib
import dataclasses
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from benchmarks import ours
from benchmarks.ceiling import matmul_operations_per_second
from benchmarks.programs import INSTRUCTION, bytes_of, operands
from benchmarks.run import frame_shape, make_task
from openretina_jax.experiment.command_line import keep_freed_memory
from openretina_jax.experiment.notebook import changed
from openretina_jax.experiment.recipe import resolved

STEPS = 10  # that are traced
ARRAY = re.compile(r"\b[a-z]+\d*\[([\d,]*)\]")
CALLED = re.compile(r"calls=%?([\w.-]+)")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{$")
# that take no time, or whose operations have times of their own
NOT_MEASURED = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional")
SUMS = {"reduce", "reduce-window"}
MOVES = {"copy", "transpose", "dynamic-slice", "dynamic-update-slice", "broadcast", "pad", "slice", "gather"}
COMPUTATIONS = {"multiply", "add", "exponential", "select"}


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction of a compiled program.

    Attributes:
        kind: "product", "sum", "copy" or "pointwise".
        operations: multiplications and additions of its products.
        bytes: read and written.
        source: the function that it comes from.
    """

    kind: str
    operations: int
    bytes: int
    source: str


def operations(program: str) -> dict[str, Operation]:
    """The instructions of a program by name, of its text as XLA prints it after its optimisations."""
    bodies: dict[str, dict[str, tuple[str, str, str]]] = collections.defaultdict(dict)
    body = ""
    for text in program.splitlines():
        if begun := COMPUTATION.match(text):
            body = begun[1]
        elif found := INSTRUCTION.match(text):
            bodies[body][found[1]] = (found[2], found[3], found[4])
    fused = {name for body in bodies.values() for *_, rest in body.values() for name in CALLED.findall(rest)}
    return {
        name: _operation(name, instruction, instructions, bodies)
        for body, instructions in bodies.items()
        for name, instruction in instructions.items()
        if body not in fused and instruction[1] not in NOT_MEASURED
    }


def _operation(
    name: str, instruction: tuple[str, str, str], beside: Mapping[str, Any], bodies: Mapping[str, Mapping[str, Any]]
) -> Operation:
    shape, _, rest = instruction
    inner = {name: part for called in CALLED.findall(rest) for name, part in bodies[called].items()}
    parts = {**inner, name: instruction}
    work = sum(_multiply_adds(part, {**beside, **inner}) for part in parts.values())
    codes = {part[1] for part in parts.values()}
    read = [bytes_of(beside[argument][0]) for argument in operands(rest) if argument in beside]
    written = bytes_of(shape)
    if "dynamic-update-slice" in codes:  # in place: of the arrays, all but the largest
        touched = 2 * (sum(read) - max(read))
    elif "dynamic-slice" in codes:
        touched = 2 * written
    else:
        touched = sum(read) + written
    source = re.search(r'op_name="([^"]*)"', rest)
    return Operation("product" if work else _kind(codes), work, touched, source[1] if source else "")


def _kind(codes: set[str]) -> str:
    """What the instructions of an operation without products do."""
    if codes & SUMS:
        return "sum"
    return "copy" if codes & MOVES and not codes & COMPUTATIONS else "pointwise"


def _size(dimensions: str) -> int:
    return math.prod(map(int, filter(None, dimensions.split(","))))


def _multiply_adds(instruction: tuple[str, str, str], beside: Mapping[str, Any]) -> int:
    """Multiplications and additions of a matrix product, 0 for anything else."""
    shape, code, rest = instruction
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
    if code != "dot" or contracted is None:
        return 0
    left = re.findall(r"%([\w.-]+)", rest)[0]
    sizes = ARRAY.findall(beside[left][0])[0].split(",")
    terms = math.prod(int(sizes[int(axis)]) for axis in contracted[1].split(","))
    return 2 * terms * sum(_size(dimensions) for dimensions in ARRAY.findall(shape))


@contextlib.contextmanager
def traced() -> Iterator[dict[str, list[float]]]:
    """Fill a table with the seconds of every event of the context, by its name, when it ends."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            yield found
        (file,) = Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    found[event.name].append(event.duration_ns / 1e9)


def measure(settings: Mapping[str, Any], windows: int, frames: int) -> pd.DataFrame:
    """A row for every operation of a training step: its milliseconds, times, work and bytes in one step."""
    task = make_task(
        settings,
        settings["model"]["core"],
        measure="train_step",
        variant="configured",
        threads=len(os.sched_getaffinity(0)),
        input_shape=frame_shape(settings["data"]),
        neurons=60,
        windows=windows,
        frames=frames,
    )
    keep_freed_memory()  # as the scripts do
    step = ours.Training(dataclasses.asdict(task)).train_step()
    for _ in range(3):
        jax.block_until_ready(step.run())
    with traced() as seconds:
        for _ in range(STEPS):
            jax.block_until_ready(step.run())
    rows = [
        {
            "operation": name,
            "kind": operation.kind,
            "ms": 1e3 * sum(seconds[name]) / STEPS,
            "times": len(seconds[name]) / STEPS,
            "gigaoperations": operation.operations * len(seconds[name]) / STEPS / 1e9,
            "gigabytes": operation.bytes * len(seconds[name]) / STEPS / 1e9,
            "source": operation.source,
        }
        for name, operation in operations(step.text).items()
        if name in seconds
    ]
    return pd.DataFrame(rows).sort_values("ms", ascending=False)


def with_speeds(table: pd.DataFrame) -> pd.DataFrame:
    """The table with operations and bytes a second, in 10^9."""
    seconds = table["ms"] / 1e3
    return table.assign(
        **{"gigaoperations/s": table["gigaoperations"] / seconds, "gigabytes/s": table["gigabytes"] / seconds}
    ).round(2)


def main() -> None:
    """Print the kinds of operations, and those that take longest."""
    parser = argparse.ArgumentParser(description="Where the time of a training step goes on a CPU.")
    parser.add_argument("--config", default="configs/hoefling_low_res.py", help="configuration file and words")
    parser.add_argument("--windows", type=int, default=128, help="windows of the step")
    parser.add_argument("--frames", type=int, default=50, help="frames of a window")
    parser.add_argument("--most", type=int, default=30, help="operations to print")
    arguments = parser.parse_args()
    table = measure(resolved(changed(arguments.config, {}).to_dict()), arguments.windows, arguments.frames)
    numbers = ["ms", "times", "gigaoperations", "gigabytes"]
    kinds = table.groupby("kind")[numbers].sum().sort_values("ms", ascending=False)
    kinds.loc["all"] = kinds.sum()
    print(with_speeds(kinds).to_string())
    print(f"\na large product: {matmul_operations_per_second() / 1e9:.0f} gigaoperations/s\n")
    print(with_speeds(table.head(arguments.most)).to_string(index=False))


if __name__ == "__main__":
    main()
