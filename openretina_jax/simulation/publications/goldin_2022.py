"""Simulator of files in the published format of Goldin et al. 2022: an HDF5 file for each session.

A file holds ``train/stimulus (image, height, width)``, ``train/response/binned (neuron, image)``, the same below
``test`` with mean counts over repeats, and counts of every repeat in ``test/repeats/cell01 (repeat, image)`` and so on.
"""

import dataclasses
from pathlib import Path

import numpy as np

from openretina_jax.simulation import scenes
from openretina_jax.simulation.spiking import SpikingNeurons, drawn_spikes, expected_spikes
from openretina_jax.simulation.writing import Progress, check_numbers, repeats_by_cell, write_hdf5
from openretina_jax.sources.goldin_2022 import IMAGE_S, SPECIES


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Size, seed and options of a simulation.

    Attributes:
        n_sessions: number of sessions of each species; adding sessions does not change the first ones.
        neurons_per_session: number of neurons of each.
        seed: seed of all random numbers.
        n_images: number of training images of a session.
        n_test_images, n_repeats: number of test images, and of the repeats of each.
        side: pixels of an image along each side.
        noise: 1: responses vary from trial to trial; 0: every trial has the expected response, by which the ceiling
            of a score is known.

    Raises:
        UserError: a number is out of range.
    """

    n_sessions: int = 2
    neurons_per_session: int = 20
    seed: int = 0
    n_images: int = 3000
    n_test_images: int = 30
    n_repeats: int = 30
    side: int = 108
    noise: int = 1

    def __post_init__(self) -> None:
        check_numbers(self)


def simulate(folder: Path, config: SimulationConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Write files of mice and axolotls into a folder; files of the same name are replaced.

    Args:
        folder: where to write; made if missing.
        config: size, seed and options of the simulation.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        The folder, by the option of ``load_goldin_2022`` that takes it.
    """
    target = folder / "goldin_2022"
    names = [(species, number) for species in SPECIES for number in range(config.n_sessions)]
    if progress is not None:
        progress("simulated sessions", 0, len(names))
    for done, (species, number) in enumerate(names, start=1):
        rng = np.random.default_rng((config.seed, SPECIES.index(species), number))
        write_hdf5(target / f"{species}_session_{number + 1}.h5", _recording(rng, config))
        if progress is not None:
            progress("simulated sessions", done, len(names))
    return {"path": target}


def _recording(rng: np.random.Generator, config: SimulationConfig) -> dict[str, np.ndarray]:
    """The arrays of a file by their names in it."""
    images = scenes.natural_images(rng, config.n_images, config.side, config.side)
    test_images = scenes.natural_images(rng, config.n_test_images, config.side, config.side)
    neurons = SpikingNeurons.drawn(
        rng, config.neurons_per_session, height=config.side, width=config.side, centre_sd_px=config.side / 18
    )
    expected, _ = expected_spikes(neurons, {"train": images, "test": test_images}, IMAGE_S, images=True)
    counts, repeats = drawn_spikes(rng, expected["train"], expected["test"], config.n_repeats, config.noise)
    return {
        "train/stimulus": images,
        "test/stimulus": test_images,
        "train/response/binned": counts.T,
        "test/response/binned": repeats.mean(axis=0).T,
        **repeats_by_cell(repeats),
    }
