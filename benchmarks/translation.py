"""What of the settings openretina is measured with, in its words."""

from collections.abc import Mapping
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.interop.translation import Options, model_to_theirs

# its GRU core forgets the penalties of other convolutions; the rest costs more than it does in ours
GRU_MEASURED: Mapping[str, Any] = {"convolution": "custom_separable", "adapt_speed": False, "condition_size": None}


def translate(settings: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """What ``reference`` builds: ``core`` and ``readout`` (dotted name of the class, arguments), and ``optimizer``.

    Args:
        settings: of a configuration, with the chosen kinds alone.
        channels: of the stimulus.

    Raises:
        UserError: the reference does not do what the settings say.
    """
    for name, value, only in (
        ("objective.loss.kind", settings["objective"]["loss"]["kind"], "poisson"),
        ("optimizer.kind", settings["optimizer"]["kind"], "adamw"),
    ):
        if value != only:
            raise UserError(f'openretina is measured with {name} "{only}", not with "{value}"')
    core = settings["model"]["core"]
    for name, only in GRU_MEASURED.items() if core["kind"] == "gru" else ():
        if core.get(name, only) != only:
            raise UserError(
                f'openretina is not measured with core "gru" with {name} {core[name]!r}; set it to {only!r}'
            )
    return {**model_to_theirs(settings["model"], channels), "optimizer": translate_adamw(settings["optimizer"])}


def translate_adamw(optimizer: Mapping[str, Any]) -> Options:
    """Arguments of torch's AdamW."""
    options = {"b1": 0.9, "b2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01, **optimizer}
    return {
        "lr": options["learning_rate"],
        "betas": (options["b1"], options["b2"]),
        "eps": options["epsilon"],
        "weight_decay": options["weight_decay"],
    }
