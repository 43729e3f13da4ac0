"""Page of the scores of a model against the truth."""

import pandas as pd

from openretina_jax.visualize.document import drawing, table
from openretina_jax.visualize.gallery.frame import COLOURS, card, page
from openretina_jax.visualize.style import BLUE, Figure, open_axes

COLUMNS = ("name", "value", "low", "high", "threshold", "better", "neurons", "passes")


def truth_page(scores: pd.DataFrame, controls: list[str]) -> str:
    """Write the table of metrics, a figure of those that lie between 0 and 1, and what each means.

    Args:
        scores: table of ``insilico.score.table``.
        controls: names of its columns that belong to broken models.
    """
    shares = scores[(scores["better"] == "higher")].iloc[::-1]
    figure = Figure(figsize=(5.2, 0.9 + 0.26 * len(shares)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shares))
    axes.hlines(places, shares["low"], shares["high"], color=BLUE, linewidth=3)
    axes.plot(shares["value"], places, "o", color=BLUE, markersize=5, label="model, with 95 % interval")
    axes.plot(shares["threshold"], places, "|", color="black", markersize=11, label="threshold")
    for control, colour in zip(controls, COLOURS[1:], strict=False):
        axes.plot(shares[control], places, "x", color=colour, markersize=5, label=control)
    axes.set_yticks(places, shares["name"].str.replace("_", " "), fontsize=8)
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set_xlabel("score", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.4, 1.16), ncols=2, frameon=False)
    open_axes(axes)
    shown = [*COLUMNS, *controls]
    figure_card = card("Scores and controls", [drawing(figure, "Value of every metric beside its controls")])
    meanings = dict(zip(scores["name"], scores["definition"], strict=True))
    return page(
        "The model against the truth",
        "The trained model and the simulated retina behind its recordings were asked the same questions. Intervals are "
        "from a bootstrap over neurons. Controls are broken models, which must miss the thresholds.",
        [figure_card, card("Metrics", [], meanings)],
        table(shown, [[_text(value) for value in row] for row in scores[shown].itertuples(index=False)], texts=[5]),
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
