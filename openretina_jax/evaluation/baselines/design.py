"""What a regression sees of a movie: functions of time, a window around the receptive field, principal axes."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from openretina_jax.data.timelines import Tables, Timeline

LARGEST_DESIGN = 1000  # features of a regression: pixels x channels x functions of time
FUNCTIONS = 10  # of time, where frames would be too many
LEAST_SHARE = 8  # a window spans at least the shorter side of a frame divided by this, if need be in larger pixels
LEAST_POWER = 1e-4  # axes along which the stimulus varies less, relative to the first one, are left out
LOG_OFFSET = 2.0  # frames: how evenly the functions of time are spread
COVARIANCE_FRAMES = 5000  # from which the covariances of pixels and of functions of time are estimated, at most
FEW_AXES = 400  # so few are made exactly uncorrelated
MULTIPLE = 100  # axes: windows with equally many share compiled programs
_BLOCK = 4096  # frames filtered at once


def raised_cosines(frames: int, functions: int) -> Float32[np.ndarray, "frame function"]:
    """Orthonormal functions of time that are fine for recent frames and coarse for old ones.

    They span the raised cosines of Pillow et al. 2008 (doi:10.1038/nature07140), whose peaks are evenly spread over the
    logarithm of time. With as many functions as frames they are the frames themselves.

    Args:
        frames: frames that they look back to; the first row is the frame of the response.
        functions: number of functions, at most ``frames``.
    """
    if functions >= frames:
        return np.eye(frames, dtype=np.float32)
    time = np.log(np.arange(frames) + LOG_OFFSET)
    peaks = np.linspace(time[0], time[-1], functions)
    distance = np.clip(
        np.pi / 2 * (time[:, None] - peaks) / (peaks[1] - peaks[0] if functions > 1 else 1), -np.pi, np.pi
    )
    return np.linalg.qr(1 + np.cos(distance))[0].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Window:
    """Pixels that a regression sees.

    Attributes:
        top, left: first row and column.
        height, width: rows and columns, each ``pixel`` pixels high and wide.
        pixel: side of the squares of pixels that are averaged.
    """

    top: int
    left: int
    height: int
    width: int
    pixel: int

    def cut(self, frames: Float32[np.ndarray, "time y x channel"]) -> Float32[np.ndarray, "time row column channel"]:
        """Cut the window out of frames, and average its squares."""
        rows, columns = self.height * self.pixel, self.width * self.pixel
        part = frames[:, self.top : self.top + rows, self.left : self.left + columns]
        if self.pixel == 1:
            return part
        return part.reshape(len(part), self.height, self.pixel, self.width, self.pixel, -1).mean(axis=(2, 4))


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of a stimulus a regression sees.

    Attributes:
        side: rows and columns of the window; a frame that is smaller is seen whole.
        pixel: side of the squares of pixels that are averaged.
        functions: functions of time.
    """

    side: tuple[int, int]
    pixel: int
    functions: int

    @classmethod
    def fitting(
        cls, shape: tuple[int, int, int], frames: int, features: int = LARGEST_DESIGN, functions: int = FUNCTIONS
    ) -> "Size":
        """Choose a size with at most so many features.

        All frames where the whole image allows them, else as many functions of time as it allows, if these are at least
        ``functions``; else so many, and a square window, in larger pixels if it would span less than an eighth of the
        image.

        Args:
            shape: (height, width, channel) of a frame.
            frames: frames that are looked back to.
            features: most features.
            functions: fewest functions of time, if there are more frames.
        """
        height, width, channels = shape
        if math.prod(shape) * frames <= features:
            return cls((height, width), 1, frames)
        functions = min(functions, frames)
        if math.prod(shape) * functions <= features:
            return cls((height, width), 1, features // math.prod(shape))
        pixels = max(features // (channels * functions), 1)
        if min(height, width) ** 2 < pixels:  # bars, or a narrow image: as long as the other side allows
            short = min(height, width)
            long = max(pixels // short, 1)
            return cls((short, min(long, width)) if height <= width else (min(long, height), short), 1, functions)
        side = math.isqrt(pixels)
        pixel = max(math.ceil(min(height, width) / LEAST_SHARE / side), 1)
        return cls((min(side, height // pixel), min(side, width // pixel)), pixel, functions)

    @classmethod
    def coarse(cls, shape: tuple[int, int, int], frames: int, features: int = LARGEST_DESIGN) -> "Size":
        """Choose pixels so large that the whole image fits, and few functions of time."""
        height, width, channels = shape
        functions = min(FUNCTIONS // 2, frames)
        pixel = 1
        while (height // pixel) * (width // pixel) * channels * functions > features:
            pixel += 1
        return cls((max(height // pixel, 1), max(width // pixel, 1)), pixel, functions)

    def window(self, centre: tuple[float, float], shape: tuple[int, int, int], grid: int = 1) -> Window:
        """Place the window around a row and a column, inside the image; corners lie on multiples of ``grid``."""
        corners = []
        for at, side, size in zip(centre, self.side, shape[:2], strict=True):
            last = size - side * self.pixel
            corner = round((at - side * self.pixel / 2) / grid) * grid
            corners.append(int(min(max(corner, 0), last)))
        return Window(corners[0], corners[1], *self.side, self.pixel)


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """Frames that some neurons saw, one after another.

    Attributes:
        timeline: frames and rows of responses.
        begins: where frames do not follow those before.
    """

    timeline: Timeline
    begins: Bool[np.ndarray, " time"]

    @classmethod
    def clips(cls, timeline: Timeline, continuous: bool = False) -> "Shown":
        """Clips of a timeline.

        Args:
            timeline: whole clips.
            continuous: whether a clip whose first frame follows the last one of the clip before was shown after it.
        """
        time = np.arange(len(timeline))
        begins = time % timeline.clip_length == 0
        if continuous:
            begins &= np.diff(timeline.frames, prepend=-2) != 1
            begins |= np.isin(time, timeline.borders)
        return cls(timeline, begins)

    def predicted(self, lag: int) -> Int[np.ndarray, " time"]:
        """Times that have ``lag`` frames before them."""
        time = np.arange(len(self.begins))
        last = np.maximum.accumulate(np.where(self.begins, time, 0))
        return time[time - last >= lag]

    def movie(self, tables: Tables, window: Window) -> Float32[np.ndarray, "time row column channel"]:
        """Normalised pixels of a window, as the animals saw them."""
        parts = []
        for start in range(0, len(self.timeline), _BLOCK):
            rows = self.timeline.frames[start : start + _BLOCK]
            frames = (tables.pick(rows).astype(np.float32) - np.float32(self.timeline.shift)) / np.float32(
                self.timeline.scale
            )
            parts.append(window.cut(frames[:, :, ::-1] if self.timeline.mirrored else frames))
        return np.concatenate(parts)


def filtered(
    values: Float32[np.ndarray, "time number"], basis: Float32[np.ndarray, "frame function"]
) -> Float32[np.ndarray, "time number*function"]:
    """Weigh the frames up to each time with every function; the first frames lack some, and count these as 0.

    Args:
        values: numbers of every frame.
        basis: functions of time, the first row for the frame itself.
    """
    frames, functions = basis.shape
    padded = np.concatenate([np.zeros((frames - 1, values.shape[1]), np.float32), values])
    result = np.empty((len(values), values.shape[1] * functions), np.float32)
    for start in range(0, len(values), _BLOCK):
        part = padded[start : start + _BLOCK + frames - 1]
        past = np.lib.stride_tricks.sliding_window_view(part, frames, axis=0)  # oldest frame first
        result[start : start + _BLOCK] = (past @ basis[::-1]).reshape(len(past), -1)
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of the features of a window, in the metric of the penalty.

    Features are ``(movie in the window, filtered in time) - mean``, times ``axes``. A ridge penalty on their weights is
    a penalty on the size of a filter plus that of the differences between its neighbouring pixels.

    Attributes:
        window: pixels.
        basis: functions of time.
        mean: mean of every raw feature.
        axes: directions, those of most power first.
        power: mean square of the training stimulus along each.
    """

    window: Window
    basis: Float32[np.ndarray, "frame function"]
    mean: Float32[np.ndarray, " raw"]
    axes: Float32[np.ndarray, "raw feature"]
    power: Float32[np.ndarray, " feature"]

    @classmethod
    def of(cls, tables: Tables, shown: Shown, window: Window, basis: np.ndarray) -> "tuple[Axes, np.ndarray]":
        """Find the axes of training clips; also returns the features of their predicted frames.

        Covariances of pixels and of functions of time, each averaged over the other, have the axes of all features if
        the stimulus is as correlated in time at every place. Where features are few, those of their own covariance are
        found after that.
        """
        from scipy.linalg import eigh, solve_triangular

        raw = cls._raw(tables, shown, window, basis)
        mean = raw.mean(axis=0)
        raw -= mean
        functions, pixels = basis.shape[1], raw.shape[1] // basis.shape[1]
        some = raw[:: -(-len(raw) // COVARIANCE_FRAMES)].reshape(-1, pixels, functions)
        in_rows = np.ascontiguousarray(some.transpose(0, 2, 1)).reshape(-1, pixels)
        space, time = in_rows.T @ in_rows, some.reshape(-1, functions).T @ some.reshape(-1, functions)
        root = np.linalg.cholesky(_roughness(window.height, window.width)).astype(np.float32)
        for _ in range(2):  # both sides of the covariance, whose pixels come before channels, in the penalty's metric
            space = solve_triangular(root, space.reshape(len(root), -1), lower=True).reshape(space.shape).T
        (space_power, in_space), (time_power, in_time) = eigh(space), eigh(time)
        in_space = solve_triangular(root, in_space.reshape(len(root), -1), lower=True, trans="T").reshape(pixels, -1)
        power = np.outer(space_power, time_power).ravel()
        order = np.argsort(-power)
        kept = min(-(-int((power > LEAST_POWER * power.max()).sum()) // MULTIPLE) * MULTIPLE, len(power))
        in_space, in_time = (
            part[:, at] for part, at in zip((in_space, in_time), divmod(order[:kept], functions), strict=True)
        )
        axes = (in_space[:, None] * in_time).reshape(raw.shape[1], kept)
        features = raw @ axes
        if kept <= FEW_AXES:
            _, turn = eigh(features.T @ features)
            axes, features = axes @ turn[:, ::-1], features @ turn[:, ::-1]
        return cls(window, basis, mean, axes, np.square(features).mean(axis=0)), features

    def features(self, tables: Tables, shown: Shown) -> Float32[np.ndarray, "time feature"]:
        """Features of the predicted frames of clips."""
        return (self._raw(tables, shown, self.window, self.basis) - self.mean) @ self.axes

    def filters(self, weights: Float[np.ndarray, "feature neuron"]) -> Float[np.ndarray, "neuron row column rest"]:
        """Weights of the raw features: of every row, column, and channel and function of time."""
        return (self.axes @ weights).T.reshape(weights.shape[1], self.window.height, self.window.width, -1)

    @staticmethod
    def _raw(tables: Tables, shown: Shown, window: Window, basis: np.ndarray) -> np.ndarray:
        movie = shown.movie(tables, window)
        return filtered(movie.reshape(len(movie), -1), basis)[shown.predicted(len(basis) - 1)]


def peaks(filters: Float[np.ndarray, "neuron row column rest"], window: Window) -> list[tuple[float, float]]:
    """Row and column, in pixels of the image, of the middle of what filters weigh most."""
    energy = np.square(filters).sum(axis=-1)
    found = []
    for one in energy:
        row, column = np.unravel_index(one.argmax(), one.shape)
        rows, columns = (
            np.arange(max(at - 1, 0), min(at + 2, size)) for at, size in zip((row, column), one.shape, strict=True)
        )
        near = one[np.ix_(rows, columns)]
        near = near / near.sum() if near.sum() > 0 else np.full_like(near, 1 / near.size)
        y, x = (near.sum(axis=1) * rows).sum(), (near.sum(axis=0) * columns).sum()
        found.append((window.top + (float(y) + 0.5) * window.pixel, window.left + (float(x) + 0.5) * window.pixel))
    return found


def together(windows: Sequence[Window]) -> dict[Window, Int[np.ndarray, " neuron"]]:
    """Numbers of the neurons that see each window."""
    return {window: np.flatnonzero([one == window for one in windows]) for window in dict.fromkeys(windows)}


def _roughness(height: int, width: int) -> Float[np.ndarray, "pixel pixel"]:
    """Identity plus the Laplace operator of an image: the size of a kernel, and of differences between neighbours."""

    def chain(size: int) -> np.ndarray:
        steps = np.diff(np.eye(size), axis=0)
        return steps.T @ steps

    return np.eye(height * width) + np.kron(chain(height), np.eye(width)) + np.kron(np.eye(height), chain(width))
