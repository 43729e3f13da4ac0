"""Which trials of Sridhar et al. 2025 are for training, and which for validation."""

import dataclasses

import numpy as np

from openretina_jax.errors import UserError

REPEATED = ((0, 9), (10, 19))
_MOST_DRAWS = 10_000


@dataclasses.dataclass(frozen=True)
class TrialSplit:
    """How trials are divided; positions count the trials that the recording gives, from 0.

    Attributes:
        train_fraction: part of the trials that is for training; the others are for validation.
        seed: of the draw.
        validation: positions of the validation trials (None: they are drawn, as openretina draws them).
        first: the first position that is used.
        count: how many trials from there on are used (None: all).
        repeated: pairs of trials that show the same frames at their end and beginning, and so stay on one side.

    Raises:
        UserError: the fraction leaves nothing to draw from.
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
        """Positions of the training and of the validation trials, both in ascending order.

        Args:
            n_trials: trials of the recording.
            name: of the recording, for errors.

        Raises:
            UserError: a side would have no trial, a chosen trial does not exist, or trials that show the same frames
                would be on different sides.
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
