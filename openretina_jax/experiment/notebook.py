"""What notebooks call: data sets of configurations, and training on data sets in memory."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.experiment.progress import new_console
from openretina_jax.runtime.described import counted
from openretina_jax.runtime.settings import check_effect, check_known, entries, read_config

if TYPE_CHECKING:
    from openretina_jax.models.model import Model
    from openretina_jax.training.callbacks import Callback

MEMORY_S = 0.7  # that the first layer sees, and half of it the second: as the models of Höfling et al. 2024
LARGEST_KERNELS = (11, 5)  # pixels, theirs too
LONGEST_KERNELS = (41, 21)  # frames: faster movies are seen for a shorter time
PATCH = 15  # pixels that a single-cell model sees along each side, at most
SHORTEST_KERNEL = 3  # frames: the first function of time of a kernel needs them
PENALTY_FRAMES = 14_000  # training frames for which the weights of the penalties were chosen
PREDICTED_FRAMES = 60  # of a window
STEPS = 16  # of an epoch, if the movie is long enough
FEW_WINDOWS = 4  # of a step
MANY_STEPS, MOST_WINDOWS = 100, 16  # of an epoch and of a step of long recordings


def load_dataset(config: str | Path | ml_collections.ConfigDict, settings: Mapping[str, Any] | None = None) -> Dataset:
    """Make the data set of a configuration: simulated, fetched or read from files.

    Args:
        config: name or file of a configuration, maybe with words after a colon such as
            "hoefling_low_res:simulated,quick", or what its ``get_config`` returns.
        settings: entries to change, such as ``{"data.simulated.neurons_per_session": 20}``.

    Raises:
        UserError: the configuration is wrong, or the data cannot be had.
    """
    from openretina_jax.experiment.command_line import show_progress
    from openretina_jax.experiment.data import make_dataset
    from openretina_jax.runtime.fetch import cache_folder

    chosen = changed(config, settings or {})
    return make_dataset(chosen.to_dict()["data"], cache_folder() / "simulated", show_progress)


def train(
    dataset: Dataset,
    workdir: str | Path | None = None,
    config: str | Path | ml_collections.ConfigDict | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: "Sequence[Callback]" = (),
) -> "Model":
    """Train a model on a data set in memory, or go on with a run that was stopped.

    Args:
        dataset: such as that of ``from_arrays``; ``config.data`` is not used.
        workdir: folder of the run, or its address in an object store: checkpoints, scores of the neurons, pictures. A
            run of the same data set and configuration goes on from its last checkpoint (None: a new folder for
            temporary files, which is printed).
        config: name or file of a configuration, maybe with words after a colon, or what its ``get_config`` returns
            (None: that of ``config_for``, whose sizes fit the data).
        settings: entries of the configuration to change, such as ``{"train.epochs": 20}``.
        callbacks: followers of the run besides those of the configuration, see ``training.callbacks.Callback``.

    Returns:
        The model of the best epoch.

    Raises:
        UserError: the configuration does not fit the data, or the workdir holds another run.
    """
    console, given = new_console(), settings or {}
    fitting = config_for(dataset) if config is None else None
    chosen = changed(config if fitting is None else fitting, given)
    if unused := [name for name in given if name.startswith("data.")]:
        raise UserError(
            f"config.{unused[0]} is given, but config.data is not used with a data set in memory; leave it out"
        )
    folder = Path(tempfile.mkdtemp(prefix="openretina_jax_") if workdir is None else workdir)
    # said before jax is imported, which takes seconds
    what = f"{counted(dataset.n_neurons, 'neuron')} in {counted(len(dataset.sessions), 'session')}"
    hint = " (give workdir to keep it)" if workdir is None else ""
    console.print(f"training on {what}, in {folder}{hint}", soft_wrap=True)
    if fitting is not None:
        console.print(choice(dataset, chosen), soft_wrap=True)
    from openretina_jax.experiment.provenance import origin
    from openretina_jax.experiment.train import train as train_run
    from openretina_jax.models.saving import load_model
    from openretina_jax.runtime.devices import own_numbers

    before = (
        {}
        if not isinstance(config, str | Path)
        else origin(str(config), read_config(config).to_dict(), chosen.to_dict())
    )
    train_run(chosen, folder, console, dataset=dataset, callbacks=callbacks, origin=before)
    with own_numbers():
        return load_model(folder)


def changed(config: str | Path | ml_collections.ConfigDict, settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A configuration with other values of some entries.

    Raises:
        UserError: there is no such configuration or entry, or a value does not fit or has no effect.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        config = read_config(config)
    check_known(settings, entries(config))
    try:
        config.update_from_flattened_dict(settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"settings do not fit the configuration: {' '.join(str(error).split())}") from error
    check_effect(settings, entries(config))
    return config


def config_for(dataset: Dataset) -> ml_collections.ConfigDict:
    """The configuration of arrays, with kernels, penalties, windows and a loss that fit the data.

    It is "template" with two layers. The kernels of the first one are as large as those for the recordings of
    Höfling et al. 2024, where frames, clips and tests are large and long enough; bars have kernels of one row.
    Models of single cells see a patch, and as many frames as the two layers. Penalties count more against the data
    where these are few, and less where they are many. Responses that are negative somewhere have the squared error, and
    a readout without a nonlinearity at its end. All sessions that saw one movie are trained together, and a moving
    average of the parameters over about 100 steps is what is scored.
    """
    movies = [dataset.stimuli[session.stimulus] for session in dataset.sessions]
    config = read_config("template:calcium" if dataset.has_negative else "template")
    sides = movies[0].frames.shape[1:3]
    # images have square kernels; bars, and what else is only a few pixels wide, kernels of their own along each side
    sides = sides if odd(2 * min(sides) // 3) == 1 else (min(sides), min(sides))
    first = tuple(odd(min(LARGEST_KERNELS[0], 2 * side // 3)) for side in sides)
    second = tuple(odd(min(LARGEST_KERNELS[1], side - size + 1)) for side, size in zip(sides, first, strict=True))
    tests = [trials.shape[1] for session in dataset.sessions for trials in session.repeats.values()]
    shortest = min([dataset.clip_length, *tests])
    memory = min(MEMORY_S * movies[0].frame_rate_hz, shortest / 3)
    wanted = (min(longest, memory / part) for longest, part in zip(LONGEST_KERNELS, (1, 2), strict=True))
    frames = tuple(max(odd(size), SHORTEST_KERNEL) for size in wanted)
    for core in (config.model.core.simple, config.model.core.gru):
        core.spatial_kernel_sizes, core.temporal_kernel_sizes = (_side(first), _side(second)), frames
        core.hidden_padding = (0, second[0] // 2, second[1] // 2)
    separable, contrast = config.model.readout.separable_lnp, config.model.readout.spatial_contrast
    separable.spatial_size = contrast.patch = tuple(min(PATCH, side) for side in movies[0].frames.shape[1:3])
    separable.temporal_frames = contrast.temporal_frames = sum(frames) - 1  # as the two layers
    length = min(map(len, (movie.frames for movie in movies))) - dataset.clip_length
    longest = dataset.clip_length if dataset.interrupted else length
    window = min(sum(frames) - 2 + PREDICTED_FRAMES, longest)
    for loss in (config.objective.loss.poisson, config.objective.loss.squared_error):
        loss.samples *= length / PENALTY_FRAMES
    config.model.readout.gaussian_mask.positive = False  # features that suppress: what a few neurons need
    config.train.order, config.train.average_decay = "shared", 0.99
    config.train.windows.shared.window_frames = window
    windows = max(min(length // window // STEPS, FEW_WINDOWS), min(length // window // MANY_STEPS, MOST_WINDOWS))
    config.train.windows.shared.windows_per_step = max(windows, 1)
    return config


def choice(dataset: Dataset, config: ml_collections.ConfigDict) -> str:
    """Say in a line what ``config_for`` chose for a data set."""
    loss, (height, width) = config.objective.loss.kind, dataset.info.input_shape[:2]
    fitting, reason = (
        ("squared_error", "responses are negative somewhere")
        if dataset.has_negative
        else ("poisson", "no response is negative")
    )
    why = f", since {reason}" if loss == fitting else ""
    sizes = _sizes_alone(config.model.readout) if config.model.core.kind == "identity" else _sizes(config.model)
    return f"chosen for frames of {height} x {width} pixels: {sizes}loss {loss}{why}"


def _sizes(model: ml_collections.ConfigDict) -> str:
    """Sizes of the kernels of convolutions, in words."""
    core = model.core.simple
    rows, columns = (
        " and ".join(str(size if isinstance(size, int) else size[axis]) for size in core.spatial_kernel_sizes)
        for axis in (0, 1)
    )
    space = f"{rows} pixels" if rows == columns else f"{rows} rows, {columns} columns"
    return f"kernels of {space}, and {' and '.join(map(str, core.temporal_kernel_sizes))} frames; "


def _sizes_alone(readout: ml_collections.ConfigDict) -> str:
    """What a readout sees of the stimulus itself, in words."""
    if readout.kind not in ("separable_lnp", "spatial_contrast"):
        return ""
    options = readout[readout.kind]
    patch = options.spatial_size if readout.kind == "separable_lnp" else options.patch
    seen = "all pixels" if patch is None else f"patches of {patch[0]} x {patch[1]} pixels"
    return f"{seen}, and {options.temporal_frames} frames; "


def odd(size: int | float) -> int:
    """Largest odd number up to a size, and at least 1: kernels with a middle."""
    return max(int(size + 1) // 2 * 2 - 1, 1)


def _side(size: tuple[int, ...]) -> int | tuple[int, int]:
    """One number for a square."""
    height, width = size
    return height if height == width else (height, width)
