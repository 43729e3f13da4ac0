"""The gates of a core's recurrent unit."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from openretina_jax.errors import UserError
from openretina_jax.modules.recurrent import GATES
from openretina_jax.visualize.style import ROUND_STEPS, colour_bar, draw_weights

SOURCES = {"input": "channel of the input", "hidden": "channel of the state"}


def plot_gates(core: Any) -> Figure:
    """How strongly each gate of each channel depends on the channels of the input (above) and of the state (below).

    Drawn are the norms of the kernels over their pixels, with one colour scale. Where channels are divided into groups,
    only those of the own group are there to be drawn.

    Args:
        core: a core with a recurrent unit.

    Raises:
        UserError: the core has none.
    """
    if getattr(core, "gru", None) is None:
        raise UserError('the core has no recurrent unit; it comes with recurrent_channels of the core "gru"')
    cell = core.gru.cell
    norms = {
        (source, gate): np.linalg.norm(getattr(cell, f"{gate}_{source}")[...], axis=(2, 3))
        for source in SOURCES
        for gate in GATES
    }
    limit = max(float(norm.max()) for norm in norms.values())
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(len(SOURCES), len(GATES))
    for axes, ((source, gate), norm) in zip(grid.ravel(), norms.items(), strict=True):
        image = draw_weights(axes, norm, limit, signed=False, aspect="auto")
        axes.set_title(f"{gate}, from the {'input' if source == 'input' else 'state'}", fontsize=9)
        axes.set_xlabel(SOURCES[source] + (" in the own group" if cell.groups > 1 else ""), fontsize=8)
        axes.set_ylabel("channel of the gate", fontsize=8)
        axes.tick_params(labelsize=6)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, integer=True, steps=ROUND_STEPS))
    colour_bar(image, grid, "norm of the kernel")
    sizes = " and ".join(f"{kernel.shape[2]} x {kernel.shape[3]}" for kernel in (cell.out_input, cell.out_hidden))
    figure.suptitle(f"gates of the recurrent unit, kernels of {sizes} px", fontsize=10)
    return figure
