"""Gallery of optimised stimuli, which moves."""

import io
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.runtime.described import counted
from openretina_jax.visualize.gallery.frame import card, curves, page, sharp_image

SHOWN = ("activation", "grey", "linear", "natural", "worst_seed", "agreement", "norm")
MOST_ANIMATIONS = 8  # of one target


def stimuli_page(stimuli: Stimuli, title: str) -> str:
    """Write a card for every target: its stimuli as animations, the response to the best, and its baselines.

    Args:
        stimuli: stimuli; where they are diverse, all those of a target are shown, otherwise the best seed.
        title: title of the page.
    """
    config = stimuli.config
    rate = config.get("frame_rate_hz") or 30.0
    table = stimuli.table()
    several = "share" in config
    cards = [_card(stimuli, number, rate, table.iloc[number].to_dict(), several) for number in range(len(stimuli))]
    side = f"; {' and '.join(config.get('channels') or ['channels'])} stand side by side"
    about = (
        f"{counted(len(stimuli), 'target')}, objective: {config['objective']}, over the last "
        f"{counted(config['window'], 'frame')}; {stimuli.movies.shape[2]} frames at {rate:g} Hz. Bright and dark are "
        f"above and below grey, the mean of the training movie{side if stimuli.movies.shape[-1] > 1 else ''}. "
        "Animations run at a quarter of their speed."
    )
    return page(title, about, cards)


def _card(stimuli: Stimuli, number: int, rate: float, row: dict[Any, Any], several: bool) -> str:
    name = stimuli.names[number]
    movies = stimuli.movies[number][:MOST_ANIMATIONS] if several else stimuli.best[number][None]
    height, width, channels = movies.shape[2:]
    names = stimuli.config.get("channels") or [f"channel {number}" for number in range(channels)]
    alt = f"Stimulus of {name}, {' and '.join(names)} side by side" if channels > 1 else f"Stimulus of {name}"
    size = height, channels * (width + 1) - 1
    parts = [sharp_image(animation(movie), "gif", alt, size) for movie in movies]
    responses = (
        stimuli.responses[number][:MOST_ANIMATIONS]
        if several
        else stimuli.responses[number, [stimuli.best_seed[number]]]
    )
    unit = stimuli.config.get("response_unit")
    # the last response belongs to the last frame
    time_s = (np.arange(responses.shape[1]) - (responses.shape[1] - 1)) / rate
    window = ((1 - stimuli.config["window"]) / rate, 0.0)
    parts.append(curves(time_s, responses, ("time (s)", f"response ({unit})" if unit else "response"), window=window))
    history = stimuli.history[number]
    parts.append(curves(np.arange(1, history.shape[1] + 1), history, ("step", "objective")))
    return card(name, parts, {key: row[key] for key in SHOWN if not np.isnan(row[key])})


def animation(movie: Float32[np.ndarray, "time height width channel"], *, frame_ms: int = 130) -> bytes:
    """An animated GIF of a stimulus in grey, its channels side by side, in its own pixels.

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
    return np.concatenate(parts, axis=2)
