"""Spike counts of Sridhar et al. 2025, and the choice of cells and trials."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from openretina_jax.errors import UserError
from openretina_jax.runtime.pickles import load_plain_pickle

# fmt: off
_UNRELIABLE = {
    "01": (
        1, 5, 6, 7, 9, 10, 12, 14, 16, 19, 20, 22, 25, 26, 29, 30, 31, 32, 33, 34, 35, 43, 46, 53, 54, 57, 62, 63, 64,
        70, 71, 72, 77, 78, 79, 81, 82, 83, 86, 89, 90, 91, 94, 96, 97, 101, 103, 106, 112, 114, 116, 121, 122, 126,
        127, 128, 130, 133, 136, 140, 143, 144, 145, 146, 148, 149, 155, 159, 162, 168, 171, 176, 177, 178, 182, 185,
        189, 191, 193, 197, 200, 209, 221, 222, 227, 230, 231, 234, 235, 236, 242, 243, 245, 247, 250, 254, 257, 258,
        261, 262, 269, 271, 273, 274, 277, 281, 292, 296, 301, 303, 304, 307, 310, 311, 312, 313, 317, 318, 320, 325,
        330, 331, 332, 333, 340, 341, 342, 344, 350, 352, 353, 354, 357, 358, 362, 363, 365,
    ),
    "02": (
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 15, 16, 17, 18, 21, 24, 25, 26, 28, 29, 32, 42, 43, 44, 45, 46, 48, 50,
        51, 53, 57, 58, 59, 60, 61, 64, 66, 69, 70, 72, 74, 77, 78, 80, 81, 82, 83, 84, 85, 86, 87, 89, 90, 91, 92, 95,
        96, 98, 100, 101, 103, 107, 108, 111, 112, 113, 115, 117, 118, 119, 120, 121, 123, 124, 125, 127, 128, 129, 130,
        131, 134, 136, 138, 140, 141, 143, 144, 145, 146, 147, 149, 150, 151, 152, 153, 154, 156, 159, 160, 162, 163,
        164, 166, 170, 172, 173, 174, 175, 176, 179, 181,
    ),
    "04": (
        0, 1, 13, 15, 19, 21, 22, 24, 29, 33, 34, 40, 41, 46, 47, 49, 51, 55, 57, 59, 62, 65, 71, 84, 89, 90, 94, 99,
        103, 108,
    ),
    "03": (),
}
# fmt: on

# the published model of natural movies was trained on two of them all the same
_NATURAL_MOVIE_MODEL_HAS = {"01": (12, 168)}

UNRELIABLE_CELLS: dict[str, dict[str, tuple[int, ...]]] = {
    "white_noise": _UNRELIABLE,
    "natural_movie": {
        retina: tuple(cell for cell in cells if cell not in _NATURAL_MOVIE_MODEL_HAS.get(retina, ()))
        for retina, cells in _UNRELIABLE.items()
    },
}


REPEATED = ((0, 9), (10, 19))
_MOST_DRAWS = 10_000


@dataclasses.dataclass(frozen=True)
class TrialSplit:
    """Division of trials into training and validation; positions count the trials that are read, from 0.

    Attributes:
        train_fraction: fraction of the trials for training; the others are for validation.
        seed: seed of the draw.
        validation: positions of the validation trials (None: they are drawn, as openretina draws them).
        first: the first position that is used.
        count: how many trials from there on are used (None: all).
        repeated: pairs of trials that share frames, and so are kept on one side.

    Raises:
        UserError: the fraction does not lie between 0 and 1.
    """

    train_fraction: float = 0.8
    seed: int = 1000
    validation: tuple[int, ...] | None = None
    first: int = 0
    count: int | None = None
    repeated: tuple[tuple[int, int], ...] = REPEATED

    def __post_init__(self) -> None:
        if not 0 < self.train_fraction < 1:
            raise UserError(f"train_fraction is {self.train_fraction}, but must lie between 0 and 1")

    def divide(self, n_trials: int, name: str) -> tuple[list[int], list[int]]:
        """List the positions of the training and of the validation trials, both in ascending order.

        Args:
            n_trials: number of trials.
            name: name of the session, for messages.

        Raises:
            UserError: a side would have no trial, a chosen trial does not exist, or trials that share frames would be
                on different sides.
        """
        validation = self._drawn(n_trials, name) if self.validation is None else set(self.validation)
        unknown = sorted(validation - set(range(n_trials)))
        if unknown:
            raise UserError(f"{name}: validation trial {unknown[0]} was never shown; trials are 0 to {n_trials - 1}")
        for pair in self.repeated:
            if max(pair) < n_trials and len(validation.intersection(pair)) == 1:
                raise UserError(
                    f"{name}: trials {pair[0]} and {pair[1]} share frames, but only one of them is for validation; "
                    "take both or none, or remove the pair from the repeated trials"
                )
        end = n_trials if self.count is None else min(self.first + self.count, n_trials)
        used = range(self.first, end)
        train = [trial for trial in used if trial not in validation]
        kept = [trial for trial in used if trial in validation]
        if not train or not kept:
            raise UserError(
                f"{name}: of its {n_trials} trials {len(train)} are for training and {len(kept)} for validation; both "
                "need at least one: change train_fraction, or the first trial and the number of trials"
            )
        return train, kept

    def _drawn(self, n_trials: int, name: str) -> set[int]:
        # the legacy generator, so that the split is openretina's
        rng = np.random.RandomState(self.seed)
        for _ in range(_MOST_DRAWS):
            validation = set(rng.permutation(n_trials)[int(n_trials * self.train_fraction) :].tolist())
            whole = (len(validation.intersection(pair)) != 1 for pair in self.repeated if max(pair) < n_trials)
            if all(whole):
                return validation
        raise UserError(
            f"{name}: no split of {n_trials} trials by train_fraction {self.train_fraction} keeps repeated trials on "
            "one side; choose the validation trials yourself"
        )


# the second half of its test trials followed the movie of another seed
_ONLY_FIRST_TESTS = {"01": 10}


@dataclasses.dataclass(frozen=True, eq=False)
class RetinaResponses:
    """Responses of one retina; NaN where nothing was recorded.

    Attributes:
        train: spike counts per frame in the trials that were shown once.
        test: spike counts per frame in the repeats of the test movie.
        trials: number of each trial of ``train`` in the file, from 0.
        cells: number of each neuron in the file, from 0.
    """

    train: Float32[np.ndarray, "trial time neuron"]
    test: Float32[np.ndarray, "test_trial test_time neuron"]
    trials: Int64[np.ndarray, " trial"]
    cells: Int64[np.ndarray, " neuron"]


def read_responses(
    file: Path,
    retina: str,
    *,
    excluded: Sequence[int] = (),
    cell_index: int | None = None,
    stimulus_seed: int | None = None,
) -> RetinaResponses:
    """Read the responses in a file.

    Args:
        file: a pickle with ``train_responses`` and ``test_responses`` of ``(neuron, frame, trial)``, and perhaps the
            ``seeds`` of the stimulus with the trials of each, ``trial_separation``. Averaged test responses,
            ``(neuron, frame)``, are a single trial.
        retina: name of the session.
        excluded: cells that are left out.
        cell_index: the only cell that is taken, excluded or not (None: all that are not excluded).
        stimulus_seed: seed whose trials alone are taken (None: those of all seeds).

    Raises:
        UserError: the file is damaged or holds something else, or has no such cell or seed.
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
    return RetinaResponses(
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
    """The chosen cells and trials, as ``(trial, time, neuron)``."""
    chosen = np.ascontiguousarray(responses[cells[:, None], :, trials].transpose(1, 2, 0), np.float32)
    wrong = (chosen < 0) | np.isinf(chosen)
    if wrong.any():
        trial, frame, cell = (int(axis[0]) for axis in np.nonzero(wrong))
        raise UserError(
            f"{file}: {name} of cell {cells[cell]} is {chosen[trial, frame, cell]} in frame {frame} of trial "
            f"{trials[trial]}; spike counts are finite and not negative, or NaN where nothing was recorded"
        )
    return chosen
