"""Normalisation of movies, and back: grey levels of the projector and the units of a model.

Bytes for a projector:

    normalization = Normalization.of(model.data_info)
    normalization.displayed(movie)  # bytes for the projector
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Num, UInt8

from openretina_jax.data.info import DataInfo
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.errors import UserError

Movie = Float32[np.ndarray, "*batch time height width channel"]


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of a movie's grey levels.

    Attributes:
        mean, std: one number for all channels, or one for each.

    Raises:
        UserError: a standard deviation is not above 0.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        if not (np.asarray(self.std) > 0).all():
            raise UserError(f"the standard deviation of grey levels is {self.std}; it must be above 0")

    @classmethod
    def of(cls, known: Stimulus | DataInfo) -> "Normalization":
        """Take it from a ``Stimulus``, or from the ``DataInfo`` of a model.

        Raises:
            UserError: it is not known there, or not the same for all movies.
        """
        if known.norm_mean is None or known.norm_std is None:
            raise UserError(
                "mean and standard deviation of the grey levels are not known, or differ between the training movies; "
                "give Normalization(mean, std)"
            )
        return cls(known.norm_mean, known.norm_std)

    def normalized(self, levels: Num[np.ndarray, "*batch time height width channel"]) -> Movie:
        """Movie in the units of a model, from grey levels."""
        return ((levels - np.asarray(self.mean, np.float64)) / np.asarray(self.std, np.float64)).astype(np.float32)

    def levels(self, movie: Movie) -> Movie:
        """Grey levels of a movie in the units of a model, the inverse of ``normalized``."""
        return (movie * np.asarray(self.std, np.float64) + np.asarray(self.mean, np.float64)).astype(np.float32)

    def displayed(self, movie: Movie) -> UInt8[np.ndarray, "*batch time height width channel"]:
        """Grey levels as bytes, rounded.

        Raises:
            UserError: the projector, with levels from 0 to 255, cannot show the movie.
        """
        levels = np.rint(self.levels(movie))
        outside = np.mean((levels < 0) | (levels > 255))
        if outside or not np.isfinite(levels).all():
            raise UserError(
                f"grey levels of the movie go from {levels.min():g} to {levels.max():g}, with {outside:.1%} of all "
                "pixels outside 0 to 255; clip it, or optimise it within low and high"
            )
        return levels.astype(np.uint8)
