"""The life of a run on a data set that trains in seconds: it learns, stops, resumes and fails as it should."""

import csv
import dataclasses
import functools
import json
import logging
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import SessionSampler, make_sampler
from openretina_jax.errors import UserError
from openretina_jax.evaluation.splits import check_clips
from openretina_jax.experiment.callbacks import Pictures
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.saving import by_name, load_model
from openretina_jax.runtime import programs
from openretina_jax.training.callbacks import Callback, Callbacks, Epoch
from openretina_jax.training.callbacks.csv import CsvTable
from openretina_jax.training.callbacks.tensorboard import TensorBoard
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed
from openretina_jax.training.loop import FitResult, fit
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.patience import PatienceRules
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer, TrainState
from tests import tiny

EPOCHS, STEPS_PER_EPOCH = 4, 6
WINDOWS = {"window_frames": 16, "windows_per_step": 4}
RECIPE = Recipe(
    objective=ResponseObjective(Poisson(samples=100.0)), optimizer=AdamW(), learning_rate=0.02, clip=1.0, seed=1
)


def feed(dataset: Dataset, model: CoreReadout, recipe: Recipe = RECIPE, **options: Any) -> Feed:
    """The data of a short run."""
    order, on_device = options.pop("order", "session"), options.pop("on_device", None)
    sampler = functools.partial(make_sampler, order, seed=recipe.seed, **(WINDOWS | options))
    return Feed(dataset, sampler, per_session=model.per_session, accumulate=recipe.accumulate, on_device=on_device)


def run(
    workdir: Path,
    dataset: Dataset | None = None,
    *,
    recipe: Recipe = RECIPE,
    epochs: int = EPOCHS,
    model: CoreReadout | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> FitResult:
    """A short run of the tiny model."""
    model = model or tiny.model()
    about = {"config": {"model": tiny.MODEL}, "data_info": json.loads(tiny.dataset().info.to_json())}
    workdir.mkdir(exist_ok=True)
    data = feed(dataset or tiny.dataset(), model, recipe, **options)
    checkpoints = Checkpoints(workdir / "checkpoints", about)
    return fit(Trainer(model, recipe), data, checkpoints, epochs=epochs, callbacks=[CsvTable(workdir), *callbacks])


def metrics(workdir: Path, column: str) -> list[float]:
    """A column of the table of epochs."""
    with (workdir / "metrics.csv").open(newline="") as stream:
        return [float(row[column]) for row in csv.DictReader(stream)]


def assert_equal(one: TrainState, other: TrainState) -> None:
    """Two states are equal to the bit."""
    chex.assert_trees_all_equal(by_name(one), by_name(other), strict=True)


class Compilations(logging.Handler):
    """Names of the functions that jax compiled, epoch by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[list[str]] = [[]]

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.match(r"Compiling jit\((\w+)\)", record.getMessage()):
            self.epochs[-1].append(found[1])


@pytest.fixture(scope="module")
def compilations() -> Compilations:
    """Those of the run below."""
    return Compilations()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, compilations: Compilations) -> tuple[FitResult, Path]:
    """A run from start to end, and its folder."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    trainer, data = Trainer(tiny.model(), RECIPE), feed(tiny.dataset(), tiny.model())
    about = {"config": {"model": tiny.MODEL}, "data_info": json.loads(tiny.dataset().info.to_json())}
    checkpoints = Checkpoints(workdir / "checkpoints", about)

    class NextEpoch(Callback):
        def on_epoch_end(self, epoch: Epoch) -> None:
            compilations.epochs.append([])

    followers = [Pictures(trainer, data, every=EPOCHS), CsvTable(workdir), TensorBoard(workdir, {}), NextEpoch()]
    programs.forget()
    logger = logging.getLogger("jax")
    logger.addHandler(compilations)
    with jax.log_compiles(), Callbacks(followers):
        result = fit(trainer, data, checkpoints, epochs=EPOCHS, callbacks=followers)
    logger.removeHandler(compilations)
    return result, workdir


def test_the_first_epoch_compiles_all(uninterrupted: tuple[FitResult, Path], compilations: Compilations) -> None:
    """One program trains all sessions and one evaluates them; later epochs find them, until pictures are drawn."""
    assert uninterrupted[0].epochs == EPOCHS
    first, second, third, *_ = compilations.epochs
    assert (first.count("run"), first.count("score_split")) == (1, 1)
    assert second == third == []


def test_it_learns(uninterrupted: tuple[FitResult, Path]) -> None:
    result, workdir = uninterrupted
    assert (result.finished, result.epochs, result.state.step) == (True, EPOCHS, result.best_epoch * STEPS_PER_EPOCH)
    assert metrics(workdir, "epoch") == [1, 2, 3, 4]
    loss, score = metrics(workdir, "train/loss"), metrics(workdir, "validation/correlation")
    assert loss[-1] < 0.95 * loss[0]
    assert max(score) > score[0]
    assert metrics(workdir, "validation/best") == np.maximum.accumulate(score).tolist()


def test_it_returns_and_keeps_the_best_state(uninterrupted: tuple[FitResult, Path]) -> None:
    result, workdir = uninterrupted
    assert result.best_epoch == 1 + np.argmax(metrics(workdir, "validation/correlation"))
    kept = {int(folder.name) for folder in (workdir / "checkpoints").iterdir() if folder.name.isdigit()}
    assert kept == {result.best_epoch, EPOCHS}
    np.testing.assert_array_equal(
        load_model(workdir).readout.features[...], result.state.params["readout"]["features"][...]
    )


def test_tensorboard_has_numbers_and_pictures(uninterrupted: tuple[FitResult, Path]) -> None:
    events = b"".join(file.read_bytes() for file in (uninterrupted[1] / "tensorboard").glob("*/*"))
    for tag in (b"loss/train", b"correlation/validation", b"filters", b"neurons", b"predictions/traces"):
        assert tag in events


@dataclasses.dataclass
class StopInEpoch(Callback):
    """The user presses Ctrl-C in that epoch."""

    number: int

    def on_epoch_end(self, epoch: Epoch) -> None:
        if epoch.number == self.number:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_stopped_run_resumes_as_if_it_had_not_stopped(uninterrupted: tuple[FitResult, Path], tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stopped = run(tmp_path, callbacks=[StopInEpoch(2)])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert (stopped.finished, stopped.epochs) == (False, 2)
    file = tmp_path / "metrics.csv"
    file.write_text(
        file.read_text() + file.read_text().splitlines()[-1].replace("2,", "3,", 1) + "\n"
    )  # work that was lost
    resumed = run(tmp_path)
    assert (resumed.finished, resumed.epochs, resumed.best_epoch) == (True, EPOCHS, uninterrupted[0].best_epoch)
    assert_equal(resumed.state, uninterrupted[0].state)
    for column in ("epoch", "train/loss", "validation/correlation", "learning_rate"):
        assert metrics(tmp_path, column) == metrics(uninterrupted[1], column)
    assert resumed.seconds > stopped.seconds


@pytest.mark.slow
def test_shared_order(tmp_path: Path) -> None:
    result = run(tmp_path, order="shared")
    loss = metrics(tmp_path, "train/loss")
    assert result.state.step == result.best_epoch * 2
    assert loss[-1] < 0.95 * loss[0]


@pytest.mark.slow
def test_it_ends_when_the_score_no_longer_rises(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, rules=PatienceRules(stop_epochs=2, stop_threshold=10.0))
    result = run(tmp_path, recipe=recipe, epochs=50)
    assert (result.finished, result.epochs) == (True, 3)
    again = run(tmp_path, recipe=recipe, epochs=50)
    assert (again.finished, again.epochs) == (True, 3)
    assert_equal(again.state, result.state)


@pytest.mark.slow
def test_a_loss_that_is_not_finite(uninterrupted: tuple[FitResult, Path], tmp_path: Path) -> None:
    first = run(tmp_path, epochs=1)
    responses = np.full_like(tiny.dataset().sessions[1].responses, 3e38)
    sessions = list(tiny.dataset().sessions)
    sessions[1] = dataclasses.replace(sessions[1], responses=responses)
    broken = dataclasses.replace(tiny.dataset(), sessions=tuple(sessions))
    windows = SessionSampler(
        Tables(broken).training(),
        window_frames=WINDOWS["window_frames"],
        windows_per_step=WINDOWS["windows_per_step"],
        seed=1,
    )
    step = STEPS_PER_EPOCH + int(np.argmax(windows[1].timeline[:, 0, 0] == 1))
    with pytest.raises(UserError, match=rf"at step {step} \(right_2\); the last good checkpoint is .*/checkpoints/1;"):
        run(tmp_path, broken)
    assert_equal(run(tmp_path, epochs=1).state, first.state)


@pytest.mark.slow
def test_a_score_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="validation score was not finite after step 0; there is no checkpoint yet"):
        run(tmp_path, order="shared", windows_per_step=9, recipe=dataclasses.replace(RECIPE, learning_rate=1e30))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("core", "window_frames", "message"),
    [
        (
            {},
            6,
            r"windows have 6 frames, .* none of the first 6 .*; raise window_frames .config.train.windows., or",
        ),
        (
            {"temporal_kernel_sizes": (25,)},
            30,
            'a clip of "validation" has 24 frames, .* 24 before .* take shorter',
        ),
        (
            {"downsample_input": (2, 1, 1)},
            16,
            "fewer predictions than .*; let downsample_input of the core begin with 1",
        ),
    ],
)
def test_models_that_predict_nothing(core: dict[str, Any], window_frames: int, message: str, tmp_path: Path) -> None:
    model = make_core_readout(tiny.MODEL | {"core": tiny.MODEL["core"] | core}, tiny.dataset().info, 0)
    with pytest.raises(UserError, match=message):
        run(tmp_path, model=model, window_frames=window_frames)


def test_single_images_are_one_clip() -> None:
    def check(images: int) -> None:
        kept = {"train": tuple(range(images))}
        data = dataclasses.replace(tiny.dataset(), clip_length=1, validation_clips=kept)
        check_clips(["validation"], Tables(data), tiny.model().lag)

    check(7)
    with pytest.raises(UserError, match='a clip of "validation" has 6 frames'):
        check(6)


def test_no_epochs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing was trained: config.train.epochs is 0"):
        run(tmp_path, epochs=0)
