import h5py
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.simulation.publications.karamanlis_2024 import SimulationConfig, simulate
from openretina_jax.simulation.scenes import gaze, natural_images
from openretina_jax.sources.karamanlis_2024 import load_karamanlis_2024

SMALL = {
    "n_sessions": 2,
    "neurons_per_session": 4,
    "n_blocks": 6,
    "block_frames": 150,
    "n_trials": 30,
    "frozen_frames": 300,
    "n_images": 2,
    "image_height": 650,
    "image_width": 860,
}
SETTINGS = {
    "species": "mouse",
    "stimulus": "fixationmovie",
    "size": (30, 40),
    "fr_normalization": 1.0,
    "onset_frames": 0,
    "clip_length": 75,
    "validation_clips": 2,
    "split_seed": 42,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    calls = []
    files = simulate(tmp_path_factory.mktemp("simulated"), SimulationConfig(**SMALL), lambda *call: calls.append(call))
    assert calls == [("simulated sessions", done, 2) for done in range(3)]
    return files["path"]


def test_layout(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["session_1_mouse", "session_2_mouse"]
    (file,) = (folder / "session_1_mouse").iterdir()
    assert file.name == "session_1_mouse_fixationmovie_data.mat"
    with h5py.File(file) as opened:
        assert {name: (array.shape, array.dtype.kind) for name, array in opened.items()} == {
            "runningImages": ((2, 860, 650), "u"),
            "frozenImages": ((2, 860, 650), "u"),
            "runningfixations": ((6, 150, 3), "f"),
            "frozenfixations": ((300, 3), "f"),
            "runningbin": ((6, 150, 4), "u"),
            "frozenbin": ((30, 300, 4), "u"),
        }
        for part in ("running", "frozen"):
            _, columns, rows = np.moveaxis(opened[f"{part}fixations"][:], -1, 0)
            assert columns.min() >= 400
            assert columns.max() <= 460
            assert rows.min() >= 300
            assert rows.max() <= 350
            assert columns.std() > 5


def test_cells_answer_to_the_movie(folder):
    dataset = load_karamanlis_2024(folder, **SETTINGS)
    assert dataset.stimuli.keys() == {"train", "test"}
    for session in dataset.sessions:
        trials = session.repeats["test"]
        halves = trials[::2].mean(axis=0), trials[1::2].mean(axis=0)
        correlations = [np.corrcoef(*(half[:, neuron] for half in halves))[0, 1] for neuron in range(4)]
        assert np.mean(correlations) > 0.25
    means = [session.responses.mean() * 75 for session in dataset.sessions]
    assert all(8 < mean < 32 for mean in means)


def test_more_sessions_extend_the_files(folder, tmp_path):
    path = simulate(tmp_path, SimulationConfig(**SMALL | {"n_sessions": 1}))["path"]
    (file,) = (path / "session_1_mouse").iterdir()
    with h5py.File(file) as new, h5py.File(folder / "session_1_mouse" / file.name) as old:
        for name in old:
            np.testing.assert_array_equal(new[name], old[name])


def test_photographs_are_coarse_and_dark():
    images = natural_images(np.random.default_rng(0), 3, 64, 96).astype(float)
    assert images.shape == (3, 64, 96)
    assert np.abs(np.diff(images, axis=2)).mean() < 0.7 * images.std()  # 1.1 for noise
    assert (np.median(images, axis=(1, 2)) < images.mean(axis=(1, 2))).all()


def test_eyes_jump_and_drift():
    shown = gaze(np.random.default_rng(0), 1000, 75.0, image_frames=75, n_images=4, columns=(100, 900), rows=(100, 700))
    images = shown[::75, 0]
    assert set(images) == {1, 2, 3, 4}
    steps = np.abs(np.diff(shown[:, 1:], axis=0)).max(axis=1)
    assert 20 < (steps > 20).sum() < 80
    assert 0.5 < steps[steps <= 20].mean() < 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_blocks": 0}, "n_blocks is 0; it must be at least 1"),
        ({"image_width": 700}, "image_width is 700; it must be at least 800"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"species": "cat"}, 'species is "cat"; choose among mouse, marmoset'),
    ],
)
def test_impossible_numbers_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        SimulationConfig(**values)
