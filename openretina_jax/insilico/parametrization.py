"""Parametrisations of optimised stimuli: the numbers that the ascent moves, and the movie that they stand for.

The movie is decoded first and moved into its norm and range afterwards, so that no filter undoes the constraint.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from openretina_jax.errors import UserError

Movies = Float[Array, "target time height width channel"]


@runtime_checkable
class Parametrization(Protocol):
    """Contract of parametrisations: frozen dataclasses, since compiled programs are kept by them."""

    def encode(self, movies: Movies) -> PyTree:
        """Find parameters of movies, or of the movies nearest to them; every leaf has the target as its first axis."""

    def decode(self, parameters: Any, frames: int, height: int, width: int) -> Movies:
        """Compute the movies."""

    def moved(self, parameters: Any, movies: Movies, scale: Float[Array, " target"]) -> PyTree:
        """Move parameters along with their movies, which were multiplied by ``scale``, clipped, and are ``movies``."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Every pixel of every frame is a parameter."""

    def encode(self, movies: Movies) -> Movies:
        """Return the movies."""
        return movies

    def decode(self, parameters: Movies, frames: int, height: int, width: int) -> Movies:
        """Return the parameters."""
        del frames, height, width
        return parameters

    def moved(self, parameters: Movies, movies: Movies, scale: Float[Array, " target"]) -> Movies:
        """Return the movies as they are after scaling and clipping: projected gradient ascent."""
        del parameters, scale
        return movies


@dataclasses.dataclass(frozen=True)
class Smooth:
    """Pixels that a Gaussian filter blurs in space and time.

    Attributes:
        sigma_frames, sigma_px: standard deviations of the filter; 0 is no filter.
    """

    sigma_frames: float = 1.0
    sigma_px: float = 0.5

    def __post_init__(self) -> None:
        if min(self.sigma_frames, self.sigma_px) < 0:
            raise UserError(f"sigma_frames is {self.sigma_frames} and sigma_px {self.sigma_px}; neither may be below 0")

    def encode(self, movies: Movies) -> Movies:
        """Return the movies, which the filter then blurs."""
        return movies

    def decode(self, parameters: Movies, frames: int, height: int, width: int) -> Movies:
        """Blur along time and both axes of space; beyond the border the movie is 0."""
        for axis, (size, sigma) in enumerate(
            ((frames, self.sigma_frames), (height, self.sigma_px), (width, self.sigma_px)), start=1
        ):
            if sigma > 0:
                distance = np.arange(size)[:, None] - np.arange(size)
                weights = np.exp(-0.5 * (distance / sigma) ** 2)
                blur = jnp.asarray(weights / weights.sum(axis=1).max(), parameters.dtype)
                parameters = jnp.moveaxis(jnp.tensordot(blur, parameters, axes=(1, axis)), 0, axis)
        return parameters

    def moved(self, parameters: Movies, movies: Movies, scale: Float[Array, " target"]) -> Movies:
        """Multiply the parameters."""
        del movies
        return parameters * scale[:, None, None, None, None]


@dataclasses.dataclass(frozen=True)
class Fourier:
    """Space-time frequencies, of which low ones move faster and those above a limit are absent.

    Attributes:
        power: exponent of the amplitude of a unit of parameter, ``frequency ** -power``; 1 is the spectrum of natural
            movies, 0 leaves all frequencies alike.
        max_cycles_per_frame, max_cycles_per_px: highest frequencies in time and space (0.5: all).
    """

    power: float = 1.0
    max_cycles_per_frame: float = 0.5
    max_cycles_per_px: float = 0.5

    def __post_init__(self) -> None:
        for name in ("max_cycles_per_frame", "max_cycles_per_px"):
            if not 0 < getattr(self, name) <= 0.5:
                raise UserError(f"{name} is {getattr(self, name)}; it must be above 0, and 0.5 at most")

    def encode(self, movies: Movies) -> dict[str, Array]:
        """Transform the movies; frequencies above the limits are lost."""
        amplitude = self._amplitude(*movies.shape[1:4])
        spectrum = jnp.fft.rfftn(movies, axes=(1, 2, 3))
        weight = jnp.where(amplitude > 0, 1 / jnp.where(amplitude > 0, amplitude, 1), 0)
        return {"real": spectrum.real * weight, "imaginary": spectrum.imag * weight}

    def decode(self, parameters: dict[str, Array], frames: int, height: int, width: int) -> Movies:
        """Transform back."""
        amplitude = self._amplitude(frames, height, width)
        spectrum = jax.lax.complex(parameters["real"] * amplitude, parameters["imaginary"] * amplitude)
        return jnp.fft.irfftn(spectrum, s=(frames, height, width), axes=(1, 2, 3))

    def moved(self, parameters: dict[str, Array], movies: Movies, scale: Float[Array, " target"]) -> dict[str, Array]:
        """Multiply the parameters."""
        del movies
        return jax.tree.map(lambda value: value * scale[:, None, None, None, None], parameters)

    def _amplitude(self, frames: int, height: int, width: int) -> Array:
        time = np.fft.fftfreq(frames)[:, None, None]
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
        space = np.hypot(rows, columns)
        lowest = 1 / max(frames, height, width)
        amplitude = (np.maximum(np.sqrt(time**2 + space**2), lowest) / lowest) ** -self.power
        kept = (np.abs(time) <= self.max_cycles_per_frame) & (
            (space <= self.max_cycles_per_px) | (self.max_cycles_per_px == 0.5)
        )
        return jnp.asarray(amplitude * kept, jnp.float32)[..., None]


@dataclasses.dataclass(frozen=True)
class LowRank:
    """Sum of a few products of an image and a time course, for every channel.

    Attributes:
        rank: number of products.
    """

    rank: int = 1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"the rank of a stimulus is {self.rank}; it must be 1 or more")

    def encode(self, movies: Movies) -> dict[str, Array]:
        """Take the largest components of the singular value decomposition of every channel."""
        target, frames, height, width, channel = movies.shape
        matrix = jnp.moveaxis(movies, -1, 1).reshape(target, channel, frames, height * width)
        left, size, right = jnp.linalg.svd(matrix, full_matrices=False)
        root = jnp.sqrt(size[..., : self.rank])
        space = jnp.moveaxis(right[..., : self.rank, :], -1, -2) * root[..., None, :]
        return {"time": left[..., : self.rank] * root[..., None, :], "space": space}

    def decode(self, parameters: dict[str, Array], frames: int, height: int, width: int) -> Movies:
        """Multiply and add up."""
        movies = jnp.einsum("nctr,ncpr->ntpc", parameters["time"], parameters["space"])
        return movies.reshape(len(movies), frames, height, width, -1)

    def moved(self, parameters: dict[str, Array], movies: Movies, scale: Float[Array, " target"]) -> dict[str, Array]:
        """Multiply both factors by the root."""
        del movies
        return jax.tree.map(lambda value: value * jnp.sqrt(scale)[:, None, None, None], parameters)


PARAMETRIZATIONS = {"pixels": Pixels, "smooth": Smooth, "fourier": Fourier, "low_rank": LowRank}
