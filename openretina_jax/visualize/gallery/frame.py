"""What all galleries are made of: the page, its cards, images of signed values, and curves."""

import functools
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from PIL import Image

from openretina_jax.visualize.document import document, image, table
from openretina_jax.visualize.style import BLUE, GREEN, VERMILION

COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00")
SIDE_PX = 144  # of an image, at least
_WIDTH, _HEIGHT = 300, 120  # of a curve
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 8, 26
_STYLE = """
body { max-width: 75rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1rem }
article { border: 1px solid #ddd; border-radius: .5rem; padding: .75rem; min-width: 0 }
article h2 { font-size: 1rem; margin: 0 0 .5rem; border: 0 }
img.pixels { image-rendering: pixelated; margin-bottom: .5rem }
svg { display: block; max-width: 100%; height: auto; font: 10px system-ui, sans-serif; margin-top: .5rem }
"""


def page(title: str, about: str, cards: Sequence[str], overview: str = "") -> str:
    """Write a page.

    Args:
        title: its title.
        about: what it shows, in a few sentences.
        cards: HTML of the cards.
        overview: HTML above the cards.
    """
    return document(title, f"<p>{html.escape(about)}</p>{overview}<main>{''.join(cards)}</main>", _STYLE)


def card(name: str, parts: Sequence[str], numbers: Mapping[Any, object] | None = None) -> str:
    """Write a card: a name, HTML parts, and a table of numbers or words."""
    rows = [[str(key), _text(value)] for key, value in (numbers or {}).items()]
    words = [1] if any(isinstance(value, str) for value in (numbers or {}).values()) else []
    return f"<article><h2>{html.escape(name)}</h2>{''.join(parts)}{table([], rows, words) if rows else ''}</article>"


def _text(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        return "none" if np.isnan(value) else f"{value:.3g}"
    return str(value)


def sharp_image(data: bytes, kind: str, alt: str, size: tuple[int, int]) -> str:
    """Write an image of few pixels, which the page shows large enough to see, with sharp borders.

    Args:
        data: bytes of the file.
        kind: "png" or "gif".
        alt: what it shows.
        size: (height, width) in pixels.
    """
    times = max(1, -(-SIDE_PX // size[1]))
    return image(data, kind, alt, f'class="pixels" width="{times * size[1]}" height="{times * size[0]}"')


def signed_image(values: Float[np.ndarray, "height width"], alt: str) -> str:
    """Write an image of signed values: red above 0, blue below, white at 0."""
    share = np.clip(values / max(float(np.abs(values).max()), 1e-12), -1, 1)[..., None]
    red, blue = (np.array([int(word[n : n + 2], 16) for n in (1, 3, 5)], float) for word in (VERMILION, BLUE))
    colours = 255 + np.abs(share) * (np.where(share > 0, red, blue) - 255)
    stream = io.BytesIO()
    Image.fromarray(np.round(colours).astype(np.uint8)).save(stream, "PNG")
    return sharp_image(stream.getvalue(), "png", alt, values.shape)


def curves(
    x: Num[np.ndarray, " point"],
    lines: Num[np.ndarray, "line point"],
    labels: tuple[str, str],
    *,
    styles: Sequence[tuple[str, str]] = (),
    window: tuple[float, float] | None = None,
) -> str:
    """Draw curves over a common axis, as SVG.

    Args:
        x: places of the points.
        lines: values of each curve; NaN leaves a point out.
        labels: names of the axes.
        styles: name and colour of each curve, for the legend (empty: there is none).
        window: part of the axis that is shaded.
    """
    known = lines[np.isfinite(lines)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    low, high = min(low, 0.0), max(high, low + 1e-12, 0.0)
    left, right = float(x.min()), float(x.max())

    base, edge = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    across = functools.partial(_scaled, ends=(left, right), places=(_LEFT, edge))
    down = functools.partial(_scaled, ends=(high, low), places=(_TOP, base))
    parts = []
    if window is not None:
        begin, end = across(np.array(window))
        parts.append(
            f'<rect x="{begin:.1f}" y="{_TOP}" width="{max(end - begin, 1):.1f}" height="{base - _TOP}" fill="{BLUE}" '
            'opacity=".12"/>'
        )
    parts.append(f'<path d="M{_LEFT} {_TOP}V{base}H{edge}" fill="none" stroke="#888"/>')
    parts.append(f'<path d="M{_LEFT} {down(np.zeros(1))[0]:.1f}H{edge}" stroke="#ccc" stroke-dasharray="3 3"/>')
    for number, line in enumerate(lines):
        shown = np.isfinite(line)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across(x[shown]), down(line[shown]), strict=True))
        colour = styles[number][1] if styles else COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for value, y in ((high, _TOP + 8), (low, base)):
        parts.append(f'<text x="{_LEFT - 3}" y="{y}" text-anchor="end">{value:.2g}</text>')
    for value, anchor, place in ((left, "start", _LEFT), (right, "end", edge)):
        parts.append(f'<text x="{place}" y="{base + 11}" text-anchor="{anchor}">{value:.4g}</text>')
    middle = (_LEFT + edge) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(labels[0])}</text>')
    parts.append(
        f'<text x="9" y="{(_TOP + base) / 2}" text-anchor="middle" transform="rotate(-90 9 {(_TOP + base) / 2})">'
        f"{html.escape(labels[1])}</text>"
    )
    for number, (name, colour) in enumerate(styles):
        parts.append(
            f'<text x="{edge}" y="{_TOP + 9 + 11 * number}" text-anchor="end" '
            f'fill="{colour}">{html.escape(name)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{html.escape(labels[1])} over {html.escape(labels[0])}">{"".join(parts)}</svg>'
    )


def _scaled(
    values: Num[np.ndarray, " point"], ends: tuple[float, float], places: tuple[int, int]
) -> Float[np.ndarray, " point"]:
    """Places of values on an axis whose ends are at two places."""
    span = ends[1] - ends[0]
    return places[0] + (values - ends[0]) / (span or 1.0) * (places[1] - places[0])
