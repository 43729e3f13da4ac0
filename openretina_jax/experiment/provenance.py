"""Where a result comes from: the model, its settings and its data, and the versions of what computed it."""

import dataclasses
import datetime
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.errors import UserError
from openretina_jax.experiment.recipe import differences
from openretina_jax.models.saving import SCORE, best_checkpoint, read_about, read_hashes

if TYPE_CHECKING:  # imports pandas, which runs need only at their end
    from openretina_jax.evaluation.tables import SummaryOptions

CONTENT = "data_sha256"  # of checkpoints: hash of the content of the data
PRESET, CHANGED, VERSIONS = "preset", "changed", "versions"  # of checkpoints
_LIBRARIES = ("openretina-jax", "jax", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """Versions of what computes here, and on which kind of device."""
    found = {name: version(name) for name in _LIBRARIES}
    return {**found, "python": platform.python_version(), "device": jax.devices()[0].device_kind}


def origin(name: str, preset: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where settings come from, for checkpoints: the name of the preset, and what differs from it.

    Raises:
        UserError: either is wrong.
    """
    return {PRESET: name, CHANGED: {key: values[0] for key, values in differences(settings, preset).items()}}


def provenance(checkpoint: str, dataset: Dataset, options: "SummaryOptions") -> dict[str, dict[str, str]]:
    """Facts behind the scores of a model, by topic, as text; those that its checkpoint does not know are left out.

    Args:
        checkpoint: whatever ``openretina_jax.load`` opens.
        dataset: the data set that it was evaluated on.
        options: of the evaluation.
    """
    try:
        folder = best_checkpoint(Path(checkpoint))
        about, hashes = read_about(folder), read_hashes(folder)
    except UserError:  # it was loaded, so it is a model from elsewhere
        folder, about, hashes = Path(checkpoint), {}, {}
    content = fingerprint(dataset)
    trained_on = about.get(CONTENT)
    same = "the same" if trained_on == content else trained_on
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    topics = {
        "Model": {
            "checkpoint": str(folder),
            "epoch": about.get("epoch"),
            SCORE.replace("_", " "): None if SCORE not in about else f"{about[SCORE]:.4f}",
            "SHA-256 of its arrays": hashes.get("arrays"),
            "trained with": _joined(about.get(VERSIONS)),
        },
        "Settings": {"preset": about.get(PRESET), **_settings(about.get(CHANGED))},
        "Data": {
            **{name: value for name, value in dataset.source.items() if value not in (None, {}, [])},
            "SHA-256 of the content": content,
            "SHA-256 in training": same,
        },
        "Evaluation": {"made": now, "with": _joined(versions()), **dataclasses.asdict(options)},
    }
    return {
        topic: {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items() if value}
        for topic, facts in topics.items()
        if any(facts.values())
    }


def _joined(of: Mapping[str, str] | None) -> str | None:
    return None if of is None else ", ".join(f"{name} {value}" for name, value in of.items())


def _settings(different: Mapping[str, Any] | None) -> dict[str, Any]:
    if different is None:
        return {}
    return {f"config.{name}": repr(value) for name, value in different.items()} or {"changed": "nothing"}
