"""What a population is measured against: its models trained one after the other."""

from collections.abc import Callable, Mapping
from typing import Any

from openretina_jax.benchmarks import ours


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The work of ``ours.Training.population_singly``, see ``ours.prepare``."""
    return ours.prepare({**task, "measure": "population_singly"})
