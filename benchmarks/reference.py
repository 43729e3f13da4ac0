"""The reference's side of a measurement; runs where torch and openretina are installed, without this package.

The same work as in ``ours`` by openretina's own modules, losses, data loaders and cyclers, without Lightning around it.
"""

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch
from openretina.data_io.base_dataloader import get_movie_dataloader
from openretina.data_io.cyclers import LongCycler, ShortCycler
from openretina.modules.losses import CorrelationLoss3d, PoissonLoss3d
from torch_layers import DEVICE, about, autocast, begin, descend  # beside this file, which ``serving`` runs


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What a task measures, as in ``ours``; a shared epoch is compared with the only kind of epoch there is."""
    begin(task)
    training = Training(task)
    work, shape = {
        "forward": training.forward,
        "train_step": training.train_step,
        "eval_step": training.eval_step,
        "epoch": training.epoch,
        "epoch_shared": training.epoch,
    }[task["measure"]]()
    return work, about(shape, {name: version(name) for name in ("openretina", "torch", "numpy")})


class Model(torch.nn.Module):
    """A core, and readouts of some sessions."""

    def __init__(self, task: Mapping[str, Any], sessions: list[str]):
        super().__init__()
        height, width, channels = task["input_shape"]
        self.core = make(*task["counterpart"]["core"])
        with torch.no_grad():
            probe = self.core.eval()(torch.zeros(1, channels, task["clip_frames"], height, width))
        self.readout = make(
            *task["counterpart"]["readout"],
            in_shape=tuple(probe.shape[1:]),
            n_neurons_dict=dict.fromkeys(sessions, task["neurons"]),
        )

    def forward(self, stimulus: Any, session: str) -> Any:
        """Predicted responses of a session's neurons."""
        return self.readout(self.core(stimulus), data_key=session)

    def penalty(self, session: str) -> Any:
        """What a step on that session adds to the loss."""
        return self.core.regularizer() + self.readout.regularizer(session)


class Training:
    """A model, and random recordings in memory: one copy of the movie per session, as openretina keeps them."""

    def __init__(self, task: Mapping[str, Any]):
        self._task = task
        sessions = [f"session_{number}" for number in range(task["sessions"])]
        self._train = {session: self._loader("train", task["training_clips"]) for session in sessions}
        self._validation = {session: self._loader("validation", task["validation_clips"]) for session in sessions}
        self._model = Model(task, sessions).to(DEVICE)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), **task["counterpart"]["optimizer"])
        self._poisson, self._correlation = PoissonLoss3d(), CorrelationLoss3d(avg=True, negate=False).to(DEVICE)

    def forward(self) -> tuple[Callable[[], Any], dict[str, int]]:
        """Predictions for the windows of a training step."""
        session, data = next(iter(LongCycler(self._train)))
        self._model.eval()

        @torch.no_grad()
        def work() -> Any:
            with autocast(self._task):
                return self._model(data.inputs.to(DEVICE), session).cpu()

        return work, self._shape(1)

    def train_step(self) -> tuple[Callable[[], Any], dict[str, int]]:
        """A training step on windows in memory."""
        session, data = next(iter(LongCycler(self._train)))
        self._model.train()
        return lambda: self._step(session, data), self._shape(1)

    def eval_step(self) -> tuple[Callable[[], Any], dict[str, int]]:
        """Predictions and correlations of the validation clips."""
        session, data = next(iter(ShortCycler(self._validation)))
        self._model.eval()
        shape = {"steps": 1, "windows": self._task["validation_clips"], "frames": self._task["clip_frames"]}
        return lambda: self._score(session, data), shape

    def epoch(self) -> tuple[Callable[[], Any], dict[str, int]]:
        """An epoch with one session per step, and the evaluation of all sessions."""
        cycler = LongCycler(self._train)

        def work() -> list[float]:
            self._model.train()
            losses = [self._step(session, data) for session, data in cycler]
            self._model.eval()
            return losses + [self._score(session, data) for session, data in ShortCycler(self._validation)]

        return work, self._shape(len(cycler))

    def _step(self, session: str, data: Any) -> float:
        def loss() -> Any:
            prediction = self._model(data.inputs.to(DEVICE), session)
            return self._poisson(prediction, data.targets.to(DEVICE)) + self._model.penalty(session)

        return descend(self._task, self._optimizer, loss)

    @torch.no_grad()
    def _score(self, session: str, data: Any) -> float:
        return float(self._correlation(self._model(data.inputs.to(DEVICE), session), data.targets.to(DEVICE)))

    def _loader(self, split: str, clips: int) -> Any:
        task = self._task
        height, width, channels = task["input_shape"]
        frames = clips * task["clip_frames"]
        return get_movie_dataloader(
            torch.randn(channels, frames, height, width),
            torch.rand(frames, task["neurons"]),
            split=split,
            scene_length=task["clip_frames"],
            chunk_size=task["frames"] if split == "train" else task["clip_frames"],
            batch_size=task["windows"] if split == "train" else clips,
        )

    def _shape(self, steps: int) -> dict[str, int]:
        return {"steps": steps, "windows": self._task["windows"], "frames": self._task["frames"]}


def make(path: str, arguments: Mapping[str, Any], **more: Any) -> Any:
    """An object of the class with that dotted name; lists, which come from JSON, are tuples."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**_tuples(arguments), **more)


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
