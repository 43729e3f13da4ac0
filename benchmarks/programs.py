"""What the text of a compiled program says."""

import math
import re
from collections import Counter
from typing import Any

COMMUNICATIONS = "all-reduce|reduce-scatter|all-gather|all-to-all|collective-permute"


def of_a_step(program: str) -> dict[str, Any]:
    """Communications and kernels in the body of the loop over steps, the largest loop of a compiled program."""
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
    }


def kernels(program: str) -> int:
    """Kernels that a compiled program starts outside of loops."""
    begins = program.index("\nENTRY ")
    return _kernels(program[begins : program.index("\n}", begins)])


def _kernels(instructions: str) -> int:
    return len(re.findall(r" (?:fusion|custom-call|convolution|dot|copy)\(", instructions))


def bytes_of(shapes: str) -> int:
    """Size of arrays as XLA writes them, such as ``(f32[16,2]{1,0}, s32[])``."""
    return sum(
        int(bits or 8) // 8 * math.prod(int(size) for size in sizes.split(",") if size)
        for bits, sizes in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", shapes)
    )
