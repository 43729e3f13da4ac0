"""What the text of a compiled program says."""

import math
import re
from collections import Counter
from typing import Any

# name, shapes, kind, and what follows: operands up to the first ")", then what is said of them
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$", re.MULTILINE)
COMMUNICATIONS = "all-reduce|reduce-scatter|all-gather|all-to-all|collective-permute"


def of_a_step(program: str) -> dict[str, Any]:
    """What the body of the loop over steps has, the largest loop of a compiled program.

    Returns:
        Communications by kind, and the bytes of their results; the number of kernels, and the bytes that XLA's own
        read and write.
    """
    bodies = {}
    for name in re.findall(r"body=%?([\w.\-]+)", program):
        begins = re.search(rf"^%?{re.escape(name)} .*\{{$", program, re.MULTILINE)
        if begins is not None:
            bodies[name] = program[begins.end() : program.index("\n}", begins.end())]
    body = max(bodies.values(), key=len, default="")
    found = re.findall(rf"= (.*?) ({COMMUNICATIONS})(?:-start)?\(", body)
    return {
        "communications": dict(Counter(kind for _, kind in found)),
        "communicated_bytes": sum(bytes_of(shapes) for shapes, _ in found),
        "kernels": _kernels(body),
        "kernel_bytes": _kernel_bytes(body),
    }


def kernels(program: str) -> int:
    """Kernels that a compiled program starts outside of loops."""
    begins = program.index("\nENTRY ")
    return _kernels(program[begins : program.index("\n}", begins)])


def _kernels(instructions: str) -> int:
    return len(re.findall(r" (?:fusion|custom-call|convolution|dot|copy)\(", instructions))


def _kernel_bytes(body: str) -> int:
    """Bytes read and written by kernels that are not the library's.

    What the loop carries does not count as read: recordings, of which a step reads little, and parameters.
    """
    sizes: dict[str, int] = {}
    carried: set[str] = set()
    total = 0
    for name, shapes, kind, rest in INSTRUCTION.findall(body):
        sizes[name], read = bytes_of(shapes), operands(rest)
        if kind == "parameter" or (kind == "get-tuple-element" and carried.issuperset(read)):
            carried.add(name)
        elif kind in ("fusion", "copy"):
            total += sizes[name] + sum(sizes.get(one, 0) for one in read if one not in carried)
    return total


def operands(rest: str) -> list[str]:
    """Names of what an instruction reads."""
    return re.findall(r"%([\w.-]+)", rest.partition(")")[0])


def bytes_of(shapes: str) -> int:
    """Size of arrays as XLA writes them, such as ``(f32[16,2]{1,0}, s32[])``."""
    return sum(
        int(bits or 8) // 8 * math.prod(int(size) for size in sizes.split(",") if size)
        for bits, sizes in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", shapes)
    )
