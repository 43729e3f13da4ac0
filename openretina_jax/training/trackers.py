"""Where a run is followed besides its own files: TensorBoard, Weights & Biases, MLflow."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from openretina_jax.errors import UserError, require
from openretina_jax.runtime.files import whole_file
from openretina_jax.runtime.processes import is_first

PROJECT = "openretina_jax"
WANDB_MODES = ("online", "offline", "disabled")
MLFLOW_PARAMETERS = 100  # of one call, and characters of a value: what MLflow takes
MLFLOW_CHARACTERS = 6000


@runtime_checkable
class Tracker(Protocol):
    """A place where numbers and pictures of a run are shown."""

    def resume(self, step: int) -> None:
        """Begin to write after that optimiser step (0: a fresh run); called before anything is written."""

    def scalars(self, step: int, row: Mapping[str, int | float]) -> None:
        """Log the numbers of an epoch."""

    def picture(self, name: str, image: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Log a picture."""

    def finish(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: Path) -> None:
        """Log what a finished run leaves behind."""

    def close(self, status: str) -> None:
        """Flush everything; the status is "finished", "stopped" (and may go on) or "failed"."""


def check_installed(*, wandb: bool, mlflow: bool, **_: Any) -> None:
    """Refuse trackers whose library is not there.

    Args:
        wandb: whether Weights & Biases is asked for.
        mlflow: whether MLflow is.

    Raises:
        UserError: gives the command that installs it.
    """
    for name, asked in (("wandb", wandb), ("mlflow", mlflow)):
        if asked:
            require(name, name, f"config.logging.{name} is set")


def open_trackers(
    workdir: Path,
    config: Mapping[str, Any],
    *,
    tensorboard: bool,
    wandb: bool,
    mlflow: bool,
    project: str | None,
    run: str | None,
    wandb_mode: str | None,
    mlflow_uri: str | None,
) -> list[Tracker]:
    """The trackers that are asked for; of several processes only the first has any.

    A resumed run goes on in the same run of every tracker: its identity is kept in the workdir.

    Args:
        workdir: of the run.
        config: settings of the run by dotted names, shown beside it.
        tensorboard: event files in ``tensorboard`` of the workdir.
        wandb: Weights & Biases.
        mlflow: MLflow.
        project: of Weights & Biases, experiment of MLflow (None: WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME, or our name).
        run: name that is shown (None: WANDB_NAME, MLFLOW_RUN_NAME, or that of the workdir).
        wandb_mode: "online", "offline" or "disabled" (None: WANDB_MODE, or online).
        mlflow_uri: where MLflow keeps runs (None: MLFLOW_TRACKING_URI, or the folder ``mlruns`` here).

    Raises:
        UserError: a tracker cannot be reached, or does not know the run any more.
    """
    trackers: list[Tracker] = []
    if not is_first():
        return trackers
    if tensorboard:
        trackers.append(TensorBoard(workdir))
    if wandb:
        trackers.append(Wandb(workdir, config, project, run, wandb_mode))
    if mlflow:
        trackers.append(Mlflow(workdir, config, project, run, mlflow_uri))
    return trackers


class TensorBoard:
    """Event files in ``tensorboard`` of the workdir."""

    def __init__(self, workdir: Path):
        self._folder = workdir / "tensorboard"

    def resume(self, step: int) -> None:
        """Steps after this one are forgotten: they belong to work that was lost."""
        self._board = SummaryWriter(str(self._folder), purge_step=step + 1 if step else None)

    def scalars(self, step: int, row: Mapping[str, int | float]) -> None:
        """Log the numbers of an epoch."""
        for name, value in row.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

    def picture(self, name: str, image: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Log a picture."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def finish(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: Path) -> None:
        """Nothing: tables and pictures lie beside the events."""

    def close(self, status: str) -> None:
        """Flush everything."""
        if hasattr(self, "_board"):
            self._board.close()


class Wandb:
    """A run of Weights & Biases; its own files lie in ``wandb`` of the workdir, its identity in ``wandb_run``."""

    def __init__(self, workdir: Path, config: Mapping[str, Any], project: str | None, run: str | None, mode: Any):
        import wandb  # an extra

        if mode not in (None, *WANDB_MODES):
            raise UserError(f'config.logging.wandb_mode is "{mode}"; choose {", ".join(WANDB_MODES)}')
        self._image = wandb.Image
        identity = workdir / "wandb_run"
        with _one_line("wandb", wandb.Error):
            self._run = wandb.init(
                project=project or os.environ.get("WANDB_PROJECT", PROJECT),
                name=run or os.environ.get("WANDB_NAME", workdir.absolute().name),
                id=identity.read_text() if identity.exists() else None,
                resume="allow",
                dir=str(workdir),
                mode=mode,
                config=dict(config),
                allow_val_change=True,  # a resumed run may train longer
                settings=wandb.Settings(silent=True, console="off"),
            )
            _write(identity, self._run.id)
            # an axis of our own: rows of steps that were lost come again
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")

    def resume(self, step: int) -> None:
        """Nothing: steps that come again are drawn over each other."""

    def scalars(self, step: int, row: Mapping[str, int | float]) -> None:
        """Log the numbers of an epoch."""
        self._run.log({"step": step, **row})

    def picture(self, name: str, image: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Log a picture."""
        self._run.log({"step": step, name: self._image(image)})

    def finish(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: Path) -> None:
        """Scores and the checkpoint's path go to the summary, files beside it."""
        self._run.summary.update({**scores, "checkpoint": str(checkpoint.absolute())})
        for file in files:
            shutil.copy(file, self._run.dir)  # whose files are sent with the run

    def close(self, status: str) -> None:
        """Send what has not been sent."""
        self._run.finish(exit_code=1 if status == "failed" else 0)


class Mlflow:
    """A run of MLflow, in a folder, a data base or on a server; its identity lies in ``mlflow_run`` of the workdir."""

    def __init__(self, workdir: Path, config: Mapping[str, Any], project: str | None, run: str | None, uri: str | None):
        import mlflow  # an extra

        uri = uri or os.environ.get("MLFLOW_TRACKING_URI", f"file:{Path('mlruns').absolute()}")
        if "://" not in uri or uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # without it MLflow 3.17 refuses folders
        self._metric = mlflow.entities.Metric
        self._errors = mlflow.exceptions.MlflowException
        identity = workdir / "mlflow_run"
        with self._one_line():
            self._client = mlflow.MlflowClient(uri)
            if identity.exists():
                self._run = identity.read_text()
                self._client.update_run(self._run, status="RUNNING")
                return
            project = project or os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            known = self._client.get_experiment_by_name(project)
            experiment = known.experiment_id if known else self._client.create_experiment(project)
            name = run or os.environ.get("MLFLOW_RUN_NAME", workdir.absolute().name)
            self._run = self._client.create_run(experiment, run_name=name).info.run_id
            _write(identity, self._run)
            parameters = [mlflow.entities.Param(key, str(value)[:MLFLOW_CHARACTERS]) for key, value in config.items()]
            for first in range(0, len(parameters), MLFLOW_PARAMETERS):
                self._client.log_batch(self._run, params=parameters[first : first + MLFLOW_PARAMETERS])

    def _one_line(self) -> contextlib.AbstractContextManager[None]:
        return _one_line("mlflow", self._errors)

    def resume(self, step: int) -> None:
        """Nothing: steps that come again are drawn over each other."""

    def scalars(self, step: int, row: Mapping[str, int | float]) -> None:
        """Log the numbers of an epoch."""
        now = int(1000 * time.time())
        with self._one_line():
            self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in row.items()])

    def picture(self, name: str, image: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Log a picture."""
        with self._one_line():
            self._client.log_image(self._run, image, key=name, step=step, synchronous=True)

    def finish(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: Path) -> None:
        """Scores become metrics, the checkpoint's path a tag, files artefacts."""
        now = int(1000 * time.time())
        with self._one_line():
            self._client.log_batch(self._run, [self._metric(name, value, now, 0) for name, value in scores.items()])
            self._client.set_tag(self._run, "checkpoint", str(checkpoint.absolute()))
            for file in files:
                self._client.log_artifact(self._run, str(file))

    def close(self, status: str) -> None:
        """Write how the run has ended."""
        with self._one_line():
            states = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
            self._client.set_terminated(self._run, states[status])


@contextlib.contextmanager
def _one_line(name: str, errors: type[Exception]) -> Iterator[None]:
    """An error of a tracker is one that the user can mend."""
    try:
        yield
    except errors as error:
        what = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{name}: {what}; mend that, or set --config.logging.{name}=False: the same command goes on from the last "
            "checkpoint"
        ) from error


def _write(file: Path, text: str) -> None:
    with whole_file(file) as stream:
        stream.write(text.encode())
