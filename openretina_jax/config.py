"""From a configuration to a run: the only place below the scripts that sees a ``ConfigDict``."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from flax import nnx
from rich.console import Console

from openretina_jax.command_line import show_progress
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.fetch import cache_folder
from openretina_jax.data.sources.hoefling_2024 import RESPONSES, STIMULI_18X16, STIMULI_72X64, load_hoefling_2024
from openretina_jax.data.sources.hoefling_2024_recordings import QualityFilter
from openretina_jax.data.sources.simulated import SimulationConfig
from openretina_jax.data.sources.simulated_cache import simulated_files
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.saved import read_about
from openretina_jax.training.loop import ORDERS, fit
from openretina_jax.training.objective import Objective
from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.patience import PatienceRules
from openretina_jax.training.report import report

_log = logging.getLogger(__name__)

# a resumed run may train longer or draw other pictures; everything else is part of what it is
MAY_CHANGE = ("train.epochs", "train.picture_every")


def train(config: ml_collections.ConfigDict, workdir: Path, console: Console) -> None:
    """Train, or go on training, what ``config`` describes; report at the end.

    Args:
        config: see ``configs/``.
        workdir: everything of the run goes there.
        console: for the live display and the summary.

    Raises:
        UserError: anything wrong with the configuration, the data or the workdir.
    """
    settings = config.to_dict()
    use_compilation_cache()
    dataset = make_dataset(settings["data"])
    _log.info(
        "%d neurons in %d sessions, %d with a mirrored stimulus",
        dataset.n_neurons,
        len(dataset.sessions),
        sum(session.mirrored for session in dataset.sessions),
    )
    about = {"config": json.loads(json.dumps(settings)), "data_info": json.loads(dataset.info.to_json())}
    check_same_run(workdir, about)
    workdir.mkdir(parents=True, exist_ok=True)
    options, order = settings["train"], settings["train"]["order"]
    if order not in ORDERS:
        raise UserError(f'config.train.order is "{order}"; choose {" or ".join(ORDERS)}')
    optimizer_options = dict(settings["optimizer"])
    learning_rate, clip = optimizer_options.pop("learning_rate"), optimizer_options.pop("clip_norm")
    model = make_core_readout(settings["model"], dataset.info, settings["seed"])
    result = fit(
        model=model,
        dataset=dataset,
        workdir=workdir,
        about=about,
        optimizer=make_optimizer(optimizer_options),
        objective=Objective(**settings["objective"]),
        rules=PatienceRules(**settings["patience"]),
        learning_rate=learning_rate,
        clip=clip,
        order=order,
        **options["windows"][order],
        epochs=options["epochs"],
        picture_every=options["picture_every"],
        seed=settings["seed"],
        console=console,
    )
    if not result.finished:
        console.print(f"stopped after epoch {result.epochs}; the same command goes on from there", highlight=False)
        return
    nnx.update(model, result.state.params, result.state.statistics)
    for line in report(result, model, dataset, workdir):
        console.print(line, highlight=False)
    for name, file in (
        ("checkpoint", f"checkpoints/{result.best_epoch}"),
        ("neurons", "neurons.csv"),
        ("metrics", "metrics.csv"),
        ("pictures", "*.png"),
        ("tensorboard", "tensorboard"),
    ):
        console.print(f"{name:<12}{workdir / file}", highlight=False, soft_wrap=True)


def make_dataset(settings: Mapping[str, Any]) -> Dataset:
    """The data set of ``config.data``: published or local files, or simulated ones in the same format."""
    settings = dict(settings)
    high_resolution = settings.pop("resolution") == "72x64"
    simulated, stimuli, responses = (settings.pop(name) for name in ("simulated", "stimuli_path", "responses_path"))
    if simulated.pop("enabled"):
        if stimuli or responses:
            raise UserError("config.data.simulated.enabled and config.data.*_path are both set; take one of them")
        stimuli, responses = simulated_files(SimulationConfig(**simulated), cache_folder() / "simulated", show_progress)
    quality = settings.pop("quality")
    quality["cell_types"] = tuple(quality["cell_types"])
    settings["validation_clips"] = tuple(settings["validation_clips"])
    return load_hoefling_2024(
        stimuli or (STIMULI_72X64 if high_resolution else STIMULI_18X16),
        responses or RESPONSES,
        quality=QualityFilter(**quality),
        **settings,
    )


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that the next run starts at once."""
    folder = cache_folder() / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    _log.info("compiled programs are kept in %s", folder)


def check_same_run(workdir: Path, about: Mapping[str, Any]) -> None:
    """A workdir with checkpoints must hold the same run, or one that was told to train longer.

    Raises:
        UserError: lists the settings that differ.
    """
    folders = [folder for folder in (workdir / "checkpoints").glob("*") if folder.name.isdigit()]
    if not folders:
        return
    saved = read_about(max(folders, key=lambda folder: int(folder.name)))
    then, now = flat(saved["config"]), flat(about["config"])
    different = [
        f"config.{name} is {now.get(name)!r} now and {then.get(name)!r} there"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name not in MAY_CHANGE
    ]
    if saved["data_info"]["sessions"] != about["data_info"]["sessions"]:
        different.append("the sessions or their numbers of neurons are others")
    if different:
        raise UserError(f"{workdir} holds another run: {'; '.join(different)}; give another --workdir")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return result
