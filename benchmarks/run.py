"""Measurements of a model configuration: what is measured, and the lines that come of it."""

import contextlib
import dataclasses
import itertools
import math
import os
import platform
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import psutil

from benchmarks.children import Program, child, ours, reference, singly, torch_alone
from benchmarks.translation import translate
from openretina_jax.errors import UserError
from openretina_jax.modules.kernels.lowerings import Lowering

MEASURES = ("forward", "train_step", "eval_step", "epoch", "epoch_shared", "population", "stream")
STIMULUS_CHANNELS = 2  # ultraviolet and green
STEPS_PER_SESSION = 2  # of an epoch, as with the recordings of Höfling et al. 2024
CLIP_FRAMES, VALIDATION_CLIPS = 150, 15  # likewise
REFERENCES = {"openretina": reference, "torch": torch_alone}


@dataclasses.dataclass(frozen=True)
class Task:
    """One measurement, as the programs get it.

    Attributes:
        measure: one of ``MEASURES``.
        variant: name of the variant of the configuration.
        threads: cores that the process may use.
        settings: of the model and its training, as runs keep them.
        lowering: how the model's convolutions are computed (None: there is no choice).
        input_shape: ``(height, width, channel)`` of a frame.
        sessions: of the random recordings; all saw the same clips.
        neurons: of each session.
        windows, frames: windows of a training step (of one session), and their length.
        training_clips, validation_clips, clip_frames: clips of the movie, and their length.
        counterpart: the reference's words for model and optimiser, see ``translation`` (None: it is not measured).
    """

    measure: str
    variant: str
    threads: int
    settings: Mapping[str, Any]
    lowering: str | None
    input_shape: tuple[int, int, int]
    sessions: int
    neurons: int
    windows: int
    frames: int
    training_clips: int
    validation_clips: int
    clip_frames: int = CLIP_FRAMES
    counterpart: Mapping[str, Any] | None = None


def benchmark(
    variants: Mapping[str, Mapping[str, Any]],
    *,
    measures: Sequence[str],
    threads: Sequence[int],
    lowerings: Sequence[str],
    repeats: int,
    sessions: int,
    neurons: int,
    windows: int,
    frames: int,
    input_shape: tuple[int, int, int] | None = None,
    reference_python: str | None,
    against: str = "openretina",
) -> Iterator[dict[str, Any]]:
    """Measure model configurations: one line per measurement and implementation, and their ratio.

    ``forward`` is the prediction, in evaluation mode, of the windows of one session, ``train_step`` a training step on
    them, ``eval_step`` the evaluation of the validation clips of one session. ``epoch`` goes through all sessions, one
    per step, and then evaluates all; ``epoch_shared`` has all sessions in every step. ``population`` is such an epoch,
    without the evaluation, of each of 8 models in one program; beside it, in turns, that of one model after the other.
    Data are random and in memory. The reference has no shared epoch; there its only kind of epoch is measured, which
    goes through the same frames and responses.

    Args:
        variants: the settings of each by its name, with the chosen kinds alone.
        measures: some of ``MEASURES``.
        threads: numbers of cores to measure with.
        lowerings: how convolutions are computed (none given: as the configuration says), see ``lowerings``.
        repeats: of each measurement; both implementations take turns.
        sessions: of an epoch.
        neurons: of each session.
        windows, frames: windows of a training step, and their length.
        input_shape: ``(height, width, channel)`` of a frame (None: as the configuration says).
        reference_python: the Python in which the reference is installed (None: measure ours alone).
        against: the reference, one of ``REFERENCES``.

    Raises:
        UserError: a wrong choice, or the reference does not run.
    """
    _check(measures, MEASURES, "measure")
    _check(lowerings, get_args(Lowering), "lowering")
    _check_threads(threads)
    programs = [ours()] if reference_python is None else [ours(), REFERENCES[against](reference_python)]
    sizes = {"neurons": neurons, "windows": windows, "frames": frames}
    ways: Sequence[str | None] = lowerings or [None]
    plans = [
        (name, settings, _core(name, settings["model"]["core"], lowering))
        for name, settings in variants.items()
        for lowering in ways
    ]
    for (name, settings, core), measure, cores in itertools.product(plans, measures, threads):
        shape = input_shape or frame_shape(settings["data"])
        task = make_task(settings, core, variant=name, measure=measure, threads=cores, input_shape=shape, **sizes)
        if measure.startswith(("epoch", "population")):
            task = dataclasses.replace(task, sessions=sessions)
        if measure == "population":
            yield from take(task, [ours(), singly()], repeats)
            continue
        if measure == "stream":  # the reference predicts whole movies alone
            yield from take(task, [ours()], repeats)
            continue
        if reference_python is not None:
            task = dataclasses.replace(task, counterpart=translate(task.settings, task.input_shape[2]))
        yield from take(task, programs, repeats)


def make_task(
    settings: Mapping[str, Any], core: Mapping[str, Any], *, measure: str, windows: int, frames: int, **more: Any
) -> Task:
    """The measurement of a configuration with that core, on one session."""
    return Task(
        measure=measure,
        settings={**settings, "model": {**settings["model"], "core": core}},
        lowering=core.get("lowering") if _has_lowering(core) else None,
        sessions=1,
        windows=windows,
        frames=frames,
        training_clips=math.ceil(STEPS_PER_SESSION * windows * frames / CLIP_FRAMES),
        # peak memory counts: no clips that are not needed
        validation_clips=VALIDATION_CLIPS if measure.startswith(("eval_step", "epoch")) else 1,
        **more,
    )


def _core(variant: str, core: Mapping[str, Any], lowering: str | None) -> Mapping[str, Any]:
    """Options of the core with that lowering (None: its own).

    Raises:
        UserError: it has none.
    """
    if lowering is None:
        return core
    if not _has_lowering(core):
        raise UserError(
            f'variant "{variant}" has no lowering to choose; "custom_separable" convolutions alone have one'
        )
    return {**core, "lowering": lowering}


def _has_lowering(core: Mapping[str, Any]) -> bool:
    return core["kind"] != "identity" and core.get("convolution", "custom_separable") == "custom_separable"


def take(task: Task, programs: Sequence[Program], repeats: int) -> list[dict[str, Any]]:
    """Measure a task with one or two programs that take turns, so that a busy machine disturbs both alike.

    Returns:
        A line per program; after two, the time of the second in units of the first's. ``busy_with_others`` says how
        many cores other processes used meanwhile; where it is not near 0, prefer the least of the times.

    Raises:
        UserError: a program cannot do the task.
    """
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(program, dataclasses.asdict(task))) for program in programs]
        began, busy = time.perf_counter(), _core_seconds_of_all()
        turns = [[each.repeat() for each in children] for _ in range(repeats)]
        elapsed, busy = time.perf_counter() - began, _core_seconds_of_all() - busy
        work_memory = [each.work_memory_mb() for each in children]
    own = sum(answer["core_seconds"] for answers in turns for answer in answers)
    others = max(busy - own, 0) / elapsed
    machine = {"cpu": _cpu_model(), "cores": os.cpu_count(), "busy_with_others": round(others, 2)}
    lines = [
        _line(task, program.implementation, each.about, answers, memory, machine)
        for program, each, answers, memory in zip(
            programs, children, zip(*turns, strict=True), work_memory, strict=True
        )
    ]
    if len(lines) == 2:
        first, second = lines
        ratio = {name: round(second["seconds"][name] / first["seconds"][name], 3) for name in ("median", "min")}
        both = f"{second['implementation']} / {first['implementation']}"
        same = {name: first[name] for name in ("name", "variant", "lowering", "threads")}
        lines.append({**same, "implementation": both, "ratio": ratio})
    return lines


def _line(
    task: Task,
    implementation: str,
    about: Mapping[str, Any],
    answers: Sequence[Mapping[str, float]],
    work_memory_mb: float,
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    seconds = [answer["seconds"] for answer in answers]
    median = statistics.median(seconds)
    height, width, channels = task.input_shape
    recordings = {"sessions": task.sessions, "neurons": task.neurons}
    line = {
        "name": task.measure,
        "variant": task.variant,
        "implementation": implementation,
        "lowering": about["lowering"],
        "shape": about["shape"] | recordings | {"height": height, "width": width, "channels": channels},
        "threads": task.threads,
        "devices": about.get("devices", 1),
        "repeats": len(seconds),
        "seconds": {"median": round(median, 6), "min": round(min(seconds), 6)},
        "windows_per_second": round(about["windows"] / median, 2),
        "peak_memory_mb": round(answers[-1]["peak_memory_mb"], 1),
        "work_memory_mb": round(work_memory_mb, 1),
        "compile_seconds": round(about["compile_seconds"], 3),
        "machine": {**machine, "device": about["device"], "versions": about["versions"]},
    }
    if "kernels" in about:
        line["kernels"] = about["kernels"]
    if "handover_bytes_per_second" in about:
        line["handover_gb_per_second"] = round(about["handover_bytes_per_second"] / 1e9, 1)
    if "operations" in about:
        reached = about["operations"] / median
        line["operations"] = about["operations"]
        line["share_of_matmul"] = round(reached / about["matmul_operations_per_second"], 3)
    return line


def frame_shape(data: Mapping[str, Any]) -> tuple[int, int, int]:
    """Height, width and channels of the frames that a configuration's ``data`` describes.

    Raises:
        UserError: it does not say.
    """
    if "resolution" not in data:
        raise UserError(
            "config.data does not say how large frames are; give height, width and channels, such as --shape=60,80,1"
        )
    height, width = map(int, data["resolution"].split("x"))
    return height, width, STIMULUS_CHANNELS


def _core_seconds_of_all() -> float:
    """Time that the cores have worked since the start of the machine, for whatever process."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor()


def _check(chosen: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in chosen:
        if name not in known:
            raise UserError(f'{what} "{name}" is unknown; choose among {", ".join(known)}')


def _check_threads(threads: Sequence[int]) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("this system cannot confine a process to some cores; measure on Linux")
    cores = len(os.sched_getaffinity(0))
    for number in threads:
        if not 1 <= number <= cores:
            raise UserError(f"{number} threads do not fit a machine with {cores} cores")
