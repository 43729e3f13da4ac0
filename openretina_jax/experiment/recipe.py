"""How models are trained, from plain settings."""

from collections.abc import Mapping
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.model import Model
from openretina_jax.training.objective import Objective, ReconstructionObjective, cell_type_weights
from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.schedules import PatienceRules, Plateau, make_schedule
from openretina_jax.training.trainer import Recipe


def make_recipe(settings: Mapping[str, Any], model: Model) -> Recipe:
    """How the model is trained, from ``config.objective``, ``optimizer``, ``schedule``, ``stopping`` and ``train``."""
    options, optimizer = settings["train"], dict(settings["optimizer"])
    objective: Objective | ReconstructionObjective
    if isinstance(model, AutoencoderModel):
        if options["rematerialize"]:
            raise UserError(
                "config.train.rematerialize is set, but an autoencoder does not train the core; set it to False"
            )
        objective = ReconstructionObjective(settings["autoencoder"]["sparsity"])
    else:
        loss = dict(settings["objective"]["loss"])
        weighted = settings["objective"]["cell_type_weighted"]
        objective = Objective(
            loss.pop("kind"), float(loss.pop("samples")), loss, cell_type_weights(model.data_info) if weighted else None
        )
    schedule, stopping = dict(settings["schedule"]), settings["stopping"]
    plateau = None
    if schedule["kind"] == "plateau":
        plateau = Plateau(**{name: value for name, value in schedule.items() if name != "kind"})
    named = {name: optimizer.pop(name) for name in ("learning_rate", "clip_norm", "accumulate", "reset_when_lowered")}
    return Recipe(
        objective=objective,
        optimizer=make_optimizer(optimizer),
        learning_rate=named["learning_rate"],
        schedule=None if schedule["kind"] in ("plateau", "constant") else make_schedule(schedule),
        rules=PatienceRules(plateau, stopping["epochs"], stopping["threshold"]),
        reset_optimizer=named["reset_when_lowered"],
        clip=named["clip_norm"],
        accumulate=named["accumulate"],
        trainable=options["trainable"],
        compute_dtype=options["compute_dtype"],
        average_decay=options["average_decay"],
        rematerialize=options["rematerialize"],
        seed=settings["seed"],
    )
