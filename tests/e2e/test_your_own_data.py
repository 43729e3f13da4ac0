"""docs/your_own_data.md from spike times to a figure, and its routes, which lead to one data set."""

import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pynwb
import pytest
from scipy.io import savemat

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.data.frame_times import steady_frame_times
from openretina_jax.sources.hdf5 import load_hdf5
from tests.documented import ROOT, snippets
from tests.kept import with_programs
from tests.white_noise import needs_white_noise

pytestmark = [pytest.mark.slow, needs_white_noise]
FRAMES, TEST_FRAMES, REPEATS, HEIGHT, WIDTH, RATE_HZ = 2400, 90, 8, 10, 12, 30.0
UNITS = {3: (4, 4), 7: (6, 8), 12: (3, 8)}  # names in the sorting, and centres
PAGE = ROOT / "docs" / "your_own_data.md"
CHANGES = {
    '"runs/my_retina")\nevaluation': '"runs/my_retina", settings={"train.epochs": 6})\nevaluation',
    '"model.shifter.kind": "mlp"': '"model.shifter.kind": "mlp", "train.epochs": 2',
}


def rates(movie: np.ndarray) -> np.ndarray:
    """Spikes per frame of neurons that follow the light of nine pixels two frames before."""
    light = np.stack([movie[:, y - 1 : y + 2, x - 1 : x + 2].mean(axis=(1, 2)) for y, x in UNITS.values()], axis=1)
    return np.exp(np.roll((light - light.mean(axis=0)) / light.std(axis=0), 2, axis=0) - 1)


def recorded(rng: np.random.Generator, movie: np.ndarray, frame_times: np.ndarray) -> list[np.ndarray]:
    """Spike times of every unit in whole samples."""
    counts = rng.poisson(rates(movie))
    times = [np.repeat(frame_times, one) + rng.uniform(0.001, 0.9 / RATE_HZ, one.sum()) for one in counts.T]
    return [np.sort((one * 30_000).astype(np.int64)) for one in times]


def write_files(folder: Path) -> None:
    """The files that the page reads, in which a retina was shown noise, and then another film eight times."""
    rng = np.random.default_rng(0)
    movie, test = (rng.integers(256, size=(count, HEIGHT, WIDTH), dtype=np.uint8) for count in (FRAMES, TEST_FRAMES))
    times = steady_frame_times(FRAMES, RATE_HZ, start_s=2.0)
    test_times = steady_frame_times(REPEATS * TEST_FRAMES, RATE_HZ, start_s=120.0)
    shown = np.concatenate([test] * REPEATS)
    trains = [
        np.concatenate(parts)
        for parts in zip(recorded(rng, movie, times), recorded(rng, shown, test_times), strict=True)
    ]
    seconds = np.arange(1, 150, 0.01)
    units = np.repeat(list(UNITS), [len(train) for train in trains])
    order = rng.permutation(len(units))
    arrays = {
        "movie": movie,
        "test_movie": test,
        "spike_times": np.concatenate(trains)[order],
        "spike_clusters": units[order],
        "triggers": times[::10],
        "test_triggers": test_times[::10],
        "eye": np.column_stack([seconds, np.sin(seconds), np.cos(seconds / 3)]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    savemat(folder / "trials.mat", {"counts": rng.poisson(1.0, (2, 12 * 210)).astype(np.uint8)})
    write_nwb(folder / "retina.nwb", trains, {"noise": (movie, times), "test": (shown, test_times)})


def write_nwb(file: Path, trains: list[np.ndarray], movies: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    now = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    nwb = pynwb.NWBFile(session_description="a retina", identifier="retina", session_start_time=now)
    for unit, train in zip(UNITS, trains, strict=True):
        nwb.add_unit(id=unit, spike_times=train / 30_000)
    for name, (movie, times) in movies.items():
        seen = {"distance": 0.1, "field_of_view": [1.0, 1.0], "orientation": "up", "unit": "n.a."}
        nwb.add_stimulus(pynwb.image.OpticalSeries(name=name, data=movie, timestamps=times, **seen))
    with pynwb.NWBHDF5IO(file, "w") as io:
        io.write(nwb)


@pytest.fixture(scope="module")
def names(optimized: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page has made, from top to bottom but for its block of arrays, which tests/test_docs.py trains."""
    folder = tmp_path_factory.mktemp("own")
    write_files(folder)
    found: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OPENRETINA_JAX_CACHE", str(with_programs(folder / "cache")))
        for text in snippets(PAGE):
            if "settings=settings" not in text:
                for old, new in CHANGES.items():
                    text = text.replace(old, new)
                exec(compile(text, PAGE.name, "exec"), found)
    return found


def test_spike_times_end_in_a_scored_model_and_a_figure(names) -> None:
    assert names["problems"] == []
    assert names["scores"]["unit"].tolist() == list(UNITS)
    assert names["scores"]["correlation"].mean() > 0.2
    assert len(names["figure"].axes) >= 3
    assert (names["folder"] / "runs" / "my_retina" / "my_test.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_lost_on_the_way(names) -> None:
    spikes = np.load(names["folder"] / "spike_times.npy") / 30_000
    assert names["responses"].sum() == ((spikes > 2) & (spikes < 2 + FRAMES / RATE_HZ)).sum()
    assert names["repeats"].shape == (REPEATS, TEST_FRAMES, 3)
    assert names["dataset"].stimuli["train"].frame_rate_hz == pytest.approx(RATE_HZ)


def test_trials_have_their_own_behaviour(names) -> None:
    assert names["of_trials"].shape == (REPEATS, TEST_FRAMES, 2)
    assert np.isfinite(names["first_trial"]).all()
    assert names["shift"].shape == (TEST_FRAMES, 2)
    assert np.abs(names["shift"]).max() > 0
    assert names["evaluation"].responses["my_test"][0].by_trial.shape[0] == REPEATS


def test_trials_of_white_noise(names) -> None:
    trials: Dataset = names["trials"]
    assert (trials.clip_length, trials.interrupted) == (150, True)
    assert trials.stimuli["train"].frames.dtype == np.int8
    assert trials.stimuli["train"].frames.shape == (12 * 150, 9, 12, 1)


def test_the_routes_of_arrays_nwb_and_hdf5_are_one(names) -> None:
    """Movies, responses, repeats, normalisation, split: to the bit."""
    dataset: Dataset = names["dataset"]
    folder = names["folder"] / "hdf5"
    folder.mkdir()
    with h5py.File(folder / "my_retina.h5", "w") as file:
        file["stimulus_noise"], file["stimulus_my_test"] = names["movie"][None], names["test_movie"][None]
        file["responses_noise"] = names["responses"].T
        file["responses_my_test"] = names["repeats"].transpose(0, 2, 1)
        file["session_info/unit"] = list(UNITS)
    other = load_hdf5(
        str(folder),
        test_names=("my_test",),
        frame_rate_hz=RATE_HZ,
        clip_length=dataset.clip_length,
        validation_clips=len(dataset.validation_clips["train"]),
    )
    assert fingerprint(dataset) == fingerprint(names["same"]) == fingerprint(other)
    for one in (names["same"], other):
        np.testing.assert_array_equal(one.sessions[0].neurons["unit"], list(UNITS))
