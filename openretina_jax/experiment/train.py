"""From a configuration to a run."""

import contextlib
import dataclasses
import functools
import json
import logging
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from flax import nnx
from flax.traverse_util import flatten_dict
from rich.console import Console

from openretina_jax.data.dataset import DataInfo, Dataset
from openretina_jax.errors import UserError
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.recipe import make_recipe
from openretina_jax.interop.checkpoints import open_model
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.build import complete_options, make_autoencoder, make_model
from openretina_jax.models.model import CoreReadout, Model
from openretina_jax.models.saving import load_model, read_about
from openretina_jax.models.transfer import add_sessions, read_sta_filters
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.runtime.devices import multiplying
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.processes import first_before_others
from openretina_jax.runtime.registry import Registry
from openretina_jax.runtime.settings import check_effect, check_known, chosen, entries, read_config
from openretina_jax.sources.registry import make_dataset
from openretina_jax.training.loop import FitResult, check_order, fit
from openretina_jax.training.members import Members, Values, check_continuous, draw, with_values
from openretina_jax.training.population import WHOLE
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.trackers import check_installed, open_trackers
from openretina_jax.training.trainer import Recipe
from openretina_jax.training.writers import Writers

_log = logging.getLogger(__name__)

# a resumed run may train longer, be shown elsewhere or have other devices; everything else is part of what it is
MAY_CHANGE = (
    "train.epochs",
    "train.picture_every",
    "train.frames_on_device",
    "population.ensemble",
    "mesh",
    "logging",
)
IN_MEMORY = "arrays"  # data.source of a run on a data set that no file holds
# part.kind names one of the dictionaries beside it, or else a kind of the part's registry, if it has one
CHOICES: Mapping[str, Registry | None] = {
    "model.core": CORES,
    "model.readout": READOUTS,
    "objective.loss": None,
    "optimizer": None,
    "schedule": None,
}


def train_on(
    dataset: Dataset, config: str | Path | ml_collections.ConfigDict, workdir: Path, settings: Mapping[str, Any]
) -> Model:
    """Train, or go on training, on a data set in memory; see ``openretina_jax.train``."""
    if not isinstance(config, ml_collections.ConfigDict):
        config = read_config(config)
    check_known(settings, entries(config))
    if unused := [name for name in settings if name.startswith("data.")]:
        raise UserError(
            f"config.{unused[0]} is given, but config.data is not used with a data set in memory; leave it out"
        )
    try:
        config.update_from_flattened_dict(settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"settings do not fit the configuration: {' '.join(str(error).split())}") from error
    check_effect(settings, entries(config))
    train(config, workdir, Console(highlight=False), dataset=dataset)
    return load_model(workdir)


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    console: Console,
    profile: bool = False,
    dataset: Dataset | None = None,
) -> None:
    """Train, or go on training, what ``config`` describes; report at the end.

    Args:
        config: see ``configs/``.
        workdir: everything of the run goes there.
        console: for the live display and the summary.
        profile: whether to write a trace of the second epoch.
        dataset: what to train on instead of ``config.data`` (None: that).

    Raises:
        UserError: anything wrong with the configuration, the data or the workdir.
    """
    settings = resolved(config.to_dict())
    check_installed(**settings["logging"])
    use_compilation_cache()
    if dataset is None:
        with first_before_others():
            dataset = make_dataset(settings["data"], cache_folder() / "simulated", show_progress)
    else:
        settings["data"] = {"source": IN_MEMORY} | json.loads(json.dumps(dataset.source))
    _log.info(
        "%d neurons in %d sessions, %d with a mirrored stimulus",
        dataset.n_neurons,
        len(dataset.sessions),
        sum(session.mirrored for session in dataset.sessions),
    )
    members = make_members(settings, dataset.info)
    model = start_model(settings, dataset.info) if members is None else members.models[0]
    about = {
        "config": json.loads(json.dumps(settings | {"model": model.options})),
        "data_info": json.loads(model.data_info.to_json()),
    }
    check_same_run(workdir, about)
    workdir.mkdir(parents=True, exist_ok=True)
    options, order = settings["train"], settings["train"]["order"]
    check_order(order)
    sharding = make_sharding(settings["mesh"], model, members)
    recipe = make_recipe(settings, model)
    kept = flatten_dict(about["config"], sep=".")
    with (
        multiplying(options["matmul_precision"]),
        Writers(workdir, open_trackers(workdir, kept, **settings["logging"])) as writers,
    ):
        result = fit(
            model=model,
            dataset=dataset,
            workdir=workdir,
            about=about,
            recipe=recipe,
            order=order,
            **options["windows"][order],
            epochs=options["epochs"],
            picture_every=options["picture_every"],
            console=console,
            members=members,
            profile=profile,
            sharding=sharding,
            writers=writers,
            frames_on_device=options["frames_on_device"],
        )
        if not result.finished:
            console.print(f"stopped after epoch {result.epochs}; the same command goes on from there", highlight=False)
            return
        scores, files = conclude(result, model, members, dataset, workdir, sharding, settings, console)
        writers.finish(scores, workdir / files[0][1])
    if settings["logging"]["tensorboard"]:
        files.append(("tensorboard", "tensorboard"))
    for name, file in files:
        console.print(f"{name:<12}{workdir / file}", highlight=False, soft_wrap=True)


def conclude(
    result: FitResult,
    model: Model,
    members: Members | None,
    dataset: Dataset,
    workdir: Path,
    sharding: Sharding,
    settings: Mapping[str, Any],
    console: Console,
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Test what was trained, and say how good it is.

    Returns:
        Mean correlation of every split, and what lies where in the workdir, the best checkpoint first.
    """
    from openretina_jax.experiment.report import (  # draws, and matplotlib takes a second to import
        report,
        report_members,
    )

    lines: list[str] = []
    files = [("checkpoint", f"checkpoints/{result.best_epoch}")]
    if members is None:
        nnx.update(model, *result.state.evaluated)
    else:
        best, lines = report_members(result, members, dataset, workdir, settings["population"]["ensemble"])
        model = load_model(best)
        files = [
            ("best member", f"{best.relative_to(workdir)}/checkpoints/{result.best_epoch}"),
            ("ensemble", "ensemble"),
            ("members", "members.csv"),
        ]
    with sharding.active():
        scores, of_model = report(result, model, dataset, workdir, sharding)
    for line in lines + of_model:
        console.print(line, highlight=False, soft_wrap=True)
    return scores, [*files, ("neurons", "neurons.csv"), ("metrics", "metrics.csv"), ("pictures", "*.png")]


def resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as runs keep them: the chosen kind of every part alone, its options beside its name.

    Raises:
        UserError: there is no such kind, or options are given that have no effect.
    """
    result: dict[str, Any] = json.loads(json.dumps(settings))
    for name, registry in CHOICES.items():
        *outer, last = name.split(".")
        parent = functools.reduce(operator.getitem, outer, result)
        parent[last] = chosen(name, parent[last], registry)
    if result["train"]["average_decay"] == 0:
        result["train"]["average_decay"] = None  # no average at all, not a copy of every step
    return result


def make_members(settings: Mapping[str, Any], info: DataInfo) -> Members | None:
    """The members of ``config.population``, or None for a single model.

    Member 0 has the seed of the configuration, and so begins as a single run does; the others have the next ones.

    Raises:
        UserError: the settings to vary or their distributions are wrong, or the models' options are.
    """
    options = settings["population"]
    size, vary = options["size"], options["vary"] or {}
    if size is None:
        return None
    if size < 1:
        raise UserError(f"config.population.size is {size}; take at least 1 member")
    names = {without_kind(name): distribution for name, distribution in vary.items()}
    model = start_model(settings, info)
    check_continuous(list(names), flatten_dict({**settings, "model": model.options}, sep="."))
    values = {"seed": [settings["seed"] + member for member in range(size)], **draw(names, size, options["seed"])}

    def recipe(values: Values) -> Recipe:
        weights = {name.removeprefix("model."): value for name, value in values.items() if name.startswith("model.")}
        ours = {name: value for name, value in values.items() if not name.startswith("model.")}
        return dataclasses.replace(make_recipe(with_values(settings, ours), model), penalty_weights=weights)

    of_each = [with_values(settings, {name: of[member] for name, of in values.items()}) for member in range(size)]
    return Members([start_model(each, info) for each in of_each], values, recipe, options["chunk"])


def without_kind(name: str) -> str:
    """A setting's name where the chosen kinds stand alone: "optimizer.adamw.b1" is "optimizer.b1" there."""
    for part in CHOICES:
        _, _, option = name.removeprefix(f"{part}.").partition(".")
        if name.startswith(f"{part}.") and option:
            return f"{part}.{option}"
    return name


def start_model(settings: Mapping[str, Any], info: DataInfo) -> Model:
    """The model to be trained: fresh, or with the parameters of the run that ``start_from`` names.

    Raises:
        UserError: the model's options are wrong, or the run does not fit the data.
    """
    start, seed = settings["start_from"], settings["seed"]
    hidden = settings["autoencoder"]["hidden"]
    if start is None:
        if hidden is not None:
            raise UserError(
                "config.autoencoder.hidden is set; give the run whose responses it encodes in config.start_from"
            )
        with compiled_in_a_hurry():
            model = make_model(settings["model"], info, seed)
        read_sta_filters(model)
        return model
    trained = open_model(start)
    if not isinstance(trained, CoreReadout):
        raise UserError(f"config.start_from is {start}, which is no core + readout model; give the run of one")
    model = add_sessions(trained, info, seed)
    if hidden is None:
        return model
    options = {"hidden": hidden}
    both = {"base": model.options, "autoencoder": options}
    return AutoencoderModel(model, make_autoencoder(options, model.data_info, seed), both)


def make_sharding(axes: Mapping[str, int], model: Model, members: Members | None) -> Sharding:
    """What lies on which device, from ``config.mesh``; a population is on one.

    Raises:
        UserError: the devices do not fit, or a population was to be spread over some.
    """
    if members is None:
        return Sharding(axes, model.data_info.n_neurons)
    if max(axes.values()) > 1:
        raise UserError(
            f"config.mesh is {dict(axes)}, but a population trains on one device; leave config.mesh as it is, or train "
            "the members as single runs"
        )
    return Sharding({axis: 1 for axis in axes}, model.data_info.n_neurons)


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, small ones too, so that the next run starts at once."""
    folder = cache_folder() / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _log.info("compiled programs are kept in %s", folder)


@contextlib.contextmanager
def compiled_in_a_hurry() -> Iterator[None]:
    """Compile without optimisations what runs once: drawing random numbers takes less time than compiling that well."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def check_same_run(workdir: Path, about: Mapping[str, Any]) -> None:
    """A workdir with checkpoints must hold the same run, or one that was told to train longer.

    Raises:
        UserError: lists the settings that differ.
    """
    folders = [folder for part in ("checkpoints", WHOLE) for folder in (workdir / part).glob("*")]
    folders = [folder for folder in folders if folder.name.isdigit()]
    if not folders:
        return
    saved = read_about(max(folders, key=lambda folder: int(folder.name)))
    # a run that kept only the options that were given had the others' defaults
    model = json.loads(json.dumps(complete_options(saved["config"]["model"])))
    then, now = flatten_dict(saved["config"] | {"model": model}, sep="."), flatten_dict(about["config"], sep=".")
    # the length of a cycle is that of the run
    may_change = set(MAY_CHANGE) - ({"train.epochs"} if now["schedule.kind"] == "one_cycle" else set())
    different = [
        f"config.{name} is {now.get(name)!r} now and {then.get(name)!r} there"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and not {name, name.partition(".")[0]} & may_change
    ]
    if saved["data_info"]["sessions"] != about["data_info"]["sessions"]:
        different.append("the sessions or their numbers of neurons are others")
    if different:
        raise UserError(f"{workdir} holds another run: {'; '.join(different)}; give another --workdir")
