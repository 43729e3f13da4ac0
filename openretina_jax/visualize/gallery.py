"""A page of optimised stimuli, which moves and needs nothing but itself."""

import base64
import html
import io
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib.figure import Figure
from PIL import Image

from openretina_jax.insilico.stimuli import Stimuli

_SIDE_PX = 144  # of an animation, at least
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
article { border: 1px solid #ddd; border-radius: .5rem; padding: .75rem }
h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere }
img { max-width: 100%; image-rendering: pixelated }
img.plot { image-rendering: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td { padding: 0 .75rem 0 0 }
"""


def gallery_page(stimuli: Stimuli, title: str) -> str:
    """HTML with a card for every target: its best stimulus as an animation, the response to it, and its baselines."""
    config = stimuli.config
    rate = config.get("frame_rate_hz") or 30.0
    table = stimuli.table()
    cards = "\n".join(_card(stimuli, number, rate, table.iloc[number].to_dict()) for number in range(len(stimuli)))
    about = (
        f"{len(stimuli)} targets, objective {config['objective']} over the last {config['window']} frames, "
        f"{stimuli.movies.shape[2]} frames at {rate:g} Hz. Bright and dark are above and below grey, the mean of the "
        f"training movie; channels stand side by side. Animations run at a quarter of their speed."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p><main>{cards}</main></body></html>"
    )


def _card(stimuli: Stimuli, number: int, rate: float, row: dict[Any, Any]) -> str:
    name = html.escape(stimuli.names[number])
    movie = stimuli.best[number]
    shown = ("activation", "grey", "linear", "natural", "agreement", "norm")
    cells = "".join(f"<tr><td>{key}</td><td>{_number(row[key])}</td></tr>" for key in shown)
    plot = _picture(stimuli, number, rate)
    return (
        f"<article><h2>{name}</h2>"
        f'<img alt="Stimulus of {name}, channels side by side" src="data:image/gif;base64,{_text(animation(movie))}">'
        f'<img class="plot" alt="Response of {name}, and its objective at every step" '
        f'src="data:image/png;base64,{_text(plot)}"><table>{cells}</table></article>'
    )


def _number(value: object) -> str:
    return "none" if not isinstance(value, float) or np.isnan(value) else f"{value:.3g}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def animation(movie: Float32[np.ndarray, "time height width channel"], *, frame_ms: int = 130) -> bytes:
    """An animated GIF of a stimulus in grey, its channels side by side, in pixels large enough to see.

    Args:
        movie: stimulus in the units of a model; 0 is middle grey, the largest absolute value black or white.
        frame_ms: how long a frame is shown.
    """
    frames = [Image.fromarray(frame) for frame in _grey_levels(movie)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=frame_ms, loop=0)
    return stream.getvalue()


def _grey_levels(movie: np.ndarray) -> UInt8[np.ndarray, "time height width"]:
    """Bytes of the frames, channels side by side with a gap."""
    largest = max(float(np.abs(movie).max()), 1e-12)
    levels = np.round(127.5 + 127.5 * movie / largest).astype(np.uint8)
    gap = np.full((*levels.shape[:2], 1), 255, np.uint8)
    parts = [part for n in range(levels.shape[3]) for part in (levels[..., n], gap)][:-1]
    wide = np.concatenate(parts, axis=2)
    times = max(1, -(-_SIDE_PX // wide.shape[1]))
    return wide.repeat(times, axis=1).repeat(times, axis=2)


def _picture(stimuli: Stimuli, number: int, rate: float) -> bytes:
    """Response to the best stimulus, and the objective of every seed at each step."""
    figure = Figure(figsize=(4.2, 1.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    response = stimuli.responses[number, stimuli.best_seed[number]]
    time_s = (np.arange(len(response)) - (len(response) - 1)) / rate  # the last response belongs to the last frame
    left.plot(time_s, response, color="black", linewidth=1)
    left.axvspan((1 - stimuli.config["window"]) / rate, 0, color="tab:blue", alpha=0.15, linewidth=0)
    left.set(xlabel="time (s)", ylabel="response")
    right.plot(stimuli.history[number].T, linewidth=1)
    right.set(xlabel="step", ylabel="objective")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
