"""Page of the effects of perturbed movies."""

import numpy as np
import pandas as pd

from openretina_jax.runtime.described import counted
from openretina_jax.visualize.document import drawing
from openretina_jax.visualize.gallery.frame import card, page
from openretina_jax.visualize.style import Figure, open_axes

_SPREAD = 0.15  # of the points of a perturbation


def perturbation_page(effects: pd.DataFrame, frames: int) -> str:
    """Write a card for correlation, gain and change of the mean: a point for every neuron and perturbation.

    Args:
        effects: table of ``perturbations.effect``.
        frames: length of the movie.
    """
    names = list(dict.fromkeys(effects["perturbation"]))
    cards = []
    for column, label in (
        ("correlation", "correlation with the response to the movie itself"),
        ("gain", "gain: slope of the regression on it"),
        ("mean_change", "change of the mean response"),
    ):
        figure = Figure(figsize=(4.2, 0.8 + 0.28 * len(names)), layout="constrained")
        axes = figure.subplots()
        medians = {}
        for place, name in enumerate(names):
            values = effects.loc[effects["perturbation"] == name, column].to_numpy(float)
            known = values[np.isfinite(values)]
            jitter = np.random.default_rng(place).uniform(-_SPREAD, _SPREAD, len(known))
            axes.plot(known, place + jitter, ".", color="0.55", markersize=3)
            medians[name] = float(np.median(known)) if len(known) else float("nan")
            axes.plot(medians[name], place, "|", color="black", markersize=12)
        axes.axvline(0 if column == "mean_change" else 1, color="0.8", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis()
        axes.tick_params(axis="x", labelsize=8)
        open_axes(axes)
        cards.append(card(label, [drawing(figure, label)], medians))
    neurons = counted(len(effects) // max(len(names), 1), "neuron")
    about = (
        f"Responses to {counted(frames, 'frame')} of the training movie that were changed in one way, compared with "
        f"those to the movie itself: a point for each of {neurons}, and a line at their median, which the table gives."
    )
    return page("Perturbed movies", about, cards)
