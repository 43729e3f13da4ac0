"""The reference's side of a measurement; runs where torch and openretina are installed, and imports nothing else.

The same work as in ``ours`` by openretina's own modules, losses, data loaders and cyclers, without Lightning around it.
"""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch
from openretina.data_io.base_dataloader import get_movie_dataloader
from openretina.data_io.cyclers import LongCycler, ShortCycler
from openretina.modules.core.base_core import SimpleCoreWrapper
from openretina.modules.losses import CorrelationLoss3d, PoissonLoss3d
from openretina.modules.readout.multi_readout import MultiGaussianMaskReadout

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# options of ours that have another name there, and defaults that it does not have or that differ
CORE_NAMES = {
    "convolution": "convolution_type",
    "pool_every": "maxpool_every_n_layers",
    "downsample_input": "downsample_input_kernel_size",
    "color_weights": "color_squashing_weights",
    "cut_first_frames": "cut_first_n_frames",
}
CORE_DEFAULTS = {
    "gamma_input": 0.0,
    "gamma_temporal": 0.0,
    "gamma_in_sparse": 0.0,
    "gamma_hidden": 0.0,
    "cut_first_n_frames": 0,
}
READOUT_NAMES = {
    "mean_scale": "gaussian_mean_scale",
    "var_scale": "gaussian_var_scale",
    "gamma_mask": "mask_l1_reg",
    "gamma_features": "feature_weights_l1_reg",
    "average_penalty": "readout_reg_avg",
}
READOUT_DEFAULTS = {
    "gaussian_mean_scale": 1.0,
    "gaussian_var_scale": 1.0,
    "positive": False,
    "scale": False,
    "bias": True,
}


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What a task measures, as in ``ours``; a shared epoch is compared with the only kind of epoch there is."""
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    training = Training(task)
    work, shape = {
        "train_step": training.train_step,
        "eval_step": training.eval_step,
        "epoch": training.epoch,
        "epoch_shared": training.epoch,
    }[task["measure"]]()
    versions = {name: version(name) for name in ("openretina", "torch", "numpy")}
    return work, {
        "shape": shape,
        "windows": shape["steps"] * shape["windows"],
        "lowering": None,
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "versions": {"python": platform.python_version()} | versions,
    }


class Model(torch.nn.Module):
    """A core, and readouts of some sessions."""

    def __init__(self, task: Mapping[str, Any], sessions: list[str]):
        super().__init__()
        height, width, channels = task["input_shape"]
        core, readout = dict(task["model"]["core"]), dict(task["model"]["readout"])
        kinds = core.pop("kind"), readout.pop("kind")
        if kinds != ("simple", "gaussian_mask"):
            raise ValueError(f'the reference is measured with "simple" and "gaussian_mask", not with {kinds}')
        core.pop("lowering", None)
        layers = (channels, *core.pop("hidden_channels"))
        self.core = SimpleCoreWrapper(layers, **(CORE_DEFAULTS | renamed(core, CORE_NAMES)))
        with torch.no_grad():
            probe = self.core.eval()(torch.zeros(1, channels, task["clip_frames"], height, width))
        self.readout = MultiGaussianMaskReadout(
            in_shape=tuple(probe.shape[1:]),
            n_neurons_dict=dict.fromkeys(sessions, task["neurons"]),
            **(READOUT_DEFAULTS | renamed(readout, READOUT_NAMES)),
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
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=task["learning_rate"])
        self._poisson, self._correlation = PoissonLoss3d(), CorrelationLoss3d(avg=True, negate=False).to(DEVICE)

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
        self._optimizer.zero_grad()
        prediction = self._model(data.inputs.to(DEVICE), session)
        loss = self._poisson(prediction, data.targets.to(DEVICE)) + self._model.penalty(session)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._task["clip_norm"])
        self._optimizer.step()
        return float(loss)

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


def renamed(options: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Options under the reference's names; lists, which come from JSON, as tuples."""
    return {
        names.get(name, name): tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
