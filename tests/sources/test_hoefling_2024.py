import json
import logging
import pickle
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.errors import UserError
from openretina_jax.sources.hoefling_2024.cells import CELL_CLASSES, CELL_TYPE_NAMES, cell_class, roi_position
from openretina_jax.sources.hoefling_2024.selection import QualityFilter, open_sessions, select_neurons
from openretina_jax.sources.hoefling_2024.sessions import (
    CLIP_FRAMES,
    load_artificial_responses,
    load_hoefling_2024,
    read_stimuli,
    shown_frames,
    split_presentation,
)
from openretina_jax.sources.hoefling_2024.traces import NATURAL, TraceConversion, upsample
from tests.sources.hoefling_2024_files import (
    session_values,
    stimuli_values,
    write_recordings,
    write_stimuli,
)


@pytest.fixture
def stimuli_file(tmp_path):
    return write_stimuli(tmp_path / "movies.pkl", stimuli_values())


def load_one(tmp_path, stimuli_file, values, **options):
    return load_hoefling_2024(
        stimuli_file, write_recordings(tmp_path / "responses.h5", {"session_1": values}), **options
    )


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_movies_are_read_without_a_second_copy(tmp_path, protocol):
    values = stimuli_values()
    for name in ("train", "test"):
        values[name] = values[name].repeat(10, axis=2)
    size = sum(values[name].nbytes for name in ("train", "test"))
    file = tmp_path / "movies.pkl"
    file.write_bytes(pickle.dumps(values, protocol))
    del values
    tracemalloc.start()
    stimuli, _ = read_stimuli(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(stimulus.frames.nbytes for stimulus in stimuli.values()) == size
    assert peak < 1.4 * size


def test_one_session_end_to_end(tmp_path, stimuli_file):
    values = session_values(order=2)
    dataset = load_one(tmp_path, stimuli_file, values, norm_by_std=False)
    (session,) = dataset.sessions
    movies = stimuli_values()

    order = movies["random_sequences"][:, 2].astype(int)
    np.testing.assert_array_equal(session.frame_index[::CLIP_FRAMES], order * CLIP_FRAMES)
    np.testing.assert_array_equal(dataset.stimuli["train"].frames, np.moveaxis(movies["train"], 0, -1))
    np.testing.assert_array_equal(dataset.stimuli["test"].frames, np.moveaxis(movies["test"], 0, -1))
    assert (dataset.stimuli["train"].norm_mean, dataset.stimuli["train"].norm_std) == (36.5, 34.0)

    # Training clip 60 follows 54 others and the test movie twice; its responses start at its trigger.
    trigger = values["natural_trigger_times"][0, 60 + 2 * 5]
    times = values["natural_traces_t0"][1] + 0.25 * np.arange(values["natural_spikes"].shape[1])
    expected = np.interp(np.linspace(trigger, trigger + 4.9666667, 150), times, values["natural_spikes"][1])
    np.testing.assert_allclose(session.responses[60 * 150 : 61 * 150, 1], expected, rtol=1e-5, atol=1e-6)
    last_test = values["natural_trigger_times"][0, 122]
    expected = np.interp(np.linspace(last_test, last_test + 4.9666667, 150), times, values["natural_spikes"][1])
    np.testing.assert_allclose(session.repeats["test"][2, -150:, 1], expected, rtol=1e-5, atol=1e-6)
    assert session.metadata == {"eye": "right", "scan_sequence_idx": 2}
    assert session.neurons["cell_type"].tolist() == [1, 2, 3, 4]
    assert session.neurons["cell_type_name"][3] == "OFF slow"
    assert dataset.pixel_size_um == 50.0
    assert dataset.channels == ("green", "UV")
    np.testing.assert_array_equal(session.roi_mask, np.where(values["roi_mask"] < 0, -values["roi_mask"], 0))


def test_normalisation_covers_training_and_test_together(tmp_path, stimuli_file):
    (session,) = load_one(tmp_path, stimuli_file, session_values(), scale_traces=3.0).sessions
    shown = np.concatenate([session.responses, *session.repeats["test"]])
    np.testing.assert_allclose(shown.std(axis=0), 3.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "eye", "mirrored"),
    [
        ("session_1", "left", True),
        ("session_1", "right", False),
        ("session_2_ventral2_20200626", "left", False),
    ],
)
def test_left_eyes_saw_the_movie_mirrored(tmp_path, stimuli_file, name, eye, mirrored):
    file = write_recordings(tmp_path / "responses.h5", {name: session_values(eye=eye)})
    (session,) = load_hoefling_2024(stimuli_file, file).sessions
    assert session.mirrored is mirrored
    assert session.metadata["eye"] == eye


def test_older_files_hold_other_names(tmp_path, stimuli_file):
    newer = session_values()
    older = {key: value for key, value in newer.items() if "traces_t0" not in key and "traces_dt" not in key}
    older["natural_inferred_spikes"] = older.pop("natural_spikes")
    samples = np.arange(newer["natural_spikes"].shape[1])
    older["natural_traces_times"] = newer["natural_traces_t0"][:, None] + newer["natural_traces_dt"] * samples
    (from_newer,) = load_one(tmp_path, stimuli_file, newer).sessions
    (from_older,) = load_one(tmp_path, stimuli_file, older).sessions
    np.testing.assert_array_equal(from_older.responses, from_newer.responses)


def test_values_may_be_datasets_or_attributes(tmp_path, stimuli_file):
    values = session_values(eye="left", order=1)
    values["eye"], values["scan_sequence_idx"] = np.array(b"left"), np.array([1])
    (session,) = load_one(tmp_path, stimuli_file, values).sessions
    assert session.metadata == {"eye": "left", "scan_sequence_idx": 1}


def test_one_time_base_for_all_neurons(tmp_path, stimuli_file):
    values = session_values() | {"natural_traces_t0": np.array([0.0]), "natural_traces_dt": np.array([[0.25]])}
    each = values | {"natural_traces_t0": np.zeros(4), "natural_traces_dt": np.full(4, 0.25)}
    (common,) = load_one(tmp_path, stimuli_file, values).sessions
    (per_neuron,) = load_one(tmp_path, stimuli_file, each).sessions
    np.testing.assert_array_equal(common.responses, per_neuron.responses)


@pytest.mark.parametrize("trace_type", ["raw", "preprocessed", "detrended"])
def test_trace_types(tmp_path, stimuli_file, trace_type):
    values = session_values()
    (session,) = load_one(
        tmp_path, stimuli_file, values, trace_type=trace_type, norm_by_std=False, scale_traces=2.0
    ).sessions
    expected = {
        "raw": values["natural_raw_traces"],
        "preprocessed": values["natural_preprocessed_traces"],
        "detrended": values["natural_raw_traces"] - values["natural_smoothed_traces"],
    }[trace_type]
    start = np.interp(1.5, values["natural_traces_t0"][0] + 0.25 * np.arange(expected.shape[1]), expected[0])
    np.testing.assert_allclose(session.repeats["test"][0, 0, 0], 2 * start, rtol=1e-5)


def test_quality_filters_select_neurons_and_say_how_many(tmp_path, stimuli_file, caplog):
    values = session_values()
    values["group_assignment"] = np.array([1, 40, 3, 4])
    values["chirp_qi"] = np.array([0.35, 0.5, 0.1, 0.1])
    values["d_qi"] = np.array([0.0, 0.9, 0.6, 0.1])
    file = write_recordings(
        tmp_path / "responses.h5",
        {"session_1": values, "session_2": session_values(1) | {"group_assignment": np.full(4, 33)}},
    )
    with caplog.at_level(logging.INFO):
        dataset = load_hoefling_2024(stimuli_file, file)
    assert [session.name for session in dataset.sessions] == ["session_1"]
    assert dataset.sessions[0].neurons["roi_id"].tolist() == [1, 3]
    assert [record.message for record in caplog.records] == [
        "one of 32 cell types: 3 of 8 neurons pass, in 1 of 2 sessions",
        "chirp_qi >= 0.35 or d_qi >= 0.6: 2 of 3 neurons pass, in 1 of 1 sessions",
        "classifier confidence >= 0.25: 2 of 2 neurons pass, in 1 of 1 sessions",
        "session of at least 1 neuron: 2 of 2 neurons pass, in 1 of 1 sessions",
    ]


def test_sessions_without_enough_neurons_are_left_out(tmp_path):
    file = write_recordings(
        tmp_path / "responses.h5", {"small": session_values(n_neurons=2), "large": session_values(n_neurons=3)}
    )
    with open_sessions(file) as groups:
        selected = select_neurons(groups, QualityFilter(min_neurons=3))
        kept = {group.name: int(mask.sum()) for group, mask in selected}
    assert kept == {"large": 3}


def test_missing_responses_stay_nan_and_are_reported(tmp_path, stimuli_file, caplog):
    values = session_values()
    values["natural_spikes"][1, 500:540] = np.nan
    values["natural_spikes"][2] = 0.25
    with caplog.at_level(logging.INFO):
        (session,) = load_one(tmp_path, stimuli_file, values).sessions
    missing = np.isnan(session.responses)
    assert not missing[:, [0, 3]].any()
    assert 0 < missing[:, 1].sum() < 400
    assert missing[:, 2].all()
    assert "session_1: 2 of 4 neurons lack a response at some frames" in caplog.text
    assert "1 of them at all frames" in caplog.text
    clean = load_one(tmp_path, stimuli_file, session_values()).sessions[0]
    np.testing.assert_array_equal(session.responses[:, 0], clean.responses[:, 0])


def test_traces_that_end_too_early_are_reported(tmp_path, stimuli_file, caplog):
    values = session_values() | {"natural_traces_dt": np.full(4, 0.2)}
    load_one(tmp_path, stimuli_file, values)
    assert "session_1: triggers of natural lie between 1.5 and 611.5 s, but the traces cover only" in caplog.text


def test_lost_rois_are_reported(tmp_path, stimuli_file, caplog):
    values = session_values()
    values["roi_mask"][values["roi_mask"] == -2] = 1
    (session,) = load_one(tmp_path, stimuli_file, values).sessions
    assert "session_1: ROIs [2] are not in the mask" in caplog.text
    assert np.isnan(session.neurons["roi_coords"]).any(axis=1).tolist() == [False, True, False, False]


def test_every_cell_type_has_a_class():
    assert [kind for types in CELL_CLASSES.values() for kind in types] == list(CELL_TYPE_NAMES)
    assert [cell_class(kind) for kind in (9, 10, 28, 32, 33, 47)] == [
        "OFF", "ON-OFF", "slow ON", "uncertain RGC", "AC", "unknown",
    ]  # fmt: skip


def test_source_is_recorded_as_plain_values(tmp_path, stimuli_file):
    dataset = load_one(tmp_path, stimuli_file, session_values(), trace_type="raw")
    source = json.loads(json.dumps(dataset.source))
    assert source["stimuli"]["source"] == str(stimuli_file)
    assert len(source["responses"]["sha256"]) == 64
    assert source["quality"]["chirp_qi"] == 0.35
    assert source["traces"] == {"trace_type": "raw", "norm_by_std": True, "scale_traces": 1.0}
    assert dataset.info.from_json(dataset.info.to_json()).sessions == {"session_1": 4}


def test_zip_archives_are_unpacked(tmp_path, stimuli_file):
    recordings = write_recordings(tmp_path / "responses.h5", {"session_1": session_values()})
    for file in (stimuli_file, recordings):
        with zipfile.ZipFile(file.with_suffix(".zip"), "w") as archive:
            archive.write(file, file.name)
    dataset = load_hoefling_2024(stimuli_file.with_suffix(".zip"), recordings.with_suffix(".zip"))
    assert dataset.n_neurons == 4


def test_artificial_stimuli(tmp_path):
    values = session_values()
    file = write_recordings(tmp_path / "responses.h5", {"session_1": values})
    chirp = load_artificial_responses("chirp", file, norm_by_std=False)["session_1"]
    assert chirp.shape == (2 * 990, 4)
    times = values["chirp_traces_t0"][0] + 0.25 * np.arange(values["chirp_spikes"].shape[1])
    second = values["chirp_trigger_times"][0, 2]
    assert chirp[990, 0] == pytest.approx(np.interp(second, times, values["chirp_spikes"][0]), rel=1e-5)
    bars = load_artificial_responses("moving_bar", file)["session_1"]
    assert bars.shape == (8 * 123, 4)
    np.testing.assert_allclose(bars.std(axis=0), 1, rtol=1e-5)


def test_unknown_artificial_stimuli_are_refused(tmp_path):
    with pytest.raises(UserError, match='stimulus is "noise"; choose among chirp, moving_bar'):
        load_artificial_responses("noise", tmp_path / "responses.h5")


def _changed(key, value):
    return lambda values: values.__setitem__(key, value)


BAD_SESSIONS = {
    "missing key": (
        lambda values: values.pop("roi_ids"),
        '"roi_ids" is missing; .*, roi_mask, eye, scan_',
    ),
    "missing traces": (lambda values: values.pop("natural_spikes"), '"natural_spikes" is missing'),
    "too few triggers": (_changed("natural_trigger_times", np.arange(122.0)[None] * 5), "122 triggers, not 123"),
    "too many triggers": (_changed("natural_trigger_times", np.arange(246.0)[None]), "246 triggers, not 123"),
    "triggers back": (_changed("natural_trigger_times", -np.arange(123.0)[None]), "does not increase"),
    "triggers of one axis": (
        _changed("natural_trigger_times", np.arange(123.0)),
        "the axes .neuron, trigger",
    ),
    "triggers of others": (_changed("natural_trigger_times", np.ones((3, 123))), "not one row or one for each"),
    "sequence": (_changed("scan_sequence_idx", 3), "stimulus has orders 0 to 2"),
    "half a sequence": (_changed("scan_sequence_idx", 0.5), "not a whole number"),
    "eye": (_changed("eye", "middle"), "'middle'; it must be left or right"),
    "quality of others": (_changed("chirp_qi", np.ones(3)), '"chirp_qi" has shape \\(3,\\)'),
    "words": (_changed("d_qi", np.array([b"a"] * 4)), "not numbers"),
    "times of others": (_changed("natural_traces_t0", np.zeros(3)), "3 values for 4 neurons"),
    "times back": (_changed("natural_traces_dt", np.full(4, -0.2)), "do not increase"),
    "time samples": (_changed("natural_traces_times", np.zeros((4, 7))), "has 7 samples"),
    "no samples": (_changed("natural_spikes", np.zeros((4, 0))), "have no samples"),
    "infinity": (_changed("natural_spikes", np.full((4, 2480), np.inf)), "hold infinity"),
    "all NaN": (_changed("natural_spikes", np.full((4, 2480), np.nan)), "all responses are NaN"),
    "no neuron left": (_changed("group_assignment", np.full(4, 40)), "no neuron of 1 sessions passes"),
}


@pytest.mark.parametrize("bad", BAD_SESSIONS)
def test_bad_sessions_are_named_in_one_line(tmp_path, stimuli_file, bad):
    change, message = BAD_SESSIONS[bad]
    values = session_values()
    change(values)
    with pytest.raises(UserError, match=message) as raised:
        load_one(tmp_path, stimuli_file, values)
    text = str(raised.value)
    assert "\n" not in text
    assert "responses.h5" in text
    assert bad == "no neuron left" or "session_1" in text


def test_detrended_traces_need_both_parts_alike(tmp_path, stimuli_file):
    values = session_values() | {"natural_smoothed_traces": np.zeros((4, 3))}
    with pytest.raises(UserError, match="natural_smoothed_traces"):
        load_one(tmp_path, stimuli_file, values, trace_type="detrended")


@pytest.mark.parametrize("options", [{"trace_type": "smoothed"}, {"scale_traces": 0.0}])
def test_unknown_conversions_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        TraceConversion(**options)


@pytest.mark.parametrize("options", [{"min_neurons": 0}, {"qi_logic": "xor"}])
def test_impossible_filters_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        QualityFilter(**options)


def test_files_that_are_no_recordings(tmp_path):
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"not HDF5 at all")
    with (
        pytest.raises(UserError, match=r"foreign\.h5: is truncated or not an HDF5 file"),
        open_sessions(foreign),
    ):
        pass
    whole = write_recordings(tmp_path / "whole.h5", {"session_1": session_values()}).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.h5: is truncated"), open_sessions(tmp_path / "cut.h5"):
        pass
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(UserError, match="holds no sessions"), open_sessions(tmp_path / "empty.h5"):
        pass


def _movies(**changes):
    return stimuli_values() | changes


BAD_STIMULI = {
    "no dictionary": ([1, 2], 'must hold the movies "train" and "test", but holds list'),
    "no test": ({"train": np.zeros((2, 16200, 2, 3))}, "but holds train"),
    "three axes": (_movies(train=np.zeros((16200, 2, 3))), r'movie "train" must be numbers \(channel'),
    "cut": (_movies(train=np.zeros((2, 16150, 2, 3))), 'movie "train" has 16150 frames, .* made with 16200'),
    "other test": (_movies(test=np.zeros((2, 900, 2, 3))), 'movie "test" has 900 frames'),
    "other size": (_movies(test=np.zeros((2, 750, 3, 3))), "must be equal"),
    "sequence of clips": (_movies(random_sequences=np.zeros((107, 2), np.uint8)), "order of 108 clips"),
    "clip twice": (_movies(random_sequences=np.zeros((108, 2), np.uint8)), r"\[0, 1\] are not permutations"),
    "statistics": (_movies(movie_stats={"dichromatic": {"mean": np.ones(2)}}), "must be one number"),
}


@pytest.mark.parametrize("bad", BAD_STIMULI)
def test_bad_stimuli_are_named_in_one_line(tmp_path, bad):
    values, message = BAD_STIMULI[bad]
    file = write_stimuli(tmp_path / "movies.pkl", values)
    with pytest.raises(UserError, match=message) as raised:
        read_stimuli(file)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("movies.pkl: ")


def test_stimuli_without_orders_and_statistics(tmp_path):
    values = stimuli_values()
    stimuli, orders = read_stimuli(
        write_stimuli(tmp_path / "movies.pkl", {name: values[name] for name in ("train", "test")})
    )
    np.testing.assert_array_equal(orders, np.arange(108)[:, None])
    assert stimuli["train"].norm_mean is None


@settings(max_examples=20, deadline=None)
@given(clip_frames=st.integers(1, 4), n_neurons=st.integers(1, 3))
def test_split_keeps_every_frame_once(clip_frames, n_neurons):
    shown = np.arange(123 * clip_frames * n_neurons, dtype=np.float32).reshape(-1, n_neurons)
    training, repeats = split_presentation(shown, clip_frames)
    assert repeats.shape == (3, 5 * clip_frames, n_neurons)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, *repeats]), axis=0), shown)
    np.testing.assert_array_equal(training, np.sort(training, axis=0))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_shown_frames_run_through_whole_clips(order, clip_frames):
    frames = shown_frames(np.array(order, np.uint8), clip_frames).reshape(6, clip_frames)
    np.testing.assert_array_equal(frames // clip_frames, np.tile(np.array(order)[:, None], clip_frames))
    np.testing.assert_array_equal(frames % clip_frames, np.tile(np.arange(clip_frames), (6, 1)))


def test_upsampling_holds_border_values_outside_the_trace():
    times = np.array([[2.0, 3.0]])
    responses = upsample(np.array([[1.0, 5.0]]), times, np.array([0.0, 10.0]), NATURAL, norm_by_std=False)
    assert responses.shape == (300, 1)
    assert (responses[0, 0], responses[-1, 0]) == (1.0, 5.0)


def test_roi_position_is_minus_one_to_one_across_the_map():
    corner = np.zeros((400, 400), bool)
    corner[0, 0] = True
    np.testing.assert_allclose(roi_position(corner, roi_pixel_um=1.0, offset=(0.0, 8.0)), [-1, 1], atol=1e-6)
    assert np.isnan(roi_position(np.zeros((4, 4)))).all()
