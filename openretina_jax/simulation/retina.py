"""Simulated retinal ganglion cells: linear-nonlinear cascades with subunits, whose responses are known without noise.

A cell pools rectified subunits. A subunit weights the colour channels, filters space by a centre and a delayed
surround, and filters time by a biphasic kernel. In direction-selective types, displaced and delayed inputs add
excitation on the preferred side and inhibition on the null side. The pooled drive is divided by the local contrast
of the last fraction of a second, passes an output nonlinearity, and is blurred by the indicator.
"""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32, Int

from openretina_jax.simulation.movies import HEIGHT, WIDTH
from openretina_jax.sources.hoefling_2024.traces import FRAME_RATE_HZ

SCREEN_CENTRE = ((HEIGHT - 1) / 2, (WIDTH - 1) / 2)

WIDE_POOL = 1.5  # pool in which contrast is measured, relative to that of the drive
SUBUNIT_SIDE = 12  # subunits sit on the central pixels, one each; receptive fields lie there
TAPS = 24  # 0.8 s at 30 Hz
_SURROUND_PX = 2.0
_SURROUND_DELAY = 1
_DIRECTION_WEIGHT = 0.8
_DIRECTION_DELAY = 3  # frames; with the displacement below, cells prefer 1 mm/s
_DIRECTION_DISPLACEMENT_PX = 2
CONTRAST_TIME_S = 0.15
INDICATOR_TIMES_S = (0.04, 0.10)
OUTPUT_SLOPE = 2.0


@dataclasses.dataclass(frozen=True)
class CellType:
    """A type of neuron.

    Attributes:
        name: name after Baden et al. 2016.
        groups: numbers of the groups of Baden et al. 2016 to which neurons are assigned (33 to 46: amacrine cells).
        abundance: relative frequency of the type.
        polarity: weights of the subunits that light excites, and of those that dark excites.
        colour: weights of green and UV in the centre of a subunit; the surround weights them equally.
        centre_px: standard deviation of a subunit's centre, in pixels of 50 µm.
        surround: strength of a subunit's surround relative to its centre.
        pool_px: standard deviation of the pool of subunits.
        peak_s: time of the temporal kernel's peak before the response.
        biphasic: 0 for a sustained response, 1 for one that returns to 0 under constant light.
        gain_control: strength of divisive contrast adaptation.
        suppression: strength of subtractive suppression by contrast.
        threshold: threshold of the output, in standard deviations of the drive.
        directional: whether the type prefers one of four directions of motion.
    """

    name: str
    groups: tuple[int, ...]
    abundance: float
    polarity: tuple[float, float]
    colour: tuple[float, float] = (0.5, 0.5)
    centre_px: float = 0.7
    surround: float = 0.6
    pool_px: float = 1.2
    peak_s: float = 0.10
    biphasic: float = 0.7
    gain_control: float = 0.7
    suppression: float = 0.0
    threshold: float = 0.2
    directional: bool = False


_ON, _OFF = (1.0, 0.0), (0.0, 1.0)

CELL_TYPES = (
    CellType("OFF local, OS", (1, 6), 7.0, _OFF, (0.4, 0.6), surround=0.8, pool_px=0.8),
    CellType("OFF DS", (2,), 4.0, _OFF, pool_px=1.0, peak_s=0.08, biphasic=0.8, directional=True),
    CellType("OFF slow", (3, 4), 7.0, _OFF, (0.3, 0.7), centre_px=0.8, peak_s=0.16, biphasic=0.4, threshold=0.0),
    CellType("OFF alpha sust.", (5, 7), 9.0, _OFF, centre_px=0.8, pool_px=1.8, biphasic=0.3, threshold=0.0),
    CellType("OFF alpha trans", (8, 9), 9.0, _OFF, (0.6, 0.4), pool_px=1.7, peak_s=0.07, biphasic=1.0),
    CellType(
        "ON-OFF local-edge W3", (10, 11, 14), 9.0, (0.8, 1.0), centre_px=0.6, surround=0.9, pool_px=0.8, threshold=0.5
    ),
    CellType("ON-OFF DS 1", (12, 13), 8.0, (1.0, 0.8), pool_px=1.1, peak_s=0.08, biphasic=0.8, directional=True),
    CellType("ON trans", (15, 17, 18, 19, 20), 12.0, _ON, (0.6, 0.4), pool_px=1.3, peak_s=0.08, biphasic=1.0),
    CellType("ON sust", (21, 22, 23, 30), 11.0, _ON, (0.35, 0.65), peak_s=0.12, biphasic=0.3, threshold=0.0),
    CellType("ON alpha", (24,), 6.0, _ON, centre_px=0.8, pool_px=1.9, peak_s=0.09, biphasic=0.5),
    CellType("ON slow", (25, 26, 27, 29), 7.0, _ON, (0.2, 0.8), centre_px=0.9, pool_px=1.5, peak_s=0.17, biphasic=0.4),
    CellType(
        "ON contrast suppr.",
        (28, 31, 32),
        8.0,
        _ON,
        (-0.35, 1.0),
        surround=0.3,
        peak_s=0.12,
        suppression=0.3,
        threshold=-0.3,
    ),
    CellType("ON starburst AC", (33, 38, 42, 45), 5.0, _ON, surround=0.4, pool_px=1.0, biphasic=0.5),
)


def constants() -> str:
    """Write down all numbers that are the same for neurons of all sessions, to recognise files of another retina."""
    numbers = (
        *(SUBUNIT_SIDE, TAPS, WIDE_POOL, CONTRAST_TIME_S, INDICATOR_TIMES_S, OUTPUT_SLOPE),
        *(_SURROUND_PX, _SURROUND_DELAY, _DIRECTION_WEIGHT, _DIRECTION_DELAY, _DIRECTION_DISPLACEMENT_PX),
    )
    return json.dumps([numbers, [dataclasses.asdict(kind) for kind in CELL_TYPES]])


@dataclasses.dataclass(frozen=True, eq=False)
class Neurons:
    """Parameters in which the neurons of one session differ.

    Attributes:
        cell_type: index into ``CELL_TYPES``.
        direction_deg: preferred direction on the screen as the eye sees it (0: rightwards, 90: upwards); 0 in types
            that have none.
        centre_px: receptive-field centre (row, column) on the screen as the eye sees it, in pixel indices.
        pool_px: standard deviation of the pool of subunits.
        gain_control: strength of divisive contrast adaptation.
        threshold: threshold of the output, in standard deviations of the drive.
    """

    cell_type: Int[np.ndarray, " neuron"]
    direction_deg: Int[np.ndarray, " neuron"]
    centre_px: Float[np.ndarray, "neuron 2"]
    pool_px: Float[np.ndarray, " neuron"]
    gain_control: Float[np.ndarray, " neuron"]
    threshold: Float[np.ndarray, " neuron"]

    @classmethod
    def drawn(cls, rng: np.random.Generator, centre_px: Float[np.ndarray, "neuron 2"]) -> "Neurons":
        """Draw neurons of random types at given places, each a little different from the mean of its type."""
        count = len(centre_px)
        abundance = np.array([kind.abundance for kind in CELL_TYPES], dtype=float)
        cell_type = rng.choice(len(CELL_TYPES), size=count, p=abundance / abundance.sum())
        kinds = [CELL_TYPES[index] for index in cell_type]
        directional = np.array([kind.directional for kind in kinds])
        return cls(
            cell_type=cell_type,
            direction_deg=np.where(directional, 90 * rng.integers(4, size=count), 0),
            centre_px=centre_px,
            pool_px=np.array([kind.pool_px for kind in kinds]) * rng.uniform(0.85, 1.15, count),
            gain_control=np.array([kind.gain_control for kind in kinds]) * rng.uniform(0.7, 1.3, count),
            threshold=np.array([kind.threshold for kind in kinds]) + rng.normal(0, 0.15, count),
        )

    def __len__(self) -> int:
        return len(self.cell_type)


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """Numbers by which the first stimulus sets the units of the neurons of one session.

    Attributes:
        subunit_unit: standard deviation of the output of a neuron's subunits to all clips.
        drive_mean, drive_scale: mean and standard deviation of its drive while the stimulus was shown.
    """

    subunit_unit: Float32[np.ndarray, " neuron"]
    drive_mean: Float32[np.ndarray, " neuron"]
    drive_scale: Float32[np.ndarray, " neuron"]


class Retina:
    """Retina that gives the noise-free responses of neurons to movies that are shown clip by clip.

    Args:
        movies: normalised clips by name of the stimulus; the first stimulus sets the unit of the subunits' output.
    """

    def __init__(self, movies: Mapping[str, Float32[np.ndarray, "clip frame channel height width"]]) -> None:
        self._movies = movies
        self._subunits: dict[tuple[int, int, bool], tuple[dict[str, np.ndarray], np.float32]] = {}

    def rates(
        self, neurons: Neurons, clip_order: Mapping[str, Int[np.ndarray, " shown"]], *, mirrored: bool
    ) -> tuple[dict[str, Float32[np.ndarray, "time neuron"]], Scaling]:
        """Compute firing rates, blurred by the indicator, in arbitrary units.

        Args:
            neurons: the recorded neurons.
            clip_order: by name of the stimulus, the clips in the order in which they were shown without a pause; the
                order matters because the filters remember the previous clip.
            mirrored: whether the eye saw the movies mirrored left to right.

        Returns:
            By name of the stimulus, the rate at every frame shown; and the units that the first stimulus sets.
        """
        drives = {name: self._drive(name, neurons, order, mirrored) for name, order in clip_order.items()}
        first = next(iter(drives.values()))
        mean, scale = first.mean(axis=0), first.std(axis=0)
        threshold = neurons.threshold.astype(np.float32)
        rates = {name: _output((drive - mean) / scale - threshold) for name, drive in drives.items()}
        variants = zip(neurons.cell_type.tolist(), neurons.direction_deg.tolist(), strict=True)
        units = [self._subunit_bank(kind, direction, mirrored)[1] for kind, direction in variants]
        return rates, Scaling(np.array(units), mean, scale)

    def _drive(self, stimulus: str, neurons: Neurons, order: np.ndarray, mirrored: bool) -> np.ndarray:
        """Drive (time, neuron) before the output nonlinearity: pooled subunits under contrast gain control."""
        drive = np.empty((len(order) * self._movies[stimulus].shape[1], len(neurons)), np.float32)
        contrast = np.empty_like(drive)
        variants = np.stack([neurons.cell_type, neurons.direction_deg], axis=1)
        for kind, direction in np.unique(variants, axis=0):
            cells = np.flatnonzero((variants == (kind, direction)).all(axis=1))
            bank = self._subunit_bank(int(kind), int(direction), mirrored)[0]
            light = _in_order(bank[stimulus], order, self._movies[stimulus].shape[1])
            near = pool(neurons.centre_px[cells], neurons.pool_px[cells])
            wide = pool(neurons.centre_px[cells], WIDE_POOL * neurons.pool_px[cells])
            bright, dark = np.maximum(light, 0), np.maximum(-light, 0)
            on, off = CELL_TYPES[kind].polarity
            drive[:, cells] = on * (bright @ near) + off * (dark @ near)
            contrast[:, cells] = (bright + dark) @ wide
        contrast = _low_pass(contrast, CONTRAST_TIME_S)
        suppression = np.array([CELL_TYPES[kind].suppression for kind in neurons.cell_type], np.float32)
        return drive / (1 + neurons.gain_control.astype(np.float32) * contrast) - suppression * contrast

    def _subunit_bank(self, kind: int, direction: int, mirrored: bool) -> tuple[dict[str, np.ndarray], np.float32]:
        """Filtered clips (clip, frame + tail, subunit) by stimulus, and their unit; the tail is in the next clip."""
        key = (kind, direction, mirrored)
        if key not in self._subunits:
            banks = {
                name: _filtered(clips, CELL_TYPES[kind], direction, mirrored) for name, clips in self._movies.items()
            }
            unit = next(iter(banks.values())).std()
            self._subunits[key] = {name: bank / unit for name, bank in banks.items()}, unit
        return self._subunits[key]


def _filtered(clips: np.ndarray, kind: CellType, direction_deg: int, mirrored: bool) -> np.ndarray:
    """Every clip, filtered on its own by the subunits of a type, with its tail."""
    from scipy.linalg import toeplitz  # takes a second, and configurations read our options

    n_clips, n_frames = clips.shape[:2]
    frames = clips.reshape(n_clips * n_frames, -1)
    total = np.zeros((n_clips, n_frames + TAPS - 1, SUBUNIT_SIDE**2), np.float32)
    for field in fields_of(kind, direction_deg):
        spatial = _spatial_filters(field)
        weights = spatial[..., ::-1] if mirrored else spatial
        seen = frames @ weights.reshape(len(weights), -1).T
        column = np.concatenate([temporal_kernel(kind, field.delay), np.zeros(n_frames - 1)])
        in_time = toeplitz(column, np.zeros(n_frames)).astype(np.float32, order="C")
        total += in_time @ seen.reshape(n_clips, n_frames, -1)
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """One of the parts that add up to a subunit: it weighs the colours, and space by Gaussians.

    Attributes:
        weights: weights of the colour channels.
        deviation_px: standard deviation of the Gaussians.
        delay: frames by which the part comes later.
        places: sign of each Gaussian, and its place (row, column) relative to that of the subunit, in pixels.
    """

    weights: Float32[np.ndarray, " channel"]
    deviation_px: float
    delay: int = 0
    places: tuple[tuple[float, Float[np.ndarray, "2"]], ...] = ((1.0, np.zeros(2)),)


def fields_of(kind: CellType, direction_deg: int) -> list[Field]:
    """List the parts of the subunits of a type: centre, surround, and inputs of the preferred and the null side."""
    colour = np.array(kind.colour, np.float32)
    surround = np.float32(-kind.surround) * np.full(2, 0.5, np.float32)
    fields = [Field(colour, kind.centre_px), Field(surround, _SURROUND_PX, _SURROUND_DELAY)]
    if kind.directional:
        towards = np.array([-np.sin(np.deg2rad(direction_deg)), np.cos(np.deg2rad(direction_deg))])
        step = _DIRECTION_DISPLACEMENT_PX * towards
        sides = ((1.0, -step), (-1.0, step))
        fields.append(Field(np.float32(_DIRECTION_WEIGHT) * colour, kind.centre_px, _DIRECTION_DELAY, sides))
    return fields


def _spatial_filters(field: Field) -> Float32[np.ndarray, "subunit channel height width"]:
    """One part of all subunits."""
    spatial = sum(sign * _gaussians(_subunit_centres() + place, field.deviation_px) for sign, place in field.places)
    return field.weights[:, None, None] * np.asarray(spatial)[:, None]


def profile(
    places: Float[np.ndarray, " place"], deviation_px: float, n_pixels: int
) -> Float[np.ndarray, "place pixel"]:
    """Compute Gaussians along one axis of the screen, of height 1."""
    return np.exp(-0.5 * ((np.arange(n_pixels) - places[:, None]) / deviation_px) ** 2)


def subunit_grid() -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " column"]]:
    """List the rows and the columns of pixels at which subunits sit."""
    offsets = np.arange(SUBUNIT_SIDE) - (SUBUNIT_SIDE - 1) / 2
    return SCREEN_CENTRE[0] + offsets, SCREEN_CENTRE[1] + offsets


def _subunit_centres() -> np.ndarray:
    """Pixel indices (subunit, 2) of the subunits."""
    rows, columns = np.meshgrid(*subunit_grid(), indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], axis=1)


def _gaussians(centres: np.ndarray, deviation_px: float) -> np.ndarray:
    """Gaussians of unit sum (place, height, width) on the screen."""
    rows, columns = profile(centres[:, 0], deviation_px, HEIGHT), profile(centres[:, 1], deviation_px, WIDTH)
    images = rows[:, :, None] * columns[:, None, :]
    return _without_tails(images / images.sum(axis=(1, 2), keepdims=True))


def pool(
    centres: Float[np.ndarray, "neuron 2"], deviations_px: Float[np.ndarray, " neuron"]
) -> Float32[np.ndarray, "subunit neuron"]:
    """Compute the weights, of unit sum, with which neurons pool subunits."""
    distances = ((_subunit_centres()[:, None] - centres[None]) ** 2).sum(axis=-1)
    weights = np.exp(-0.5 * distances / deviations_px**2)
    return _without_tails(weights / weights.sum(axis=0))


def _without_tails(weights: np.ndarray) -> np.ndarray:
    """Weights in single precision without their tails, whose denormal numbers slow matrix products fiftyfold."""
    return np.where(weights < 1e-9, 0, weights).astype(np.float32)


def temporal_kernel(kind: CellType, delay: int) -> Float[np.ndarray, " frame"]:
    """Compute the weights of the last frames, that of the frame on the screen first.

    They are the difference of two gamma kernels; the second peaks twice as late and, for ``biphasic`` 1, has the same
    area.

    Args:
        kind: the type of neuron.
        delay: frames by which the kernel comes later.
    """
    lag_s = np.arange(TAPS) / FRAME_RATE_HZ

    def lobe(peak: float) -> np.ndarray:
        shape = (lag_s / peak * np.exp(1 - lag_s / peak)) ** 5
        return shape / shape.sum()

    kernel = lobe(kind.peak_s) - kind.biphasic * lobe(2 * kind.peak_s)
    return np.concatenate([np.zeros(delay), kernel])[:TAPS]


def _in_order(bank: np.ndarray, order: np.ndarray, n_frames: int) -> np.ndarray:
    """The subunits' output (time, subunit) to clips shown one after the other."""
    shown = bank[order, :n_frames]
    tail = bank.shape[1] - n_frames
    shown[1:, :tail] += bank[order[:-1], n_frames:]
    return shown.reshape(-1, bank.shape[2])


def _output(drive: np.ndarray) -> np.ndarray:
    """Soft rectification and the blur of the indicator."""
    rate = np.logaddexp(0, OUTPUT_SLOPE * drive, dtype=np.float32) / OUTPUT_SLOPE
    for time_s in INDICATOR_TIMES_S:
        rate = _low_pass(rate, time_s)
    return rate


def _low_pass(signal: np.ndarray, time_s: float) -> np.ndarray:
    """Exponential average over the past along the first axis, at rest in the beginning."""
    from scipy.signal import lfilter  # takes a second, and configurations read our options

    memory = np.float32(np.exp(-1 / (time_s * FRAME_RATE_HZ)))
    coefficients = np.array([1 - memory], np.float32), np.array([1, -memory], np.float32)
    filtered, _ = lfilter(*coefficients, signal, axis=0, zi=memory * signal[:1])
    return filtered
