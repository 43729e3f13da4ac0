"""Simulated data sets, written once and read again by later runs."""

import hashlib
import inspect
import json
import logging
from collections.abc import Callable
from pathlib import Path

from openretina_jax.data.sources import simulated, simulated_imaging, simulated_movies, simulated_retina
from openretina_jax.data.sources.simulated import RESPONSES_FILE, STIMULUS_FILE, SimulationConfig

_log = logging.getLogger(__name__)


def simulated_files(
    config: SimulationConfig, cache: Path, progress: Callable[[str, int, int], None] | None = None
) -> tuple[Path, Path]:
    """The stimulus and responses of a simulation, as local files in the published format.

    Args:
        config: what to simulate.
        cache: files of the same simulation, by the same version of the simulator, are found there.
        progress: told what is written, how much of it is done, and of how much.

    Raises:
        UserError: numbers of the simulation are out of range.
    """
    sources = [
        inspect.getsource(module) for module in (simulated, simulated_imaging, simulated_movies, simulated_retina)
    ]
    digest = hashlib.sha256(json.dumps([repr(config), *sources]).encode()).hexdigest()[:12]
    folder = cache / f"hoefling_2024_{config.n_sessions}x{config.neurons_per_session}_seed{config.seed}_{digest}"
    stimulus, responses = folder / f"{STIMULUS_FILE}.zip", folder / f"{RESPONSES_FILE}.zip"
    if not (stimulus.exists() and responses.exists()):
        simulated.write_simulated_hoefling(folder, config, progress)
    _log.info("simulated recordings are in %s", folder)
    return stimulus, responses
