"""Animations: colours of stimuli, time, and files."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from openretina_jax.errors import UserError
from openretina_jax.visualize.animation import GAP_PX, SUFFIXES, Animation, animate_stimulus, animate_traces

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(256, size=(7, 8, 6, 3), dtype=np.uint8)


def test_green_and_violet_make_grey() -> None:
    movie = np.zeros((3, 4, 4, 2), np.float32)
    movie[1, ..., 0], movie[2] = 2, -2
    frames = animate_stimulus(movie, 30.0, channels=["green", "UV"], pixel_px=3).frames
    assert frames.shape == (3, 12, 12, 3)
    assert frames[:, 5, 5].tolist() == [[128] * 3, [128, 255, 128], [0, 0, 0]]


def test_a_single_channel_and_nameless_ones_are_grey() -> None:
    movie = RNG.uniform(size=(2, 4, 5, 2)).astype(np.float32)
    single = animate_stimulus(movie[..., :1], 30.0, limits=(0.0, 1.0), pixel_px=1).frames
    np.testing.assert_array_equal(single, np.rint(255 * movie[..., :1]).astype(np.uint8).repeat(3, axis=3))
    both = animate_stimulus(movie, 30.0, limits=(0.0, 1.0), pixel_px=1).frames
    np.testing.assert_array_equal(both[:, :, :5], single)
    assert (both.shape[2], both[:, :, 5].min()) == (11, 255)


def test_beside() -> None:
    both = Animation(FRAMES, 30.0).beside(Animation(FRAMES[:, :3, :2], 30.0)).frames
    assert both.shape == (7, 8, 6 + GAP_PX + 4, 3)
    np.testing.assert_array_equal(both[:, :, :6], FRAMES)
    np.testing.assert_array_equal(both[:, 1:7, 6 + GAP_PX :], FRAMES[:, :3, :2].repeat(2, axis=1).repeat(2, axis=2))
    assert both[:, [0, 7], 6:].min() == 255


def test_a_line_moves_over_traces() -> None:
    responses = RNG.uniform(size=(5, 2)).astype(np.float32)
    responses[2, 0] = np.nan
    frames = animate_traces(responses, 10.0, names=["a", "b"], size_inches=(3.0, 2.0)).frames
    changed = [np.flatnonzero((frames[0] != frame).any(axis=(0, 2))) for frame in frames[1:]]
    ends = [columns.max() for columns in changed]
    assert np.ptp(np.diff(ends)) <= 1  # equal steps, but for rounding to pixels
    assert ends[-1] > ends[0] > changed[0].min()


@pytest.mark.parametrize("rate_hz", [30.0, 17.0])
def test_files_play_as_long_as_they_should(tmp_path: Path, rate_hz: float) -> None:
    for suffix in (".gif", ".webp"):
        Animation(FRAMES, rate_hz).save(tmp_path / f"shown{suffix}")
        with Image.open(tmp_path / f"shown{suffix}") as image:
            frames = list(ImageSequence.Iterator(image))
            durations = []
            for number in range(image.n_frames):
                image.seek(number)
                image.load()
                durations.append(image.info["duration"])
        assert len(frames) == len(FRAMES)
        assert sum(durations) == pytest.approx(1000 * len(FRAMES) / rate_hz, abs=6)


def test_a_notebook_shows_it_without_loss(tmp_path: Path) -> None:
    shown = Animation(FRAMES, 30.0)
    with Image.open(io.BytesIO(shown._webp())) as image:
        image.seek(3)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), FRAMES[3])
    shown.save(tmp_path / "page.html")
    assert shown._repr_html_() in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_mp4(tmp_path: Path) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    smooth = np.broadcast_to(np.linspace(0, 255, 4, dtype=np.uint8)[:, None, None, None], (4, 33, 48, 3))
    Animation(smooth, 15.0).save(tmp_path / "film.mp4")
    program = (get_ffmpeg_exe(), "-i", str(tmp_path / "film.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    done = subprocess.run(program, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(4, 34, 48, 3)  # of even height
    np.testing.assert_allclose(frames[:, :33], smooth, atol=3)
    assert b"15 fps" in done.stderr


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Animation(FRAMES, 60.0)
    with pytest.raises(UserError, match=f"film.avi must end in {', '.join(SUFFIXES)}"):
        shown.save(tmp_path / "film.avi")
    with pytest.raises(UserError, match="a GIF has at most 50 frames per second, not 60"):
        shown.save(tmp_path / "film.gif")
    with pytest.raises(UserError, match="have 7 and 6 frames at 60 and 60 Hz"):
        shown.beside(Animation(FRAMES[:6], 60.0))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r'pip install "openretina-jax\[video\]"; or save .gif'):
        shown.save(tmp_path / "film.mp4")
    movie = np.zeros((2, 3, 3, 1), np.float32)
    with pytest.raises(UserError, match=r"2 channels are named \(green, UV\), but the stimulus has 1"):
        animate_stimulus(movie, 30.0, channels=["green", "UV"])
    with pytest.raises(UserError, match="limits are 1 and 0; the first must be below"):
        animate_stimulus(movie, 30.0, limits=(1.0, 0.0))
    with pytest.raises(UserError, match="there are 1 names for the responses of 3 neurons"):
        animate_traces(np.zeros((2, 3), np.float32), 30.0, names=["a"])
    assert list(tmp_path.iterdir()) == []
