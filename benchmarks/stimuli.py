"""How fast most exciting stimuli are found, and how good they are: here, and with openretina on the same weights.

Both climb with the same norm, range and frames; the model here says what their stimuli excite. Openretina's end with a
norm below the one that was asked for, since it clips last. They are therefore compared as they are, and after they were
brought into the constraint exactly.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import openretina_jax
from benchmarks.children import Program, child, ours, reference
from openretina_jax.errors import UserError
from openretina_jax.insilico.constraints import Constraint, of_training
from openretina_jax.insilico.optimize import WINDOW, stimulus_frames
from openretina_jax.insilico.score import mean_responses
from openretina_jax.insilico.targets import neurons, rows_of
from openretina_jax.interop import to_openretina
from openretina_jax.models.model import Model


def measure_stimuli(
    checkpoint: str,
    *,
    chosen: str = "all",
    steps: int = 100,
    seeds: int = 1,
    norm: float | None = None,
    low: float | None = None,
    high: float | None = None,
    threads: int | None = None,
    reference_python: str | None = None,
    of_reference: str = "every:16",
    reference_steps: int = 100,
) -> Iterator[dict[str, Any]]:
    """Optimise stimuli in fresh processes: a line per program, and one that compares them.

    Args:
        checkpoint: a run or a saved model.
        chosen: neurons, see ``insilico.targets.neurons``.
        steps: gradients of every stimulus.
        seeds: starts of every stimulus here, of which the best one counts; openretina has one.
        norm, low, high: constraint of stimuli (None: all of them from the training movies).
        threads: cores of each process (None: all).
        reference_python: the Python in which openretina is installed (None: measure ours alone).
        of_reference: neurons for openretina, which takes them one by one.
        reference_steps: gradients of its stimuli.

    Raises:
        UserError: the model or the neurons are not as they must be, or the reference does not run.
    """
    model = openretina_jax.load(checkpoint)
    frames = stimulus_frames(model, WINDOW)
    channels = model.data_info.input_shape[2]
    given = norm is not None or low is not None or high is not None
    constraint = (
        Constraint.of(channels, norm=norm, low=low, high=high) if given else of_training(model.data_info, frames)
    )
    if constraint.norm is None:
        raise UserError("openretina's recipe needs a norm; give one")
    with tempfile.TemporaryDirectory(prefix="stimuli-") as folder:
        task = {
            "checkpoint": str(checkpoint),
            "folder": folder,
            "steps": steps,
            "seeds": seeds,
            "frames": frames,
            "window": WINDOW,
            "norm": float(constraint.norm),
            "low": np.asarray(constraint.low).tolist(),
            "high": np.asarray(constraint.high).tolist(),
            "threads": threads or len(os.sched_getaffinity(0)),
        }
        line, _ = _measured(ours("stimuli_ours.py"), {**task, "rows": rows_of(model, chosen)}, 1)
        yield line
        if reference_python is None:
            return
        rows = rows_of(model, of_reference)
        to_openretina(model, Path(folder) / "model.npz")
        places = {"sessions": [_place(model, row) for row in rows], "rows": rows}
        other, theirs = _measured(
            reference(reference_python, "stimuli_reference.py"), {**task, **places, "steps": reference_steps}, 0
        )
        yield other
        again, same = _measured(ours("stimuli_ours.py"), {**task, "rows": rows}, 1)
        yield again
        moved = np.asarray(constraint.apply(jnp.asarray(theirs, jnp.float32)))
        mine, other_as_is, other_moved = (
            mean_responses(model, movies, neurons(model, rows), WINDOW) for movies in (same, theirs, moved)
        )
        yield {
            "implementation": "openretina / openretina_jax",
            "ratio": {
                "seconds of a neuron": round(_of_neuron(other) / _of_neuron(line), 1),
                "seconds of a step": round(other["ms_per_neuron_and_step"] / line["ms_per_neuron_and_step"], 1),
            },
            "mean_activation": [round(float(one.mean()), 3) for one in (mine, other_as_is, other_moved)],
            "share_at_least_as_high": [_share(mine, one) for one in (other_as_is, other_moved)],
            "mean_norm": round(float(np.sqrt(np.square(theirs).sum(axis=(1, 2, 3, 4))).mean()), 2),
            "neurons": len(rows),
        }


def _place(model: Model, row: int) -> tuple[str, int]:
    """Session of a neuron, and its number there."""
    for session in model.data_info.sessions:
        first, count = model.rows(session)
        if first <= row < first + count:
            return session, row - first
    raise AssertionError(f"no session has row {row}")


def _measured(program: Program, task: dict[str, Any], repeats: int) -> tuple[dict[str, Any], np.ndarray]:
    """A line, of the last repeat where there are any, since the first one compiles; and the stimuli."""
    with child(program, task) as process:
        first = {"seconds": process.about["compile_seconds"], "peak_memory_mb": process.about["peak_memory_mb"]}
        done = [first, *(process.repeat() for _ in range(repeats))][-1]
    count = len(task["rows"])
    line = {
        "implementation": program.implementation,
        "neurons": count,
        "steps": task["steps"],
        "seeds": task["seeds"] if program.implementation == "openretina_jax" else 1,
        "threads": task["threads"],
        "first_seconds": round(first["seconds"], 2),
        "seconds": round(done["seconds"], 2),
        "ms_per_neuron_and_step": round(1000 * done["seconds"] / count / task["steps"], 3),
        "peak_memory_mb": round(done["peak_memory_mb"], 1),
    }
    return line, np.load(Path(task["folder"]) / f"{program.implementation}.npy")


def _of_neuron(line: dict[str, Any]) -> float:
    """Seconds that a neuron took."""
    return line["seconds"] / line["neurons"]


def _share(mine: np.ndarray, other: np.ndarray) -> float:
    """Share of neurons that are excited as much, to a thousandth."""
    return round(float((mine >= other - 1e-3 * np.abs(other)).mean()), 3)
