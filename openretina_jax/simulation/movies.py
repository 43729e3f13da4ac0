"""Movies for the simulated retina: natural-looking clips, the chirp and the moving bar.

A movie is a stack of clips on the grid of Höfling et al. 2024, 18 x 16 pixels of 50 µm, with the channels green and UV,
at 30 frames per second. Natural clips can also be made on a finer grid.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int

from openretina_jax.data import artificial_stimuli
from openretina_jax.simulation.scenes import spatial_frequencies
from openretina_jax.sources.hoefling_2024.sessions import CLIP_FRAMES
from openretina_jax.sources.hoefling_2024.traces import FRAME_RATE_HZ

HEIGHT, WIDTH = 18, 16

_CANVAS = 48
_COLOUR_CORRELATION = 0.8
_OBJECT_ROOM = 28  # side of the periodic room, in pixels, in which objects move; the screen lies in its corner


@dataclasses.dataclass(frozen=True, eq=False)
class _Texture:
    """Moving periodic textures, one for every clip.

    Attributes:
        values: intensities on pixels of 50 µm.
        positions: place of the screen's first pixel, in such pixels.
        details: seeds of the details on a finer grid.
    """

    values: Float32[np.ndarray, "clip row column channel"]
    positions: Float[np.ndarray, "clip frame 2"]
    details: Int[np.ndarray, " clip"]

    @classmethod
    def drawn(cls, rng: np.random.Generator, n_clips: int, typical_speed: float) -> "_Texture":
        details = rng.spawn(1)[0].integers(2**31, size=n_clips)  # rng itself goes on as if there were none
        return cls(_textures(rng, n_clips), _trajectories(rng, n_clips, typical_speed), details)

    def shown(self, clips: slice, finer: int) -> np.ndarray:
        """The part under the screen (clip, frame, channel, height, width)."""
        values, positions = self.values[clips], self.positions[clips]
        if finer > 1:
            values = np.stack([_finer(*each, finer) for each in zip(values, self.details[clips].tolist(), strict=True)])
        return _shown_texture(values, finer * positions, finer)


def _finer(texture: np.ndarray, seed: int, finer: int) -> np.ndarray:
    """A texture (row, column, channel) on a finer grid: its own waves, and shorter ones that continue the 1/f."""
    side = finer * _CANVAS
    frequency = finer * spatial_frequencies(side, side)
    own = np.fft.rfft2(texture, axes=(0, 1))
    half, columns = _CANVAS // 2, own.shape[1]
    amplitude = np.sqrt(np.square(np.abs(own[1:half, 1:half]) * frequency[1:half, 1:half, None]).mean())
    rng = np.random.default_rng(seed)
    waves = amplitude / np.sqrt(2) * (rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape))
    waves = np.repeat((waves / frequency)[..., None], texture.shape[-1], axis=-1)
    # pixel centres of the fine grid lie between those of the coarse one
    down, right = np.fft.fftfreq(side)[:, None] * finer, np.fft.rfftfreq(side)[None, :] * finer
    shift = np.exp(2j * np.pi * (down + right) * (0.5 / finer - 0.5))[..., None]
    waves[:half, :columns], waves[-half:, :columns] = own[:half], own[half:]
    waves[half, :columns] = 0
    return (finer**2 * np.fft.irfft2(waves * shift, s=(side, side), axes=(0, 1))).astype(np.float32)


def _centres(n_pixels: int, finer: int) -> np.ndarray:
    """Centres of the pixels along one axis, in pixels of 50 µm from the centre of the first such pixel."""
    return (np.arange(n_pixels * finer) + 0.5) / finer - 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class NaturalScenes:
    """Scenes, one for every clip: a texture under a moving camera, and an object of another texture that moves too.

    The amplitude of textures falls as 1/f in space. Their speeds vary widely between clips and slowly within them, so
    that power falls with temporal frequency too. Clips are independent, with hard cuts between them. Lengths are in
    pixels of 50 µm, whatever the resolution in which the scenes are shown.
    """

    scene: _Texture
    object: _Texture
    radius: Float[np.ndarray, "clip 1 1 1"]
    centre: Float[np.ndarray, "clip frame 2"]
    contrast: Float32[np.ndarray, "clip 1 1 1 1"]
    object_luminance: Float32[np.ndarray, "clip 1 1 1 1"]
    luminance: Float32[np.ndarray, "clip 1 1 1 1"]

    @classmethod
    def drawn(cls, rng: np.random.Generator, n_clips: int) -> "NaturalScenes":
        """Draw scenes for that many clips."""
        scene, thing = (_Texture.drawn(rng, n_clips, typical_speed) for typical_speed in (9.0, 5.0))
        radius = rng.uniform(1.5, 5.0, (n_clips, 1, 1, 1))
        centre = np.mod(_trajectories(rng, n_clips, typical_speed=12.0), _OBJECT_ROOM) - (_OBJECT_ROOM - HEIGHT) / 2
        contrast = rng.uniform(0.8, 1.1, (n_clips, 1, 1, 1, 1)).astype(np.float32)
        object_luminance = rng.normal(0, 0.8, (n_clips, 1, 1, 1, 1)).astype(np.float32)
        luminance = rng.normal(0, 0.15, (n_clips, 1, 1, 1, 1)).astype(np.float32)
        return cls(scene, thing, radius, centre, contrast, object_luminance, luminance)

    def shown(
        self, clips: slice = slice(None), finer: int = 1
    ) -> Float32[np.ndarray, "clip frame channel height width"]:
        """Render clips.

        Args:
            clips: slice of the clips.
            finer: pixels per 50 µm along each axis; finer movies have details that coarse ones lack.

        Returns:
            Intensities from 0 to 255, skewed towards dark as in natural scenes.
        """
        scene, thing = self.scene.shown(clips, finer), self.object.shown(clips, finer)
        coverage = self._object_coverage(clips, finer)[:, :, None]
        log_intensity = (
            self.contrast[clips] * (scene + coverage * (thing + self.object_luminance[clips] - scene))
            + self.luminance[clips]
        )
        return np.ascontiguousarray(np.clip(28 * np.exp(0.75 * log_intensity), 0, 255))

    def _object_coverage(self, clips: slice, finer: int) -> np.ndarray:
        """Fraction of every pixel (clip, frame, height, width) that the moving object covers; its edge is soft."""
        from scipy.special import expit  # takes a second, and configurations read our options

        centre = self.centre[clips]
        rows = _centres(HEIGHT, finer)[:, None] - centre[:, :, 0, None, None]
        columns = _centres(WIDTH, finer)[None, :] - centre[:, :, 1, None, None]
        return expit(4 * finer * (self.radius[clips] - np.hypot(rows, columns))).astype(np.float32)


def chirp_clip() -> Float32[np.ndarray, "clip frame channel height width"]:
    """Make the chirp: one clip of 33 s."""
    return np.moveaxis(artificial_stimuli.chirp(HEIGHT, WIDTH), -1, 1)[None].copy()


def moving_bar_clips() -> Float32[np.ndarray, "clip frame channel height width"]:
    """Make moving bars: a clip of 4.1 s for each of ``artificial_stimuli.BAR_DIRECTIONS_DEG``."""
    return np.moveaxis(artificial_stimuli.moving_bars(HEIGHT, WIDTH), -1, 2).copy()


def _textures(rng: np.random.Generator, n_clips: int) -> np.ndarray:
    """Periodic textures (clip, row, column, channel) with 1/f amplitude, unit variance and correlated channels."""
    frequency = spatial_frequencies(_CANVAS, _CANVAS)
    shape = (n_clips, 3, *frequency.shape)
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / frequency
    common, *own = np.moveaxis(np.fft.irfft2(spectrum, s=(_CANVAS, _CANVAS)), 1, 0)
    share = np.sqrt([_COLOUR_CORRELATION, 1 - _COLOUR_CORRELATION])
    channels = np.stack([share[0] * common + share[1] * part for part in own], axis=-1)
    return (channels / channels.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def _trajectories(rng: np.random.Generator, n_clips: int, typical_speed: float) -> np.ndarray:
    """Positions in pixels (clip, frame, 2): the integral of a velocity that changes within about half a second."""
    from scipy.signal import lfilter  # takes a second, and configurations read our options

    speed = typical_speed * np.exp(rng.normal(0, 0.5, (n_clips, 1, 1)))
    memory = np.exp(-1 / (0.5 * FRAME_RATE_HZ))
    drive = rng.standard_normal((n_clips, CLIP_FRAMES, 2)) * np.sqrt(1 - memory**2)
    drive[:, 0] = rng.standard_normal((n_clips, 2))
    velocity = speed * lfilter([1.0], [1.0, -memory], drive, axis=1)
    start = rng.uniform(0, _CANVAS, (n_clips, 1, 2))
    return start + np.cumsum(velocity, axis=1) / FRAME_RATE_HZ


def _shown_texture(textures: np.ndarray, positions: np.ndarray, finer: int) -> np.ndarray:
    """The part of each texture under the screen (clip, frame, channel, height, width), bilinearly interpolated."""
    corner = np.floor(positions).astype(np.int64)
    part = (positions - corner).astype(np.float32)[..., None, None]
    rows = (corner[:, :, 0, None] + np.arange(finer * HEIGHT + 1)) % textures.shape[1]
    columns = (corner[:, :, 1, None] + np.arange(finer * WIDTH + 1)) % textures.shape[2]
    clip = np.arange(len(textures))[:, None, None, None]
    window = textures[clip, rows[..., :, None], columns[..., None, :]]
    down, right = part[:, :, 0, :, :, None], part[:, :, 1, :, :, None]
    window = window[:, :, :-1] + down * (window[:, :, 1:] - window[:, :, :-1])
    window = window[:, :, :, :-1] + right * (window[:, :, :, 1:] - window[:, :, :, :-1])
    return np.moveaxis(window, -1, 2)
