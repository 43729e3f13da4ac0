"""Figures to files and pixels, without a display."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Figure  # for annotations elsewhere

from openretina_jax.whole_file import whole_file

DPI = 120


def save(figure: Figure, file: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with whole_file(file) as stream:
        figure.savefig(stream, format="png", dpi=DPI)


def pixels(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    """The figure as an image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
