"""The patterns of a sparse autoencoder."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from openretina_jax.models.autoencoder import SparseAutoencoder
from openretina_jax.visualize.style import ROUND_STEPS, colour_bar, draw_weights

MAX_PATTERNS = 100
MAX_NUMBERED = 40  # patterns whose numbers fit beside them
MAX_NAMED = 6  # sessions whose names fit above


def plot_patterns(autoencoder: SparseAutoencoder, sessions: Mapping[str, int]) -> Figure:
    """Patterns of norm 1, a row each, ordered by the neuron with the largest absolute weight.

    At most ``MAX_PATTERNS`` are shown, those with the largest absolute weights.

    Args:
        autoencoder: of the responses of all neurons.
        sessions: number of neurons by name, in the order of the neurons; lines separate sessions.
    """
    patterns = np.nan_to_num(autoencoder.patterns())  # one of zeros cannot be scaled
    size = np.abs(patterns)
    largest = np.argsort(-size.max(axis=1), kind="stable")[:MAX_PATTERNS]
    order = largest[np.argsort(size[largest].argmax(axis=1), kind="stable")]
    figure = Figure(figsize=(10, 1.8 + 0.06 * max(len(order), 30)), layout="constrained")
    axes = figure.subplots()
    image = draw_weights(axes, patterns[order], float(size[order].max()), aspect="auto")
    colour_bar(image, axes, "weight in the pattern")
    ends = np.cumsum(list(sessions.values()))
    for end in ends[:-1]:
        axes.axvline(end - 0.5, color="0.5", linewidth=0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
    axes.set_xlabel("neuron")
    rows = np.arange(0, len(order), -(-len(order) // MAX_NUMBERED))
    axes.set_yticks(rows, [str(number) for number in order[rows]], fontsize=6)
    axes.set_ylabel("pattern")
    if len(sessions) <= MAX_NAMED:
        middles = ends - np.asarray(list(sessions.values())) / 2 - 0.5
        above = axes.secondary_xaxis("top")
        above.set_xticks(middles, list(sessions), fontsize=6)
        above.tick_params(length=0)
    count = f"{len(order)} of {len(patterns)}" if len(order) < len(patterns) else str(len(patterns))
    figure.suptitle(f"{count} patterns of the autoencoder, by the neuron with the largest weight", fontsize=10)
    return figure
