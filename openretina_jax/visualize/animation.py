"""Animations of stimuli, of responses in the imaging field, and of traces: in notebooks, and as files.

A movie beside the cells that answer to it:

    shown = animate_stimulus(movie, 30.0, channels=("green", "UV"))
    active = animate_rois(info.roi_mask(session), info.neurons[session]["roi_id"], responses, 30.0)
    shown.beside(active).save("session.mp4")
"""

import base64
import dataclasses
import html
import io
import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgb
from PIL import Image

from openretina_jax.errors import UserError
from openretina_jax.runtime.described import Described
from openretina_jax.runtime.files import whole_file
from openretina_jax.visualize.style import BLACK, DPI, VERMILION, Figure, open_axes, pixels

SUFFIXES = (".gif", ".webp", ".html", ".mp4")
FASTEST_GIF_HZ = 50.0  # browsers slow down what is faster
LIGHT = {"green": (0, 1, 0), "UV": (1, 0, 1), "red": (1, 0, 0), "blue": (0, 0, 1)}  # of a channel on the screen
GAP_PX = 8
SIDE_PX = 256  # of an animation, about, without ``pixel_px``

Frames = UInt8[np.ndarray, "time height width 3"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Animation(Described):
    """Frames in red, green and blue that play one after the other; a notebook shows it.

    Attributes:
        frames: bytes of the frames.
        frame_rate_hz: frames per second, which may be other than those of the experiment.
    """

    frames: Frames
    frame_rate_hz: float

    def _facts(self) -> dict[str, str]:
        count, height, width, _ = self.frames.shape
        return {"frames": f"{count} of {height} x {width} pixels at {self.frame_rate_hz:g} Hz"}

    def beside(self, other: "Animation") -> "Animation":
        """Both side by side; the lower one is enlarged by a whole number where there is room, and centred.

        Raises:
            UserError: they have other frames or another frame rate.
        """
        if len(self.frames) != len(other.frames) or self.frame_rate_hz != other.frame_rate_hz:
            raise UserError(
                f"animations have {len(self.frames)} and {len(other.frames)} frames at {self.frame_rate_hz:g} and "
                f"{other.frame_rate_hz:g} Hz; cut them to the same frames, such as those that have a response"
            )
        height = max(self.frames.shape[1], other.frames.shape[1])
        left, right = (_centred(one.frames, height) for one in (self, other))
        gap = np.full((*left.shape[:2], GAP_PX, 3), 255, np.uint8)
        return Animation(np.concatenate([left, gap, right], axis=2), self.frame_rate_hz)

    def save(self, path: str | Path) -> None:
        """Write a file: .gif, .webp, .html (a page with the animation inside) or .mp4.

        Raises:
            UserError: the name ends in something else; a GIF is too fast; or imageio-ffmpeg is missing for .mp4.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise UserError(f"{path} must end in {', '.join(SUFFIXES)}")
        if path.suffix == ".mp4":
            self._write_mp4(path)
            return
        content = self._gif() if path.suffix == ".gif" else self._webp()
        if path.suffix == ".html":
            title = html.escape(path.stem)
            head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            content = f"{head}{self._repr_html_()}</html>".encode()
        with whole_file(path) as stream:
            stream.write(content)

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._webp()).decode("ascii")
        return f'<img alt="animation" style="image-rendering: pixelated" src="data:image/webp;base64,{data}">'

    def _gif(self) -> bytes:
        if self.frame_rate_hz > FASTEST_GIF_HZ:
            raise UserError(
                f"a GIF has at most {FASTEST_GIF_HZ:g} frames per second, not {self.frame_rate_hz:g}; save .webp or "
                ".mp4, or give a lower frame_rate_hz, which slows it down"
            )
        return self._encoded("GIF", unit_ms=10)

    def _webp(self) -> bytes:
        return self._encoded("WEBP", unit_ms=1, lossless=True)

    def _encoded(self, kind: str, unit_ms: int, **options: bool) -> bytes:
        ends = np.rint(np.arange(len(self.frames) + 1) * 1000 / self.frame_rate_hz / unit_ms).astype(int)
        durations = (np.diff(ends) * unit_ms).tolist()  # that of the whole is right, and no frame off by more than one
        first, *others = map(Image.fromarray, self.frames)
        stream = io.BytesIO()
        first.save(stream, kind, save_all=True, append_images=others, duration=durations, loop=0, **options)
        return stream.getvalue()

    def _write_mp4(self, path: Path) -> None:
        try:
            from imageio_ffmpeg import get_ffmpeg_exe
        except ImportError:
            raise UserError(
                'writing .mp4 needs imageio-ffmpeg: pip install "openretina-jax[video]"; or save .gif, .webp or .html'
            ) from None
        height, width = self.frames.shape[1:3]
        even = np.pad(self.frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # as players need it
        raw = "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{even.shape[2]}x{even.shape[1]}"
        compressed = "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-f", "mp4"
        with whole_file(path) as stream:
            # run by ourselves: the library's writer forks the process, which JAX's threads may not survive
            program = (get_ffmpeg_exe(), "-y", *raw, "-r", f"{self.frame_rate_hz}", "-i", "-", *compressed, stream.name)
            subprocess.run(program, input=even.tobytes(), check=True, capture_output=True)


def animate_stimulus(
    movie: Float[np.ndarray, "time height width channel"],
    frame_rate_hz: float,
    *,
    channels: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    pixel_px: int | None = None,
) -> Animation:
    """Animate a stimulus, in the units of a model or in grey levels.

    A single channel is grey. Channels whose names are in ``LIGHT`` are mixed: green and UV as green and violet, which
    make grey where both are equal. Others stand side by side, in grey.

    Args:
        movie: the stimulus.
        frame_rate_hz: frames per second of the animation.
        channels: names of the channels, as ``DataInfo.channels``.
        limits: values that are dark and bright; what lies beyond is clipped (None: the largest absolute value on both
            sides, so that 0, the mean of the training movies, is in the middle).
        pixel_px: side of a pixel of the stimulus (None: that the animation has about ``SIDE_PX``).

    Raises:
        UserError: there are fewer or more names than channels, or the limits are not in order.
    """
    count = movie.shape[3]
    if channels is not None and len(channels) != count:
        raise UserError(f"{len(channels)} channels are named ({', '.join(channels)}), but the stimulus has {count}")
    largest = float(np.abs(movie).max()) or 1.0
    low, high = limits or (-largest, largest)
    if not low < high:
        raise UserError(f"limits are {low:g} and {high:g}; the first must be below the second")
    bright = np.clip((movie - low) / (high - low), 0, 1)
    if channels is not None and count > 1 and all(name in LIGHT for name in channels):
        light = np.array([LIGHT[name] for name in channels], float)
        frames = np.minimum(bright @ light, 1)
    else:
        gap = np.ones((*bright.shape[:2], 1), bright.dtype)
        parts = itertools.chain.from_iterable((bright[..., number], gap) for number in range(count))
        frames = np.concatenate(list(parts)[:-1], axis=2)[..., None].repeat(3, axis=3)
    return Animation(enlarged(np.rint(255 * frames).astype(np.uint8), pixel_px), frame_rate_hz)


def animate_traces(
    responses: Float[np.ndarray, "time neuron"],
    frame_rate_hz: float,
    *,
    names: Sequence[str] | None = None,
    size_inches: tuple[float, float] = (6.0, 3.0),
) -> Animation:
    """Animate the time courses of a few neurons: a line moves over them.

    Args:
        responses: recorded or predicted responses; NaN is left out.
        frame_rate_hz: frames per second of the responses, and of the animation.
        names: names of the neurons, beside their traces (None: their numbers).
        size_inches: width and height, 120 pixels each.

    Raises:
        UserError: there are fewer or more names than neurons.
    """
    time, count = responses.shape
    names = [f"neuron {number}" for number in range(count)] if names is None else names
    if len(names) != count:
        raise UserError(f"there are {len(names)} names for the responses of {count} neurons")
    figure = Figure(figsize=size_inches, dpi=DPI, layout="constrained")
    panels = figure.subplots(count, squeeze=False, sharex=True)[:, 0]
    time_s = np.arange(time) / frame_rate_hz
    for axes, trace, name in zip(panels, responses.T, names, strict=True):
        axes.plot(time_s, trace, color=BLACK, linewidth=1)
        axes.set_title(name, fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        open_axes(axes)
    panels[-1].set_xlim(0, max(time_s[-1], 1 / frame_rate_hz))
    panels[-1].set_xlabel("time (s)", fontsize=8)
    figure.supylabel("response", fontsize=8)
    still = pixels(figure)
    columns = np.rint(panels[-1].transData.transform(np.stack([time_s, np.zeros(time)], axis=1))[:, 0]).astype(int)
    bottom, top = (
        len(still) - axes.get_window_extent().extents[edge] for axes, edge in ((panels[-1], 1), (panels[0], 3))
    )
    frames = np.broadcast_to(still, (time, *still.shape)).copy()
    rows, red = slice(round(top), round(bottom)), np.rint(255 * np.array(to_rgb(VERMILION))).astype(np.uint8)
    for frame, column in zip(frames, columns.tolist(), strict=True):
        frame[rows, column - 1 : column + 1] = red
    return Animation(frames, frame_rate_hz)


def enlarged(frames: Frames, pixel_px: int | None) -> UInt8[np.ndarray, "time larger_height larger_width 3"]:
    """Frames whose pixels have this side (None: so that a frame has about ``SIDE_PX``)."""
    times = pixel_px or max(1, round(SIDE_PX / max(frames.shape[1:3])))
    return frames.repeat(times, axis=1).repeat(times, axis=2)


def _centred(frames: Frames, least_height: int) -> UInt8[np.ndarray, "time {least_height} larger_width 3"]:
    """Frames of this height: enlarged by a whole number, and with a white margin."""
    large = enlarged(frames, least_height // frames.shape[1])
    missing = least_height - large.shape[1]
    ends = (missing // 2, missing - missing // 2)
    return np.pad(large, ((0, 0), ends, (0, 0), (0, 0)), constant_values=255)
