import io
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from openretina_jax.data.artificial_stimuli import BAR_DIRECTIONS_DEG
from openretina_jax.errors import UserError
from openretina_jax.simulation.imaging import quality_index
from openretina_jax.simulation.movies import NaturalScenes, chirp_clip, moving_bar_clips
from openretina_jax.simulation.publications import hoefling_2024
from openretina_jax.simulation.publications.hoefling_2024 import (
    RESPONSES_FILE,
    STIMULUS_FILES,
    SimulationConfig,
    published_stimulus,
    simulate,
)
from openretina_jax.simulation.retina import CELL_TYPES, SCREEN_CENTRE, Neurons, Retina
from openretina_jax.simulation.truth import TRUTH_FILE
from openretina_jax.sources.hoefling_2024.cells import roi_position
from openretina_jax.sources.hoefling_2024.sessions import TEST_CLIPS

SESSIONS, NEURONS = 2, 4
STIMULUS_FILE = STIMULUS_FILES["18x16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    calls = []
    simulate(folder, SimulationConfig(SESSIONS, NEURONS), lambda *call: calls.append(call))
    assert calls == [("simulated sessions", done, 2) for done in range(3)]
    return folder


def read_member(path):
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return archive.read(name)


def open_responses(folder):
    return h5py.File(io.BytesIO(read_member(folder / f"{RESPONSES_FILE}.zip")))


@pytest.fixture(scope="module")
def stimulus(folder):
    return pickle.loads(read_member(folder / f"{STIMULUS_FILE}.zip"))


def neurons_of(name, count=1, direction_deg=0):
    kind = [cell_type.name for cell_type in CELL_TYPES].index(name)
    return Neurons(
        cell_type=np.full(count, kind),
        direction_deg=np.full(count, direction_deg),
        centre_px=np.tile(SCREEN_CENTRE, (count, 1)),
        pool_px=np.full(count, CELL_TYPES[kind].pool_px),
        gain_control=np.full(count, CELL_TYPES[kind].gain_control),
        threshold=np.full(count, CELL_TYPES[kind].threshold),
    )


def test_only_the_three_files_are_left(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{STIMULUS_FILE}.zip", f"{RESPONSES_FILE}.zip", TRUTH_FILE}


def test_stimulus_layout(stimulus):
    assert stimulus["train"].shape == (2, 108 * 150, 18, 16)
    assert stimulus["test"].shape == (2, 5 * 150, 18, 16)
    assert stimulus["train"].dtype == stimulus["test"].dtype == np.float32
    assert stimulus["random_sequences"].dtype == np.uint8
    np.testing.assert_array_equal(np.sort(stimulus["random_sequences"], axis=0), np.tile(np.arange(108)[:, None], 20))
    statistics = stimulus["movie_stats"]["dichromatic"]
    raw = stimulus["train"].astype(np.float64) * statistics["sd"].item() + statistics["mean"].item()
    assert raw.min() > -1e-3
    assert raw.max() < 255.001
    np.testing.assert_allclose([stimulus["train"].mean(), stimulus["train"].std()], [0, 1], atol=1e-3)


def test_responses_layout(folder):
    with open_responses(folder) as file:
        assert len(file) == SESSIONS
        assert next(iter(file)) == "session_1_ventral1_20200226"
        for group in file.values():
            assert group.attrs["eye"] in ("left", "right")
            assert 0 <= group.attrs["scan_sequence_idx"] < 20
            for stimulus, triggers in {"natural": 123, "chirp": 10, "mb": 24}.items():
                samples = group[f"{stimulus}_inferred_spikes"].shape[1]
                for field in ("raw_traces", "smoothed_traces", "preprocessed_traces", "traces_times"):
                    assert group[f"{stimulus}_{field}"].shape == (NEURONS, samples)
                assert group[f"{stimulus}_trigger_times"].shape == (NEURONS, triggers)
                assert group[f"{stimulus}_inferred_spikes"][:].min() >= 0
                np.testing.assert_allclose(np.diff(group[f"{stimulus}_traces_times"][:]), 0.128)
                last_piece = {"natural": 4.9666667, "chirp": 27.99, "mb": 4.054001}[stimulus]
                end = group[f"{stimulus}_trigger_times"][0, -1] + last_piece
                assert group[f"{stimulus}_traces_times"][:, -1].min() > end
            confidences, groups = group["group_confidences"][:], group["group_assignment"][:]
            np.testing.assert_array_equal(confidences.argmax(axis=1), groups - 1)
            np.testing.assert_allclose(confidences.sum(axis=1), 1, rtol=1e-5)
            for index in ("d_qi", "chirp_qi"):
                assert ((group[index][:] > 0) & (group[index][:] <= 1)).all()


def test_trigger_interval_of_the_movie(folder):
    with open_responses(folder) as file:
        for group in file.values():
            np.testing.assert_allclose(np.diff(group["natural_trigger_times"][:]), 4.9666667)


def test_receptive_fields_lie_where_the_mask_says(folder):
    with open_responses(folder) as file, h5py.File(folder / TRUTH_FILE) as truth:
        for name, group in file.items():
            mask = group["roi_mask"][:]
            assert set(np.unique(mask)) == {1, *(-group["roi_ids"][:])}
            positions = np.array([roi_position(mask == -roi) for roi in group["roi_ids"][:]])
            # 1 in readout coordinates is four pixels from the centre.
            np.testing.assert_allclose(truth[name]["centre_px"], SCREEN_CENTRE + 4 * positions, atol=1)


def test_repeats_correlate_with_the_truth(folder):
    with open_responses(folder) as file, h5py.File(folder / TRUTH_FILE) as truth:
        for name, group in file.items():
            triggers = group["natural_trigger_times"][0]
            shown = triggers[np.r_[0:5, 59:64, 118:123], None] + np.linspace(0, 4.9666667, 150)
            for neuron in np.flatnonzero(truth[name]["repeat_correlation"][:] > 0.4):
                times, spikes = group["natural_traces_times"][neuron], group["natural_inferred_spikes"][neuron]
                mean = np.interp(shown.ravel(), times, spikes).reshape(3, -1).mean(axis=0)
                assert np.corrcoef(mean, truth[name]["test"][:, neuron])[0, 1] > 0.6


@pytest.mark.slow
def test_more_sessions_extend_the_files_and_finer_movies_belong_to_the_same_responses(folder, tmp_path, monkeypatch):
    asked = []

    def coarse(scenes, sequences, finer):
        asked.append(finer)
        return published_stimulus(scenes, sequences, 1)

    monkeypatch.setattr(hoefling_2024, "published_stimulus", coarse)
    paths = simulate(tmp_path, SimulationConfig(1, NEURONS, field_names="new", resolution="72x64"))
    assert asked == [4]
    assert paths["stimuli_path"].name == "rgc_natstim_72x64_joint_normalized_2024-10-11.zip"
    assert read_member(paths["stimuli_path"]) == read_member(folder / f"{STIMULUS_FILE}.zip")
    with open_responses(folder) as old, open_responses(tmp_path) as new:
        (name,) = new
        spikes = old[name]["natural_inferred_spikes"][:], new[name]["natural_spikes"][:]
        np.testing.assert_allclose(*spikes, rtol=1e-3, atol=1e-4)  # matrix products may round differently
        samples = np.arange(new[name]["mb_spikes"].shape[1])
        t0, dt = new[name]["mb_traces_t0"][:], new[name]["mb_traces_dt"][:]
        np.testing.assert_allclose(t0[:, None] + dt[:, None] * samples, old[name]["mb_traces_times"])
        assert not [field for field in new[name] if field.endswith(("traces_times", "inferred_spikes"))]


@pytest.mark.parametrize(
    "values", [{"n_sessions": 0}, {"neurons_per_session": 0}, {"neurons_per_session": 257}, {"seed": -1}]
)
def test_impossible_numbers_are_refused(values):
    (name,) = values
    with pytest.raises(UserError, match=name):
        SimulationConfig(**values)


def test_unknown_resolution_is_refused():
    with pytest.raises(UserError, match='resolution is "9x8"; choose among 18x16, 72x64'):
        SimulationConfig(resolution="9x8")


def test_finer_movies_show_the_same_scenes():
    scenes = NaturalScenes.drawn(np.random.default_rng(0), 2)
    coarse, fine = scenes.shown(slice(1, 2)), scenes.shown(slice(1, 2), finer=4)
    assert fine.shape == (1, 150, 2, 72, 64)
    pooled = fine.reshape(1, 150, 2, 18, 4, 16, 4).mean(axis=(4, 6))
    assert np.corrcoef(pooled.ravel(), coarse.ravel())[0, 1] > 0.95
    within = fine.reshape(1, 150, 2, 18, 4, 16, 4).std(axis=(4, 6)).mean()
    assert within > 0.2 * coarse.std(), "finer pixels show what coarse ones do not"


def test_both_resolutions_show_the_same_clips():
    rng = np.random.default_rng(0)
    scenes = NaturalScenes.drawn(rng, 2 + TEST_CLIPS)
    sequences = np.stack([rng.permutation(2) for _ in range(20)], axis=1).astype(np.uint8)
    coarse, fine = (published_stimulus(scenes, sequences, finer) for finer in (1, 4))
    assert fine["train"].shape == (2, 2 * 150, 72, 64)
    np.testing.assert_array_equal(fine["random_sequences"], sequences)
    np.testing.assert_allclose([fine["train"].mean(), fine["train"].std()], [0, 1], atol=1e-3)
    pooled = fine["test"].reshape(2, 750, 18, 4, 16, 4).mean(axis=(3, 5))
    assert np.corrcoef(pooled.ravel(), coarse["test"].ravel())[0, 1] > 0.9


def test_left_eye_sees_the_mirror_image():
    bars = moving_bar_clips()
    neurons = neurons_of("ON-OFF DS 1", direction_deg=90)
    order = {"mb": np.arange(8)}
    left = Retina({"mb": bars}).rates(neurons, order, mirrored=True)[0]["mb"]
    mirrored = Retina({"mb": np.ascontiguousarray(bars[..., ::-1])}).rates(neurons, order, mirrored=False)[0]["mb"]
    np.testing.assert_allclose(left, mirrored, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("direction", [0, 90, 180, 270])
def test_direction_selective_neurons_prefer_their_direction(direction):
    retina = Retina({"mb": moving_bar_clips()})
    rates = retina.rates(neurons_of("OFF DS", direction_deg=direction), {"mb": np.arange(8)}, mirrored=False)[0]["mb"]
    peaks = dict(zip(BAR_DIRECTIONS_DEG, rates.reshape(8, -1).max(axis=1), strict=True))
    assert peaks[direction] > 1.5 * peaks[(direction + 180) % 360]


@pytest.mark.parametrize(("name", "step"), [("ON alpha", "on"), ("OFF alpha sust.", "off")])
def test_polarity_in_the_chirp(name, step):
    retina = Retina({"chirp": chirp_clip()})
    rate = retina.rates(neurons_of(name), {"chirp": np.zeros(1, int)}, mirrored=False)[0]["chirp"][:, 0]
    windows = {"on": rate[68:78].mean(), "off": rate[158:168].mean()}  # steps are at 2 s and 5 s
    other = {"on": "off", "off": "on"}[step]
    assert windows[step] > 2 * windows[other]


def test_a_clip_is_remembered_for_about_a_second():
    noise = np.random.default_rng(0).standard_normal((4, 120, 2, 18, 16)).astype(np.float32)
    retina, neurons = Retina({"noise": noise}), neurons_of("ON slow")
    # The same clips in two orders, so that the drive has the same scale; clip 1 comes after 0 and after 2.
    orders = np.array([0, 1, 3, 2]), np.array([3, 2, 1, 0])
    first, second = (
        retina.rates(neurons, {"noise": order}, mirrored=False)[0]["noise"].reshape(4, -1) for order in orders
    )
    difference = np.abs(first[1] - second[2])
    assert difference[:15].max() > 0.1
    assert difference[45:].max() < 0.03


def test_quality_index_of_signal_and_noise():
    signal = np.sin(np.arange(200, dtype=np.float32))[None, :, None]
    np.testing.assert_allclose(quality_index(np.repeat(signal, 5, axis=0)), 1, rtol=1e-5)
    noise = np.random.default_rng(0).standard_normal((5, 5000, 1)).astype(np.float32)
    np.testing.assert_allclose(quality_index(noise), 0.2, atol=0.03)
