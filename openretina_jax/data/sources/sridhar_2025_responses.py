"""Spike counts of Sridhar et al. 2025: which cells and trials of a recording are taken."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from openretina_jax.data.pickles import load_plain_pickle
from openretina_jax.errors import UserError

# the second half of its test trials belongs to another seed, to whose movie its responses do not fit
_ONLY_FIRST_TESTS = {"01": 10}


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Responses of one retina; NaN where nothing was recorded.

    Attributes:
        train: spike counts per frame of the trials that were shown once.
        test: likewise of the trials that were repeated.
        trials: number of each trial of ``train`` in the recording, from 0.
        cells: number of each neuron in the recording, from 0.
    """

    train: Float32[np.ndarray, "trial time neuron"]
    test: Float32[np.ndarray, "test_trial test_time neuron"]
    trials: Int64[np.ndarray, " trial"]
    cells: Int64[np.ndarray, " neuron"]


def read_recording(
    file: Path,
    retina: str,
    *,
    excluded: Sequence[int] = (),
    cell_index: int | None = None,
    stimulus_seed: int | None = None,
) -> Recording:
    """The responses of a file.

    Args:
        file: a pickle with ``train_responses`` and ``test_responses`` of ``(neuron, frame, trial)``, and perhaps the
            ``seeds`` of the stimulus with the trials of each, ``trial_separation``. Averaged test responses,
            ``(neuron, frame)``, are a single trial.
        retina: name of the recording.
        excluded: cells that are left out.
        cell_index: the only cell that is taken, excluded or not (None: all that are not excluded).
        stimulus_seed: take the trials of this seed alone (None: of all seeds).

    Raises:
        UserError: the file is damaged or holds other things, or has no such cell or seed.
    """
    content = load_plain_pickle(file)
    if not isinstance(content, dict) or not {"train_responses", "test_responses"} <= content.keys():
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise UserError(f'{file}: must hold "train_responses" and "test_responses", but holds {found or "nothing"}')
    train, test = (_counts(file, name, content[name]) for name in ("train_responses", "test_responses"))
    if len(train) != len(test):
        raise UserError(
            f"{file}: {len(train)} neurons have train_responses, {len(test)} have test_responses; both must be "
            "(neuron, frame, trial): are axes swapped?"
        )
    cells = _cells(file, len(train), excluded, cell_index)
    trials, tests = _trials(file, retina, content, train.shape[2], test.shape[2], stimulus_seed)
    return Recording(
        train=_trial_by_trial(file, "train_responses", train, cells, trials),
        test=_trial_by_trial(file, "test_responses", test, cells, tests),
        trials=trials,
        cells=cells,
    )


def _counts(file: Path, name: str, responses: Any) -> np.ndarray:
    """Responses of ``(neuron, frame, trial)``."""
    if not isinstance(responses, np.ndarray) or responses.dtype.kind not in "iufb":
        found = f"values of type {responses.dtype}" if isinstance(responses, np.ndarray) else type(responses).__name__
        raise UserError(f"{file}: {name} must be an array of numbers, but is {found}")
    if name == "test_responses" and responses.ndim == 2:
        responses = responses[..., None]
    if responses.ndim != 3 or responses.size == 0:
        raise UserError(
            f"{file}: {name} has shape {responses.shape}, but must be (neuron, frame, trial), none of them empty"
        )
    return responses


def _cells(file: Path, count: int, excluded: Sequence[int], cell_index: int | None) -> Int64[np.ndarray, " neuron"]:
    chosen = excluded if cell_index is None else (cell_index,)
    unknown = [cell for cell in chosen if not 0 <= cell < count]
    if unknown:
        what = "excluded_cells" if cell_index is None else "cell_index"
        raise UserError(f"{file}: {what} names cell {unknown[0]}, but the recording has cells 0 to {count - 1}")
    if cell_index is not None:
        return np.array([cell_index])
    cells = np.setdiff1d(np.arange(count), np.asarray(excluded, np.int64))
    if len(cells) == 0:
        raise UserError(f"{file}: all {count} cells are excluded; leave at least one, or leave the retina out")
    return cells


def _trials(
    file: Path, retina: str, content: Mapping[str, Any], n_train: int, n_test: int, seed: int | None
) -> tuple[Int64[np.ndarray, " trial"], Int64[np.ndarray, " test_trial"]]:
    """Trials and test trials that are taken."""
    train, test = np.arange(n_train), np.arange(n_test)
    if "seeds" not in content:
        if seed is not None:
            raise UserError(f"{file}: does not say the seed of its trials; set stimulus_seed to None")
        return train, test
    if seed is None:
        return train, test[: _ONLY_FIRST_TESTS.get(retina)]
    known = [int(other) for other in content["seeds"]]
    try:
        of_seed = np.asarray(content["trial_separation"][seed], np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{file}: has no trials of stimulus_seed {seed}; choose among {', '.join(map(str, known))}, or None for all"
        ) from None
    for name, count in (("train_responses", n_train), ("test_responses", n_test)):
        if not len(of_seed) or of_seed.min() < 0 or of_seed.max() >= count:
            raise UserError(
                f"{file}: trials {of_seed.tolist()} belong to stimulus_seed {seed}, but {name} has trials 0 to "
                f"{count - 1}"
            )
    return of_seed, of_seed


def _trial_by_trial(
    file: Path, name: str, responses: np.ndarray, cells: np.ndarray, trials: np.ndarray
) -> Float32[np.ndarray, "trial time neuron"]:
    """What was chosen, as ``(trial, time, neuron)``."""
    chosen = np.ascontiguousarray(responses[cells[:, None], :, trials].transpose(1, 2, 0), np.float32)
    wrong = (chosen < 0) | np.isinf(chosen)
    if wrong.any():
        trial, frame, cell = (int(axis[0]) for axis in np.nonzero(wrong))
        raise UserError(
            f"{file}: {name} of cell {cells[cell]} is {chosen[trial, frame, cell]} in frame {frame} of trial "
            f"{trials[trial]}; spike counts are finite and not negative, or NaN where nothing was recorded"
        )
    return chosen
