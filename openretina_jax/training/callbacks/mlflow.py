"""Callback that logs to MLflow."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch, keep_identity, one_line

PROJECT = "openretina_jax"
PARAMETERS_AT_ONCE, CHARACTERS = 100, 6000  # parameters of a call, and characters of a value: what MLflow takes
STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@CALLBACKS("mlflow")
class Mlflow(Callback):
    """A run of MLflow, in a folder, a database or on a server; its identity lies in ``mlflow_run`` of the workdir.

    A resumed run goes on in the same run. Steps that come again are drawn over each other.

    Args:
        workdir: folder of the run.
        config: settings of the run by dotted names, its parameters.
        project: the experiment (None: MLFLOW_EXPERIMENT_NAME, or our name).
        run: name that is shown (None: MLFLOW_RUN_NAME, or that of the workdir).
        mlflow_uri: where runs are kept (None: MLFLOW_TRACKING_URI, or the folder ``mlruns`` here).

    Raises:
        UserError: the server cannot be reached, or does not know the run any more.
    """

    def __init__(
        self,
        workdir: Path,
        config: Mapping[str, Any],
        project: str | None = None,
        run: str | None = None,
        mlflow_uri: str | None = None,
    ):
        import mlflow  # an extra

        uri = mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI", f"file:{Path('mlruns').absolute()}")
        if "://" not in uri or uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # without it MLflow 3.17 refuses folders
        self._metric = mlflow.entities.Metric
        self._errors = mlflow.exceptions.MlflowException
        identity = workdir / "mlflow_run"
        with self._one_line():
            self._client = mlflow.MlflowClient(uri)
            if identity.exists():
                self._run = identity.read_text(encoding="utf-8")
                self._client.update_run(self._run, status="RUNNING")
                return
            project = project or os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            known = self._client.get_experiment_by_name(project)
            experiment = known.experiment_id if known else self._client.create_experiment(project)
            name = run or os.environ.get("MLFLOW_RUN_NAME", workdir.absolute().name)
            self._run = self._client.create_run(experiment, run_name=name).info.run_id
            keep_identity(identity, self._run)
            parameters = [mlflow.entities.Param(key, str(value)[:CHARACTERS]) for key, value in config.items()]
            for first in range(0, len(parameters), PARAMETERS_AT_ONCE):
                self._client.log_batch(self._run, params=parameters[first : first + PARAMETERS_AT_ONCE])

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Log numbers and pictures."""
        with self._one_line():
            self._log(epoch.metrics, epoch.step)
            for name, image in epoch.pictures.items():
                self._client.log_image(self._run, image, key=name, step=epoch.step, synchronous=True)

    def on_test_end(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: str) -> None:
        """Log scores as metrics, the checkpoint's path as a tag, files as artefacts."""
        with self._one_line():
            self._log(scores, 0)
            self._client.set_tag(self._run, "checkpoint", checkpoint)
            for file in files:
                self._client.log_artifact(self._run, str(file))

    def close(self, status: str) -> None:
        """Write how the run has ended."""
        with self._one_line():
            self._client.set_terminated(self._run, STATES[status])

    def _log(self, values: Mapping[str, int | float], step: int) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in values.items()])

    def _one_line(self) -> contextlib.AbstractContextManager[None]:
        return one_line("mlflow", self._errors)
