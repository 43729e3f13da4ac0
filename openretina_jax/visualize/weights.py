"""Pictures of a model's weights, as figures and as files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.evaluation.tables import neuron_titles
from openretina_jax.models.autoencoder import AutoencoderModel, SparseAutoencoder
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.modules.convolutions import SpaceTimeConv
from openretina_jax.modules.recurrent import GATES
from openretina_jax.visualize.filters import MAX_OUTPUTS, Scale, plot_coefficients, plot_filters
from openretina_jax.visualize.readouts import WIDTH, drawer, plot_neurons
from openretina_jax.visualize.style import (
    BLUE,
    SMALL_WIDTH,
    Figure,
    colour_bar,
    draw_weights,
    label_columns,
    open_axes,
    save,
    whole_ticks,
)

DEFAULT_NEURONS = 24
MAX_PATTERNS = 100
MAX_NUMBERED = 40  # patterns whose numbers fit beside them
MAX_NAMED = 6  # sessions whose names fit above
SOURCES = {"input": "channel of the input", "hidden": "channel of the state"}
MAX_SESSIONS = 100
SMALL_OUTPUTS = 4  # of small pictures


def weight_figures(model: Model, neurons: Sequence[int], *, small: bool = False) -> dict[str, Figure]:
    """Make all pictures of a model, by name; parts without a picture are left out.

    The names are "filters_layer_0" and "coefficients_layer_0" for each layer of the core, "speeds" of the sessions,
    "gates" of a recurrent unit, "neurons", and "patterns" of an autoencoder. In an ensemble they begin with the member,
    as in "member_0/filters_layer_0".

    Args:
        model: any model.
        neurons: rows of the readout's table for "neurons"; may be empty.
        small: whether they are for a card of a page, as of TensorBoard: narrow, of few outputs, without coefficients.

    Raises:
        UserError: the table has no such row.
    """
    figures: dict[str, Figure] = {}
    for prefix, part in _parts(model):
        if isinstance(part, AutoencoderModel):
            figures[f"{prefix}patterns"] = plot_patterns(part.autoencoder, part.data_info.sessions)
        elif isinstance(part, CoreReadout):
            figures |= {f"{prefix}{name}": figure for name, figure in _core_figures(part, small).items()}
            if len(neurons) > 0 and drawer(part.readout) is not None:
                figures[f"{prefix}neurons"] = _plot_neurons(part, neurons, SMALL_WIDTH if small else WIDTH)
    return figures


def save_weights(model: Model, folder: Path, neurons: Sequence[int] | None = None) -> list[Path]:
    """Write all pictures of a model as PNG files, with one file per neuron in a folder of its session.

    Args:
        model: any model.
        folder: where to write, made if missing; files of the same names are replaced.
        neurons: rows of the readout's table (None: ``DEFAULT_NEURONS`` of them, evenly spread).

    Returns:
        The files.

    Raises:
        UserError: the table has no such row.
    """
    if neurons is None:
        last = model.data_info.n_neurons - 1
        neurons = np.unique(np.linspace(0, last, DEFAULT_NEURONS).round().astype(int)).tolist()
    files = []
    for name, figure in _each_figure(model, neurons):
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save(figure, file)
        files.append(file)
    return files


def session_neurons(model: Model, session: str, numbers: Sequence[int] | None = None) -> list[int]:
    """Rows of the readout's table that belong to neurons of a session.

    Args:
        model: any model.
        session: name of the session.
        numbers: numbers of the neurons within the session (None: all).

    Raises:
        UserError: there is no such session or neuron.
    """
    first, count = model.rows(session)
    for number in numbers or ():
        if not 0 <= number < count:
            raise UserError(f'session "{session}" has no neuron {number}; it has {count}, counted from 0')
    return [first + number for number in (range(count) if numbers is None else numbers)]


def _parts(model: Model) -> Iterator[tuple[str, Model]]:
    """Yield the models that a model is made of, itself included, each with the prefix of its pictures' names."""
    if isinstance(model, Ensemble):
        graph, states = nnx.split(model.members)
        for number in range(model.n_members):
            member = nnx.merge(graph, jax.tree.map(lambda array, number=number: array[number], states))
            yield from ((f"member_{number}/{prefix}", part) for prefix, part in _parts(member))
        return
    yield "", model
    if isinstance(model, AutoencoderModel):
        yield from _parts(model.base)


def _core_figures(model: CoreReadout, small: bool) -> dict[str, Figure]:
    core, info = model.core, model.data_info
    figures = {}
    for number, layer in enumerate(getattr(core, "layers", ())):
        mixed = any(getattr(core, part, None) is not None for part in ("grey", "projection"))
        known: dict[str, Any] = {
            "frame_rate_hz": info.frame_rate_hz,
            "inputs": None if number or mixed else info.channels,
        }
        pixel_um = None if number or getattr(core, "downsample_input", None) else info.pixel_size_um
        most = SMALL_OUTPUTS if small else MAX_OUTPUTS
        figures[f"filters_layer_{number}"] = plot_filters(core, number, **known, pixel_um=pixel_um, max_outputs=most)
        if not small and isinstance(layer.conv, SpaceTimeConv):
            figures[f"coefficients_layer_{number}"] = plot_coefficients(core, number, **known)
    if getattr(core, "log_speed", None) is not None:
        figures["speeds"] = plot_speeds(core, list(model.data_info.sessions))
    if getattr(core, "gru", None) is not None:
        figures["gates"] = plot_gates(core)
    return figures


def _each_figure(model: Model, neurons: Sequence[int]) -> Iterator[tuple[str, Figure]]:
    """Yield names and figures one by one, because thousands of figures do not fit into memory."""
    yield from weight_figures(model, []).items()
    rows = [
        (re.sub(r"[/\\]|^\.", "_", session), number)  # a name from a file must not lead out of the folder
        for session, count in model.data_info.sessions.items()
        for number in range(count)
    ]
    for prefix, part in _parts(model):
        if isinstance(part, CoreReadout) and drawer(part.readout) is not None:
            for neuron in neurons:
                figure = _plot_neurons(part, [neuron])
                session, number = rows[neuron]
                yield f"{prefix}{session}/neuron_{number}", figure


def _plot_neurons(model: CoreReadout, neurons: Sequence[int], width: float = WIDTH) -> Figure:
    info = model.data_info
    return plot_neurons(model.readout, neurons, neuron_titles(info), scale=Scale.of(model.core, info), width=width)


def plot_patterns(autoencoder: SparseAutoencoder, sessions: Mapping[str, int]) -> Figure:
    """Plot the patterns of an autoencoder, scaled to norm 1, a row each.

    Rows are ordered by the neuron with the largest absolute weight. At most ``MAX_PATTERNS`` are shown, those with the
    largest absolute weights.

    Args:
        autoencoder: an autoencoder of the responses of all neurons.
        sessions: number of neurons by session, in the order of the neurons; lines separate sessions.
    """
    patterns = np.nan_to_num(autoencoder.patterns())  # a pattern of zeros has no norm
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
    whole_ticks(axes.xaxis)
    axes.set_xlabel("neuron")
    rows = np.arange(0, len(order), -(-len(order) // MAX_NUMBERED))
    axes.set_yticks(rows, [str(number) for number in order[rows]], fontsize=6)
    axes.set_ylabel("pattern")
    if len(sessions) <= MAX_NAMED:
        middles = ends - np.asarray(list(sessions.values())) / 2 - 0.5
        label_columns(axes, middles, list(sessions))
    count = f"{len(order)} of {len(patterns)}" if len(order) < len(patterns) else str(len(patterns))
    figure.suptitle(f"{count} patterns of the autoencoder, by the neuron with the largest weight", fontsize=10)
    return figure


def plot_gates(core: Any) -> Figure:
    """Plot how strongly the gates of each channel depend on the channels of the input (top) and the state (bottom).

    The strength is the norm of the kernel over its pixels; all panels share one colour scale. Where channels are
    divided into groups, a channel depends only on those of its own group.

    Args:
        core: a core with a recurrent unit.

    Raises:
        UserError: the core has no recurrent unit.
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
            whole_ticks(axis, 8)
    colour_bar(image, grid, "norm of the kernel")
    sizes = " and ".join(f"{kernel.shape[2]} x {kernel.shape[3]}" for kernel in (cell.out_input, cell.out_hidden))
    figure.suptitle(f"gates of the recurrent unit, kernels of {sizes} px", fontsize=10)
    return figure


def plot_speeds(core: Any, names: Sequence[str]) -> Figure:
    """Plot the speed of every session: the factor on the speed of temporal kernels, or else on the output.

    Only the first ``MAX_SESSIONS`` sessions are shown.

    Args:
        core: a core with speeds of sessions.
        names: names of the sessions.

    Raises:
        UserError: the core has no speeds.
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
