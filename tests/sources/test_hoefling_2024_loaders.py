"""Whole recordings of Höfling et al. 2024, split and ordered as openretina's dataloaders have them."""

import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.sources.hoefling_2024.sessions import load_hoefling_2024
from tests.sources.frozen import GOLDENS
from tests.sources.hoefling_2024_files import write_files

SPLITS = {
    "train": lambda tables: tables.training(),
    "validation": lambda tables: tables.validation(),
    "test": lambda tables: tables.test("test"),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_hoefling_2024(*write_files(tmp_path_factory.mktemp("files")))


def seen(tables: Tables, timeline: Timeline) -> np.ndarray:
    """The weighted sum of the pixels of every frame, from the eye's side."""
    frames = tables.pick(timeline.frames)
    if timeline.mirrored:
        frames = frames[:, :, ::-1]
    weights = np.arange(1, 1 + frames[0, :, :, 0].size).reshape(frames.shape[1:3])
    return np.einsum("thwc,hw->tc", frames, weights)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_that_of_openretina(dataset: Dataset, split: str) -> None:
    tables = Tables(dataset, per_session=True)
    names = [session.name for session in dataset.sessions]
    with np.load(GOLDENS / "hoefling_2024.npz") as frozen:
        assert {key.split("/")[1] for key in frozen.files if key.startswith(f"{split}/")} == set(names)
        for name, timeline in zip(names, SPLITS[split](tables), strict=True):
            columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
            responses = tables.responses[timeline.rows, columns]
            np.testing.assert_allclose(responses, frozen[f"{split}/{name}/responses"], rtol=2e-6, atol=1e-6)
            np.testing.assert_allclose(seen(tables, timeline), frozen[f"{split}/{name}/movie"], rtol=1e-5, atol=1e-5)


def test_the_same_neurons_are_kept(dataset: Dataset) -> None:
    with np.load(GOLDENS / "hoefling_2024.npz") as frozen:
        for session in dataset.sessions:
            np.testing.assert_array_equal(session.neurons["cell_type"], frozen[f"{session.name}/cell_types"])
            np.testing.assert_allclose(session.neurons["roi_coords"], frozen[f"{session.name}/positions"], atol=1e-6)
