"""Trainers from plain settings: models, how they are trained, and what members of a population differ in."""

import contextlib
import dataclasses
import functools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import DataInfo
from openretina_jax.data.sta import LinearFilters
from openretina_jax.errors import UserError
from openretina_jax.evaluation.monitor import SCORES
from openretina_jax.experiment.ranges import check_ranges
from openretina_jax.interop.loading import load
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.build import make_autoencoder, make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.models.transfer import add_sessions, filters_of, read_sta_filters, start_at_sta
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.shifters import SHIFTERS
from openretina_jax.runtime.registry import Registry
from openretina_jax.runtime.settings import check_parts, chosen
from openretina_jax.training.objective import (
    LOSSES,
    Objective,
    ReconstructionObjective,
    ResponseObjective,
    cell_type_weights,
)
from openretina_jax.training.optimizers import OPTIMIZERS, make_optimizer
from openretina_jax.training.patience import PatienceRules, Plateau
from openretina_jax.training.population import Population, draw, varying_numbers
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.schedules import SCHEDULES
from openretina_jax.training.trainer import Trainer

# parts of a configuration of which one kind is chosen, and where the kinds are registered
CHOICES: Mapping[str, Registry] = {
    "model.core": CORES,
    "model.readout": READOUTS,
    "model.shifter": SHIFTERS,
    "objective.loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
PARTS = ("model.core.", "model.readout.", "model.shifter.")
WITHOUT = "model.shifter"  # a part that a model may lack
RATES, ANY = "softplus", "identity"  # nonlinearities of readouts whose predictions are above 0, or anything
PENALTY = "gamma"  # what the names of weights of penalties begin with


def resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as runs keep them: the chosen kind of every part alone, its options beside its name.

    A readout whose nonlinearity is None has one that predicts what the loss allows.

    Raises:
        UserError: parts or entries are missing, there is no such kind, options are given that have no effect, or a
            number is out of its range.
    """
    check_parts(settings)
    result: dict[str, Any] = json.loads(json.dumps(settings))
    for name, registry in CHOICES.items():
        *outer, last = name.split(".")
        parent = functools.reduce(operator.getitem, outer, result)
        if name == WITHOUT and parent.get(last, {}).get("kind") is None:
            if parent.pop(last, {}).get("options") is not None:
                raise UserError(f"config.{name}.options is given, but no config.{name}.kind; name one")
            continue
        parent[last] = chosen(name, parent[last], registry)
    if result["model"]["readout"].get("nonlinearity", RATES) is None:
        of_rates = getattr(LOSSES[result["objective"]["loss"]["kind"]], "of_rates", True)
        result["model"]["readout"]["nonlinearity"] = RATES if of_rates else ANY
    if result["train"]["average_decay"] == 0:
        result["train"]["average_decay"] = None  # no average at all, not a copy of every step
    check_ranges(result)
    return result


def listed(settings: Mapping[str, Any], preset: Mapping[str, Any]) -> list[str]:
    """List all settings that have an effect, a line each, with the value of the preset where that is another one.

    Raises:
        UserError: see ``resolved``.
    """
    different = differences(settings, preset)
    return [
        f"config.{name} = {value!r}" + (f"  (preset: {different[name][1]!r})" if name in different else "")
        for name, value in sorted(traverse_util.flatten_dict(resolved(settings), sep=".").items())
    ]


def differences(settings: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that have an effect and differ from a preset that has them too: their values here and there.

    Raises:
        UserError: see ``resolved``.
    """
    now, before = (traverse_util.flatten_dict(resolved(one), sep=".") for one in (settings, preset))
    return {name: (now[name], before[name]) for name in sorted(now) if before.get(name, now[name]) != now[name]}


def without_kind(name: str) -> str:
    """A setting's name where the chosen kinds stand alone: "optimizer.adamw.b1" is "optimizer.b1" there."""
    for part in CHOICES:
        _, _, option = name.removeprefix(f"{part}.").partition(".")
        if name.startswith(f"{part}.") and option:
            return f"{part}.{option}"
    return name


def make_trainer(settings: Mapping[str, Any], dataset: Dataset) -> tuple[Trainer, list[dict[str, float | int]]]:
    """Trainer of a run, and what every member has of its own: settings by their dotted names; none for a single model.

    Member 0 has the seed of the configuration, and so begins as a single run does; the others have the next ones.

    Raises:
        UserError: the settings to vary or their distributions are wrong, or the models' options are.
    """
    options = settings["population"]
    size, vary = options["size"], {without_kind(name): of for name, of in (options["vary"] or {}).items()}
    info, filters = dataset.info, filters_of(dataset)
    model = start_model(settings, info, filters)
    if size is None:
        return Trainer(model, make_recipe(settings, model)), []
    if size < 1:
        raise UserError(f"config.population.size is {size}; take at least 1 member")
    check_varying(list(vary), {**settings, "model": model.options}, model)
    drawn = draw(vary, size, options["seed"])
    members: list[dict[str, float | int]] = [
        {"seed": settings["seed"] + number, **{name: values[number] for name, values in drawn.items()}}
        for number in range(size)
    ]
    models, recipes = [], []
    for number, values in enumerate(members):
        own = with_values(settings, values)
        check_ranges(own)
        models.append(start_model(own, info, filters) if number or vary else model)
        weights = {name.removeprefix("model."): values[name] for name in vary if name.startswith(PARTS)}
        recipes.append(dataclasses.replace(make_recipe(own, models[-1]), penalty_weights=weights))
    return Population(models, recipes, options["chunk"]), members


def make_recipe(settings: Mapping[str, Any], model: Model) -> Recipe:
    """How the model is trained, from ``config.objective``, ``optimizer``, ``schedule``, ``stopping`` and ``train``."""
    options, optimizer = settings["train"], dict(settings["optimizer"])
    schedule, stopping = SCHEDULES.make(settings["schedule"], {}), settings["stopping"]
    plateau = schedule if isinstance(schedule, Plateau) else None
    named = {name: optimizer.pop(name) for name in ("learning_rate", "clip_norm", "accumulate", "reset_when_lowered")}
    return Recipe(
        objective=make_objective(settings, model),
        optimizer=make_optimizer(optimizer),
        learning_rate=named["learning_rate"],
        schedule=None if plateau else schedule,
        monitor=SCORES.make(with_kind(stopping["score"]), {}),
        rules=PatienceRules(plateau, stopping["epochs"], stopping["threshold"]),
        reset_optimizer=named["reset_when_lowered"],
        clip=named["clip_norm"],
        accumulate=named["accumulate"],
        trainable=None if options["trainable"] is None else tuple(options["trainable"]),
        compute_dtype=options["compute_dtype"],
        average_decay=options["average_decay"],
        rematerialize=options["rematerialize"],
        seed=settings["seed"],
    )


def with_kind(chosen: str | Mapping[str, Any]) -> dict[str, Any]:
    """A part of a configuration that is a kind alone, or a dictionary with its kind and options."""
    return {"kind": chosen} if isinstance(chosen, str) else dict(chosen)


def order_options(train: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the batch order of ``config.train``; one named "package.module:Name" has its own together."""
    order, windows = train["order"], train["windows"]
    return dict(windows[order] if order in windows else windows["options"] or {})


def make_objective(settings: Mapping[str, Any], model: Model) -> Objective:
    """What a step lowers, from ``config.objective``, or of an autoencoder from ``config.autoencoder``."""
    if isinstance(model, AutoencoderModel):
        if settings["train"]["rematerialize"]:
            raise UserError(
                "config.train.rematerialize is set, but an autoencoder does not train the core; set it to False"
            )
        return ReconstructionObjective(settings["autoencoder"]["sparsity"])
    weight = cell_type_weights(model.data_info) if settings["objective"]["cell_type_weighted"] else None
    return ResponseObjective(LOSSES.make(settings["objective"]["loss"], {}), weight)


def check_varying(names: Sequence[str], settings: Mapping[str, Any], model: Model) -> None:
    """Refuse settings that cannot differ between the members of a population.

    Args:
        names: of the settings.
        settings: all settings, with the chosen kinds alone.
        model: of the population.

    Raises:
        UserError: lists the settings that can.
    """
    flat = traverse_util.flatten_dict({name: part for name, part in settings.items() if name != "population"}, sep=".")
    for name in names:
        if name not in flat or not can_vary(name, settings, model):
            can = [other for other in flat if can_vary(other, settings, model)]
            raise UserError(
                f'config.population.vary: "{name}" is no number of this configuration that may differ between members; '
                f"choose among {', '.join(can)}"
            )


def can_vary(name: str, settings: Mapping[str, Any], model: Model) -> bool:
    """Whether members of a population can differ in a setting: a number of the recipe, or the weight of a penalty."""
    if name == "seed":  # members have seeds of their own
        return False
    if name.startswith(PARTS):
        return name.rpartition(".")[2].startswith(PENALTY)
    try:
        recipes = [make_recipe(with_values(settings, {name: value}), model) for value in (0.25, 0.5)]
        return bool(varying_numbers(recipes))
    except (UserError, TypeError):  # a setting that takes other values than such numbers, or changes the program
        return False


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with other values of some, given by their dotted names."""
    result = dict(settings)
    for name, value in values.items():
        first, _, rest = name.partition(".")
        result[first] = with_values(result[first], {rest: value}) if rest else value
    return result


def start_model(settings: Mapping[str, Any], info: DataInfo, filters: Callable[[int], LinearFilters]) -> Model:
    """The model to be trained: fresh, or with the parameters of the run that ``start_from`` names.

    Args:
        settings: of the run.
        info: facts about the data.
        filters: finds the linear filters of all neurons, of so many frames, where readouts start at these.

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
        start_at_sta(model, filters, list(info.sessions))
        return model
    trained = load(start)
    if not isinstance(trained, CoreReadout):
        raise UserError(f"config.start_from is {start}, which is no core + readout model; give the run of one")
    model = add_sessions(trained, info, seed)
    start_at_sta(model, filters, [name for name in info.sessions if name not in trained.data_info.sessions])
    if hidden is None:
        return model
    options = {"hidden": hidden}
    both = {"base": model.options, "autoencoder": options}
    return AutoencoderModel(model, make_autoencoder(options, model.data_info, seed), both)


@contextlib.contextmanager
def compiled_in_a_hurry() -> Iterator[None]:
    """Compile without optimisations what runs once: drawing random numbers takes less time than compiling that well."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
