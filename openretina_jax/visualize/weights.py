"""All pictures of a model's weights: as figures, and as files."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from openretina_jax.errors import UserError
from openretina_jax.evaluation.neurons import neuron_names
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.core_readout import CoreReadout, Model
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.modules.convolutions import SpaceTimeConv
from openretina_jax.visualize.figures import save
from openretina_jax.visualize.filters import map_rate_hz, plot_coefficients, plot_filters
from openretina_jax.visualize.patterns import plot_patterns
from openretina_jax.visualize.readouts import drawer, plot_neurons
from openretina_jax.visualize.recurrent import plot_gates
from openretina_jax.visualize.sessions import plot_speeds

DEFAULT_NEURONS = 24


def weight_figures(model: Model, neurons: Sequence[int]) -> dict[str, Figure]:
    """All pictures of a model by name; what a model does not have, or nobody knows how to draw, is left out.

    They are "filters_layer_0" and "coefficients_layer_0" for each layer of the core, "speeds" of the sessions, "gates"
    of a recurrent unit, "neurons", and "patterns" of an autoencoder. The members of an ensemble have names such as
    "member_0/filters_layer_0".

    Args:
        model: any model.
        neurons: rows of the readout's table to be drawn in "neurons"; may be empty.

    Raises:
        UserError: the table has no such row.
    """
    figures: dict[str, Figure] = {}
    for prefix, part in _parts(model):
        if isinstance(part, AutoencoderModel):
            figures[f"{prefix}patterns"] = plot_patterns(part.autoencoder, part.data_info.sessions)
        elif isinstance(part, CoreReadout):
            figures |= {f"{prefix}{name}": figure for name, figure in _core_figures(part).items()}
            if len(neurons) > 0 and drawer(part.readout) is not None:
                figures[f"{prefix}neurons"] = _plot_neurons(part, neurons)
    return figures


def save_weights(model: Model, folder: Path, neurons: Sequence[int] | None = None) -> list[Path]:
    """Write all pictures of a model as PNG files, and one file per neuron into a folder of its session.

    Args:
        model: any model.
        folder: made if missing; files of the same names are replaced, each at once.
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
        numbers: of the neurons within the session (None: all).

    Raises:
        UserError: there is no such session or neuron.
    """
    first, count = model.rows(session)
    for number in numbers or ():
        if not 0 <= number < count:
            raise UserError(f'session "{session}" has no neuron {number}; it has {count}, counted from 0')
    return [first + number for number in (range(count) if numbers is None else numbers)]


def _parts(model: Model) -> Iterator[tuple[str, Model]]:
    """The models that a model is made of, itself included, and how the names of their pictures begin."""
    if isinstance(model, Ensemble):
        graph, states = nnx.split(model.members)
        for number in range(model.n_members):
            member = nnx.merge(graph, jax.tree.map(lambda array, number=number: array[number], states))
            yield from ((f"member_{number}/{prefix}", part) for prefix, part in _parts(member))
        return
    yield "", model
    if isinstance(model, AutoencoderModel):
        yield from _parts(model.base)


def _core_figures(model: CoreReadout) -> dict[str, Figure]:
    core, rate = model.core, model.data_info.frame_rate_hz
    figures = {}
    for number, layer in enumerate(getattr(core, "layers", ())):
        figures[f"filters_layer_{number}"] = plot_filters(core, number, frame_rate_hz=rate)
        if isinstance(layer.conv, SpaceTimeConv):
            figures[f"coefficients_layer_{number}"] = plot_coefficients(core, number, frame_rate_hz=rate)
    if getattr(core, "log_speed", None) is not None:
        figures["speeds"] = plot_speeds(core, list(model.data_info.sessions))
    if getattr(core, "gru", None) is not None:
        figures["gates"] = plot_gates(core)
    return figures


def _each_figure(model: Model, neurons: Sequence[int]) -> Iterator[tuple[str, Figure]]:
    """Name and figure, one after the other: thousands of figures do not fit into memory."""
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


def _plot_neurons(model: CoreReadout, neurons: Sequence[int]) -> Figure:
    rate = map_rate_hz(model.core, model.data_info.frame_rate_hz)
    return plot_neurons(model.readout, neurons, neuron_names(model.data_info), map_rate_hz=rate)
