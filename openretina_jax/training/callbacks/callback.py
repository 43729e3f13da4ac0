"""The contract of callbacks, and the record of an epoch that they get."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Array, Float, UInt8

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import whole_file
from openretina_jax.runtime.registry import Registry
from openretina_jax.training.trainer import TrainState

CALLBACKS = Registry("callback", "openretina_jax.training.callbacks")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Record of a finished epoch.

    Attributes:
        number: number of finished epochs.
        step: number of finished optimiser steps.
        metrics: numbers of the epoch by name ("epoch", "train/loss", "validation/correlation", ...); in a population
            medians over its members.
        state: state after the epoch.
        score: validation score, higher is better; one per member of a population.
        scores: validation scores of every neuron by name.
        pictures: pictures by name; a callback may add some for the callbacks after it, which show them.
    """

    number: int
    step: int
    metrics: Mapping[str, int | float]
    state: TrainState
    score: Float[Array, "*member"]
    scores: Mapping[str, Float[Array, "*member neuron"]]
    pictures: dict[str, UInt8[np.ndarray, "height width 3"]] = dataclasses.field(default_factory=dict)


class Callback:
    """Base of callbacks, which follow a training run; every method may be left out.

    One of your own is a class registered in ``CALLBACKS``, or named in ``config.callbacks`` as "my_lab.my_module:Mine";
    options of the configuration are the arguments of its constructor. Arguments that it calls ``workdir``, ``config``
    (settings by dotted names), ``trainer``, ``data``, ``epochs`` or ``console`` are given.

    The checkpoint of an epoch is saved after ``on_epoch_end``. When a run is killed in between, what a callback wrote
    is an epoch ahead, and comes again in the resumed run.

    Attributes:
        everywhere: whether every process has it; else only the first one does.
    """

    everywhere: bool = False

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Begin, or go on after that many epochs and optimiser steps; records of later ones belong to lost work."""

    def on_epoch_begin(self, number: int) -> None:
        """Prepare for epoch ``number``, counted from 0."""

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Follow an epoch."""

    def on_train_end(self) -> None:
        """Leave the loop, whether it ended, was stopped or failed."""

    def on_test_end(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: str) -> None:
        """Keep the scores of a finished run.

        Args:
            scores: mean score of every split, such as "test_correlation".
            files: tables and pictures of the run.
            checkpoint: path of the checkpoint of the best epoch, or its address in an object store.
        """

    def close(self, status: str) -> None:
        """Flush everything; the status is "finished", "stopped" (and may go on) or "failed"."""


class Callbacks:
    """Several callbacks, called in their order; as a context manager it closes them."""

    def __init__(self, callbacks: Sequence[Callback] = ()):
        self._callbacks, self._status = tuple(callbacks), "stopped"

    def __enter__(self) -> "Callbacks":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(self._status if error is None else "failed")

    @contextlib.contextmanager
    def training(self, epoch: int, step: int) -> Iterator[None]:
        """Make the context of all epochs; at its end, whatever the cause, ``on_train_end`` is called."""
        with contextlib.ExitStack() as stack:
            for callback in self._callbacks:
                stack.callback(callback.on_train_end)
                callback.on_train_begin(epoch, step)
            yield

    def on_epoch_begin(self, number: int) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_epoch_begin(number)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_epoch_end(epoch)

    def on_test_end(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: str) -> None:
        """Call all; the run is finished."""
        self._status = "finished"
        for callback in self._callbacks:
            callback.on_test_end(scores, files, checkpoint)

    def close(self, status: str) -> None:
        """Close all, even if one fails."""
        with contextlib.ExitStack() as stack:
            for callback in reversed(self._callbacks):
                stack.callback(callback.close, status)


@contextlib.contextmanager
def one_line(tracker: str, errors: type[Exception]) -> Iterator[None]:
    """Turn errors of a tracker's library into ones that the user can mend."""
    try:
        yield
    except errors as error:
        what = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{tracker}: {what}; mend that, or set --config.logging.{tracker}=False: the same command goes on from the "
            "last checkpoint"
        ) from error


def keep_identity(file: Path, identity: str) -> None:
    """Write the identity of a tracker's run, by which a resumed run finds it."""
    with whole_file(file) as stream:
        stream.write(identity.encode())
