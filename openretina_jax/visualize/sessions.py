"""What a core has learnt for each session."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import SpaceTimeConv
from openretina_jax.visualize.style import BLUE, open_axes

MAX_SESSIONS = 100


def plot_speeds(core: Any, names: Sequence[str]) -> Figure:
    """Speed of every session: how many times as fast its temporal kernels are, or how many times as large the output.

    At most ``MAX_SESSIONS`` sessions are shown, the first ones.

    Args:
        core: a core with speeds.
        names: of the sessions.

    Raises:
        UserError: the core has none.
    """
    if getattr(core, "log_speed", None) is None:
        raise UserError("the core has no speeds of sessions; they come with adapt_speed")
    speeds, shown = np.exp(np.asarray(core.log_speed[...])), min(len(names), MAX_SESSIONS)
    figure = Figure(figsize=(7, 1.2 + 0.17 * shown), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color="0.7", linewidth=0.6)
    axes.hlines(np.arange(shown), 1, speeds[:shown], color="0.7", linewidth=0.8)
    axes.plot(speeds[:shown], np.arange(shown), linestyle="", marker="o", markersize=4, color=BLUE)
    axes.set_yticks(np.arange(shown), names[:shown], fontsize=7)
    axes.set_ylim(shown - 0.5, -0.5)
    axes.margins(x=0.1)
    stretched = isinstance(core.layers[0].conv, SpaceTimeConv)
    axes.set_xlabel(f"{'speed of temporal kernels' if stretched else 'gain of convolutions'} (1: the reference)")
    title = f"{len(names)} sessions" if shown == len(names) else f"{shown} of {len(names)} sessions"
    axes.set_title(f"speeds of {title}", fontsize=10)
    open_axes(axes)
    return figure
