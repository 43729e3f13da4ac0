"""Stimuli of an earlier experiment as a movie for the projector of a rig."""

import dataclasses
from collections.abc import Sequence

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt8

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Experiment, Work, stimuli_file
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.models.model import Model

MOVIE, TRIGGERS = "movie.h5", "triggers.csv"
ROUNDING = 0.5  # grey levels beyond the range that rounding brings back
Levels = float | tuple[float, ...]


@EXPERIMENTS("export")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(Experiment):
    """Writes stimuli as bytes that a projector shows, one after the other with grey between them, and when they begin.

    Grey levels of the training movies, 0 to 255, become levels of the projector by
    ``black + (white - black) * (grey level / 255) ** (1 / gamma)`` for every channel.

    Attributes:
        stimuli: folder of the experiment, or its file of stimuli.
        black, white: levels of the projector for grey levels 0 and 255: one for all channels, or one for each.
        gamma: exponent of the projector's light as a function of its level, where that is not corrected elsewhere.
        pause_s: grey before every stimulus and at the end, in seconds.
        repeats: how often the whole sequence is shown.
        mean, std: grey level that is 0 in the units of the model, and that of a unit (None: those of the training).
    """

    stimuli: str
    black: Levels = 0.0
    white: Levels = 255.0
    gamma: Levels = 1.0
    pause_s: float = 1.0
    repeats: int = 1
    mean: float | None = None
    std: float | None = None

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Convert the stimuli, and write them."""
        if self.repeats < 1 or self.pause_s < 0:
            raise UserError(f"repeats is {self.repeats} and pause_s {self.pause_s}; give 1 or more, and no less than 0")
        if self.neurons != "all":
            raise UserError(f'all stimuli of {self.stimuli} are written; leave out --neurons="{self.neurons}"')
        info, stimuli = model.data_info, Stimuli.load(stimuli_file(self.stimuli))
        model.check_stimulus(stimuli.best)
        if info.frame_rate_hz is None:
            raise UserError("the model does not know the frame rate of its movies, so that frames have no times")
        pause = round(self.pause_s * info.frame_rate_hz)
        grey = self._bytes(np.zeros((1, pause, *info.input_shape), np.float32), ["grey"], info)[0]
        shown = self._bytes(stimuli.best, stimuli.names, info)
        frames = shown.shape[1] + pause
        movie = np.concatenate([*(part for one in shown for part in (grey, one))] * self.repeats + [grey])
        first = pause + frames * np.arange(len(shown) * self.repeats)
        table = pd.DataFrame(
            {
                "stimulus": list(stimuli.names) * self.repeats,
                "repeat": np.repeat(np.arange(self.repeats), len(shown)),
                "first_frame": first,
                "end_frame": first + shown.shape[1],
                "begin_s": first / info.frame_rate_hz,
                "end_s": (first + shown.shape[1]) / info.frame_rate_hz,
            }
        )
        with h5py.File(work.folder / MOVIE, "w") as file:
            file["frames"] = movie
            file.attrs["frame_rate_hz"] = info.frame_rate_hz
            file.attrs["axes"] = "time, height, width, channel"
        work.write_table(table, TRIGGERS)
        return []

    def _bytes(
        self, movies: Float32[np.ndarray, "stimulus time height width channel"], names: Sequence[str], info: DataInfo
    ) -> UInt8[np.ndarray, "stimulus time height width channel"]:
        """Levels of the projector.

        Raises:
            UserError: a movie leaves the range of grey levels, or a level is none.
        """
        mean = info.norm_mean if self.mean is None else self.mean
        std = info.norm_std if self.std is None else self.std
        if mean is None or std is None:
            raise UserError(
                "the model does not know how its movies were normalised; give --mean and --std, the grey level that "
                "is 0 in its units and that of a unit"
            )
        levels = movies * np.float32(std) + np.float32(mean)
        for name, one in zip(names, levels, strict=True):
            if one.size and (one.min() < -ROUNDING or one.max() > 255 + ROUNDING):
                raise UserError(
                    f"{name} has grey levels from {one.min():.1f} to {one.max():.1f}, which a projector cannot show; "
                    f"look for stimuli with --low={-mean / std:.3f} --high={(255 - mean) / std:.3f}"
                )
        black, white, gamma = (self._of_channels(word, info.input_shape[2]) for word in ("black", "white", "gamma"))
        if not ((black >= 0) & (white <= 255) & (black < white)).all() or not (gamma > 0).all():
            raise UserError(
                f"black is {self.black}, white {self.white} and gamma {self.gamma}; levels of a projector are 0 to "
                "255, black below white, and gamma is above 0"
            )
        light = np.clip(levels / 255, 0, 1) ** (1 / gamma)
        return np.round(black + (white - black) * light).astype(np.uint8)

    def _of_channels(self, word: str, channels: int) -> Float32[np.ndarray, " channel"]:
        value = np.atleast_1d(np.asarray(getattr(self, word), np.float32))
        if len(value) not in (1, channels):
            raise UserError(f"{word} is {getattr(self, word)}; give one number, or one for each of {channels} channels")
        return np.broadcast_to(value, (channels,))
