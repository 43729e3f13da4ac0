"""New recordings for a trained core: what ``openretina_jax.adapt`` and ``openretina-jax adapt`` do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np
from rich.console import Console

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.experiment.progress import new_console
from openretina_jax.runtime.described import counted
from openretina_jax.runtime.files import check_writable

if TYPE_CHECKING:
    from openretina_jax.evaluation.tables import SummaryOptions
    from openretina_jax.models.core_readout import CoreReadout
    from openretina_jax.models.model import Model
    from openretina_jax.training.adaptation.fit import Fitted
    from openretina_jax.training.objective import Loss

NORMALIZATION = ("norm_mean", "norm_std")
OF_MODEL = ("frame_rate_hz", "pixel_size_um")
CLIPS, PREDICTED = 8, 45  # clips kept for validation of a folder of recordings, and frames predicted of each
FINE_TUNED = "fine_tuned"  # folder of the run that follows, in that of the adapted model


def adapt(
    model: "Model | str | Path",
    dataset: Dataset,
    *,
    loss: "Loss | None" = None,
    keep_sessions: bool = True,
    finetune_epochs: int = 0,
    workdir: str | Path | None = None,
    config: str | Path | ml_collections.ConfigDict | None = None,
) -> "Model":
    """Fit the readout of new recordings behind a trained core: seconds, where training takes minutes.

    The core stays as it is. Its feature maps are computed once; all new neurons are then fitted together. See
    docs/adapting.md.

    Args:
        model: trained core + readout model, or its folder, whose run then says the loss.
        dataset: the new recordings; their validation clips say when to end.
        loss: loss of predictions (None: that of the run; Poisson for a model in memory).
        keep_sessions: whether the sessions of the trained model stay; the new ones come first.
        finetune_epochs: epochs of the usual training afterwards, of the core too (0: none).
        workdir: where the adapted model is saved, and the run of ``finetune_epochs`` (None: nothing is saved).
        config: configuration of that run (None: the one that ``openretina_jax.train`` takes).

    Returns:
        The model; ``data_info`` has the validation score of every new neuron.

    Raises:
        UserError: the core was trained for other stimuli, a session is in the model already, or there are no validation
            clips.
    """
    from openretina_jax.experiment.command_line import show_progress
    from openretina_jax.experiment.train import use_compilation_cache
    from openretina_jax.interop.loading import load
    from openretina_jax.models.saving import save_model
    from openretina_jax.training.adaptation.adapt import adapt_model

    if finetune_epochs and workdir is None:
        raise UserError(f"finetune_epochs is {finetune_epochs}; give workdir, where the run can be")
    if workdir is not None:
        check_writable(Path(workdir), remedy="give another workdir")
    if isinstance(model, str | Path):
        loss = loss or loss_of_run(model)
        model = load(model)
    console = new_console()
    use_compilation_cache()
    adapted, fitted = adapt_model(model, dataset, loss=loss, keep_sessions=keep_sessions, progress=show_progress)
    show_progress.end()  # a fit that ended early says how many passes it took
    console.print(headline(fitted, dataset), soft_wrap=True)
    if workdir is not None:
        save_model(adapted, workdir)
    if finetune_epochs and workdir is not None:
        return fine_tuned(Path(workdir), dataset, finetune_epochs, config)
    return adapted


def fine_tuned(
    start: Path, dataset: Dataset, epochs: int, config: str | Path | ml_collections.ConfigDict | None
) -> "Model":
    """Train a saved model for some epochs, core included, in a folder inside its own."""
    from openretina_jax.experiment.notebook import train

    if epochs < 0:
        raise UserError(f"finetune_epochs is {epochs}; take a number of epochs, or 0 for none")
    settings = {"start_from": str(start), "train.epochs": epochs}
    return train(dataset, start / FINE_TUNED, config, settings)


def adapt_run(
    checkpoint: str,
    data: Mapping[str, Any],
    folder: Path,
    console: Console,
    *,
    keep_sessions: bool = True,
    finetune_epochs: int = 0,
    config: ml_collections.ConfigDict | None = None,
    options: "SummaryOptions | None" = None,
) -> None:
    """Adapt a model on disk to recordings on disk, save it, and print its scores with their intervals.

    Args:
        checkpoint: whatever ``openretina_jax.load`` opens.
        data: ``config.data`` of the new recordings.
        folder: where the model is saved, with ``neurons.csv``, the scores of the new neurons; must not exist.
        console: for the report.
        keep_sessions, finetune_epochs, config: see ``adapt``.
        options: bootstrap of the scores (None: the defaults).

    Raises:
        UserError: the folder exists, or see ``adapt``.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; give another --folder")
    check_writable(folder, remedy="give another --folder")
    from openretina_jax.evaluation.evaluate import evaluate
    from openretina_jax.evaluation.splits import VALIDATION
    from openretina_jax.evaluation.tables import opening_lines, score_lines
    from openretina_jax.experiment.command_line import show_progress
    from openretina_jax.experiment.data import make_dataset
    from openretina_jax.interop.loading import load
    from openretina_jax.runtime.fetch import cache_folder
    from openretina_jax.training.adaptation.adapt import with_core

    model = with_core(load(checkpoint))
    settings = as_trained(data, model)
    dataset = make_dataset(settings, cache_folder() / "simulated", show_progress)
    adapted = adapt(model, dataset, loss=loss_of_run(checkpoint), keep_sessions=keep_sessions, workdir=folder)
    evaluation = evaluate(adapted, dataset, [VALIDATION, *dataset.test_names], options, name=folder.name)
    evaluation.neurons.to_csv(folder / "neurons.csv", index=False)
    for summary in evaluation.summaries.values():
        for line in (*opening_lines(summary), *score_lines(summary), ""):
            console.print(line, soft_wrap=True, markup=False)
    console.print(f"model       {folder}", soft_wrap=True, markup=False)
    console.print(f"neurons     {folder / 'neurons.csv'}", soft_wrap=True, markup=False)
    if finetune_epochs:
        fine_tuned(folder, dataset, finetune_epochs, config)


def settings_of_folder(recordings: str, tests: Sequence[str]) -> dict[str, Any]:
    """Settings of data for a folder of recordings; what is None is as in the data of the model, see ``as_trained``."""
    unknown = dict.fromkeys((*NORMALIZATION, *OF_MODEL, "clip_length"))
    return {"source": "hdf5", "path": recordings, "test_names": tuple(tests), "validation_clips": CLIPS, **unknown}


def as_trained(data: Mapping[str, Any], model: "CoreReadout") -> dict[str, Any]:
    """Settings of data with facts of the model's data where they have None: normalisation, rate and size of pixels."""
    info, settings = model.data_info, dict(data)
    names = [name for name in (*NORMALIZATION, *OF_MODEL) if name in settings and settings[name] is None]
    settings |= {name: value for name in names if (value := getattr(info, name)) is not None}
    if settings.get("frame_rate_hz", 0) is None:
        raise UserError("the model does not say the frame rate of its data; give --config with that of the recordings")
    if settings.get("clip_length", 0) is None:
        settings["clip_length"] = model.lag + PREDICTED
    return settings


def loss_of_run(checkpoint: str | Path) -> "Loss | None":
    """The loss that a model on disk was trained with; None if its checkpoint does not say."""
    from openretina_jax.models.saving import best_checkpoint, read_about
    from openretina_jax.training.objective import LOSSES

    try:
        settings = read_about(best_checkpoint(Path(checkpoint)))["config"]
    except UserError:  # a model from elsewhere
        return None
    return LOSSES.make(settings["objective"]["loss"], {}) if "objective" in settings else None


def headline(fitted: "Fitted", dataset: Dataset) -> str:
    """Mean validation score with its interval over neurons, and the time that it took."""
    from openretina_jax.evaluation.resampling import mean_interval

    scores = fitted.scores.astype(np.float64)
    low, high = mean_interval(scores[:, None], np.arange(len(scores)), resamples=2000, seed=0)[:, 0]
    known = int(np.isfinite(scores).sum())
    return (
        f"validation correlation {np.nanmean(scores):.4f} ({low:.3f} .. {high:.3f} over neurons; "
        f"{counted(known, 'neuron')}, {counted(len(dataset.sessions), 'session')}), feature maps "
        f"{fitted.seconds_of_maps:.0f} s, fit {fitted.seconds:.0f} s"
    )
