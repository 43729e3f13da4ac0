import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from openretina_jax.simulation.cache import simulate
from openretina_jax.sources.hdf5 import load_hdf5, problems
from tests.sources.frozen import assert_equal_to_openretina, unpack

TESTS = ("random_noise_2", "random_noise_3")
CHANNELS, HEIGHT, WIDTH, CLIP, CLIPS, NEURONS = 2, 4, 3, 10, 6, 3
SIZES = {"channels": CHANNELS, "height": HEIGHT, "width": WIDTH, "clip_length": CLIP, "clips": CLIPS}
SETTINGS = {"test_names": TESTS, "stimulus_size": None, "clip_length": CLIP, "validation_clips": 2}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("simulated"))


@pytest.fixture
def folder(simulated: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(simulated, tmp_path / "recordings")


def written(folder: Path, **options: int) -> Path:
    return simulate("hdf5", folder, {"neurons_per_session": NEURONS, "n_repeats": 5, **SIZES, **options})["path"]


def load(folder: Path, **options):
    return load_hdf5(folder, **{**SETTINGS, **options})


def replace(folder: Path, session: int, key: str, values: np.ndarray | None) -> None:
    with h5py.File(folder / f"session_{session}.hdf5", "a") as file:
        file.pop(key, None)
        if values is not None:
            file[key] = values


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.25, 2.0)])
def test_files_are_read_as_by_openretina(tmp_path, mean, deviation):
    dataset = load(unpack("hdf5", tmp_path), norm_mean=mean, norm_std=deviation, clip_length=20, validation_clips=3)
    assert_equal_to_openretina(dataset, "hdf5", f"{mean} {deviation}")


def test_training_stimuli_follow_each_other_and_tests_stand_alone(folder):
    dataset = load(folder)
    assert {name: stimulus.frames.shape for name, stimulus in dataset.stimuli.items()} == {
        "train": ((2 * CLIPS + 1) * CLIP, HEIGHT, WIDTH, CHANNELS),
        "random_noise_2": ((CLIPS + 2) * CLIP, HEIGHT, WIDTH, CHANNELS),
        "random_noise_3": ((CLIPS + 3) * CLIP, HEIGHT, WIDTH, CHANNELS),
    }
    assert dataset.test_names == TESTS
    assert [session.name for session in dataset.sessions] == ["session_0", "session_1"]
    parts = [np.load(folder / "stimuli" / f"random_noise_{number}.npy") for number in (0, 1)]
    np.testing.assert_array_equal(dataset.stimuli["train"].frames, np.concatenate(parts, axis=1).transpose(1, 2, 3, 0))


def arrays_of(folder: Path, session: str) -> ArrayRecording:
    """What ``from_arrays`` takes of the same recording."""

    def movie(number: int) -> np.ndarray:
        return np.load(folder / "stimuli" / f"random_noise_{number}.npy").transpose(1, 2, 3, 0)

    with h5py.File(folder / f"{session}.hdf5") as file:
        responses = [file[f"responses_random_noise_{number}"][()] for number in range(4)]
    return ArrayRecording(
        np.concatenate([movie(0), movie(1)]),
        np.concatenate(responses[:2], axis=1),
        {f"random_noise_{number}": ArrayTest(movie(number), responses[number], "neuron time") for number in (2, 3)},
        response_axes="neuron time",
        clip_starts=(0, len(movie(0))),
    )


def test_a_folder_and_arrays_are_one_data_set(folder):
    """The training movie begins anew with each of the movies that it was joined of."""
    recordings = {session: arrays_of(folder, session) for session in ("session_0", "session_1")}
    same = from_arrays(recordings, frame_rate_hz=30.0, clip_length=CLIP, validation_clips=2)
    dataset = load(folder)
    assert dataset.begins == same.begins == {"train": (CLIPS * CLIP,)}
    assert fingerprint(dataset) == fingerprint(same)
    assert fingerprint(dataclasses.replace(dataset, begins={})) != fingerprint(dataset)


@pytest.mark.parametrize("order", ["session", "shared"])
@pytest.mark.parametrize("clip_length", [CLIP, 7])
def test_no_window_crosses_from_one_movie_to_the_next(folder, order, clip_length):
    """Nor is a clip with frames of both kept for validation; clips of one movie may be crossed."""
    dataset = load(folder, clip_length=clip_length)
    border = CLIPS * CLIP
    for timeline in Tables(dataset).validation():
        clips = timeline.frames.reshape(-1, clip_length) >= border
        assert (clips.all(axis=1) | ~clips.any(axis=1)).all()
    sampler = make_sampler(order, Tables(dataset), seed=0, window_frames=6, windows_per_step=2)
    crossed = 0
    for windows in (sampler[epoch] for epoch in range(20)):
        for number, start in zip(windows.timeline.ravel(), windows.start.ravel(), strict=True):
            shown = sampler.timelines[number].frames[start : start + 6]
            assert (shown >= border).all() or (shown < border).all()
            crossed += shown[0] // clip_length != shown[-1] // clip_length
    assert crossed > 20


def test_a_clip_of_two_movies_is_no_validation_clip(folder):
    with pytest.raises(UserError, match=r"validation clip 8 .* has frames of two stimuli"):
        load(folder, clip_length=7, validation_clips=(8,))


def test_a_folder_with_one_movie_is_not_interrupted(folder):
    assert not load(folder, test_names=(*TESTS, "random_noise_1")).interrupted


def test_movies_stay_on_the_disk(folder):
    dataset = load(folder, test_names=(*TESTS, "random_noise_1"))
    assert all(isinstance(stimulus.frames, np.memmap) for stimulus in dataset.stimuli.values())


def test_sessions_may_have_stimuli_of_their_own(tmp_path):
    as_they_are = {"norm_mean": 0.0, "norm_std": 1.0}
    dataset = load(written(tmp_path, own_stimuli=1), **as_they_are)
    assert sorted(dataset.stimuli) == ["random_noise_2", "random_noise_3", "session_1/train", "train"]
    assert {session.name: session.stimulus for session in dataset.sessions} == {
        "session_0": "train",
        "session_1": "session_1/train",
    }
    # not only those that are in the folder too, as in openretina
    (tmp_path / "recordings/stimuli/random_noise_0.npy").unlink()
    assert load(tmp_path / "recordings", **as_they_are).stimuli.keys() == dataset.stimuli.keys()


def test_tests_may_be_stored_trial_by_trial(tmp_path):
    by_trial, mean = (
        load(written(tmp_path / str(trials), trials=trials)).sessions[0].repeats["random_noise_2"] for trials in (1, 0)
    )
    assert by_trial.shape == (5, (CLIPS + 2) * CLIP, NEURONS)
    np.testing.assert_allclose(by_trial.mean(axis=0), mean[0], rtol=1e-5, atol=1e-5)


def with_behaviour(folder: Path) -> None:
    """Adds three channels to both files, of which a value is not known."""
    for session in (0, 1):
        for number in range(4):
            with h5py.File(folder / f"session_{session}.hdf5") as file:
                *trials, _, frames = file[f"responses_random_noise_{number}"].shape
            values = session + np.arange(np.prod(trials, dtype=int) * 3 * frames, dtype=float).reshape(
                *trials, 3, frames
            )
            values[..., 1, 2] = np.inf
            replace(folder, session, f"behaviour_random_noise_{number}", values)


@pytest.mark.parametrize("trials", [0, 1])
def test_behaviour_lies_beside_the_responses(tmp_path, trials):
    folder = written(tmp_path, trials=trials)
    with_behaviour(folder)
    for number, session in enumerate(load(folder).sessions):
        assert session.behaviour.shape == (len(session.responses), 3)
        assert session.behaviour[0].tolist() == [number, number + LENGTH, number + 2 * LENGTH]
        assert np.argwhere(np.isnan(session.behaviour))[0].tolist() == [2, 1]
        shapes = {name: shown.shape for name, shown in session.test_behaviour.items()}
        assert shapes == {name: (*repeats.shape[:2], 3) for name, repeats in session.repeats.items()}
        assert session.test_behaviour["random_noise_2"][0, 1, 0] == number + 1


def test_information_is_kept_per_neuron_or_as_a_value(folder, caplog):
    replace(folder, 0, "session_info/positions", np.arange(2 * NEURONS).reshape(NEURONS, 2))
    replace(folder, 0, "session_info/odd", np.arange(NEURONS + 4))
    session = load(folder).sessions[0]
    assert {name: values.shape for name, values in session.neurons.items()} == {
        "celltypes": (NEURONS,),
        "positions": (NEURONS, 2),
    }
    assert session.metadata == {"species": "simulated"}
    assert "session_info/odd has shape (7,), which is neither one value nor one for each of 3 neurons" in caplog.text


def test_without_statistics_those_of_the_training_movie_are_taken(folder):
    stimulus = load(folder).stimuli["train"]
    assert stimulus.norm_mean == pytest.approx(float(stimulus.frames.mean()), abs=1e-5)
    assert stimulus.norm_std == pytest.approx(float(stimulus.frames.std()), rel=1e-3)


def test_responses_may_be_negative_but_must_be_finite(folder, caplog):
    values = np.full((NEURONS, CLIPS * CLIP), -1.0)
    values[1, 4] = np.inf
    replace(folder, 0, "responses_random_noise_0", values)
    responses = load(folder).sessions[0].responses[: CLIPS * CLIP]
    assert np.argwhere(np.isnan(responses)).tolist() == [[4, 1]]
    assert responses[0, 0] == -1
    assert '1 of 180 values in "responses_random_noise_0" are not finite' in caplog.text


LENGTH = CLIPS * CLIP


def save_stimulus(folder: Path, values: np.ndarray) -> None:
    np.save(folder / "stimuli/random_noise_0.npy", values)


MISTAKES = {
    "behaviour of another length": (
        lambda folder: (
            with_behaviour(folder),
            replace(folder, 0, "behaviour_random_noise_0", np.ones((3, LENGTH - 1))),
        ),
        r'session_0.hdf5: "behaviour_random_noise_0" has shape \(3, 59\), but must have the trials and frames of '
        r'"responses_random_noise_0", \(60,\): its axes are \(behaviour, time\)',
    ),
    "behaviour that is missing": (
        lambda folder: (with_behaviour(folder), replace(folder, 0, "behaviour_random_noise_3", None)),
        'session_0.hdf5: "behaviour_random_noise_3" is missing',
    ),
    "truncated": (
        lambda folder: (folder / "session_0.hdf5").write_bytes((folder / "session_0.hdf5").read_bytes()[:3000]),
        "session_0.hdf5: is truncated or not an HDF5 file",
    ),
    "no stimulus": (
        lambda folder: (folder / "stimuli/random_noise_0.npy").unlink(),
        'session_0.hdf5: has responses to "random_noise_0", but neither stimulus_random_noise_0 nor '
        "stimuli/random_noise_0.npy exists; stimuli are random_noise_1",
    ),
    "no responses": (
        lambda folder: [replace(folder, 0, f"responses_random_noise_{number}", None) for number in range(4)],
        r"session_0.hdf5: has no responses to a training stimulus \(responses_<stimulus>\), but session_info",
    ),
    "numbers of neurons": (
        lambda folder: replace(folder, 0, "responses_random_noise_0", np.ones((NEURONS + 1, LENGTH))),
        'session_0.hdf5: numbers of neurons differ: 4 in "responses_random_noise_0"',
    ),
    "lengths": (
        lambda folder: replace(folder, 0, "responses_random_noise_0", np.ones((NEURONS, LENGTH - 1))),
        'session_0.hdf5: "responses_random_noise_0" has 59 frames, the stimulus "random_noise_0" has 60; cut',
    ),
    "swapped responses": (
        lambda folder: replace(folder, 0, "responses_random_noise_0", np.ones((LENGTH, NEURONS))),
        "has 3 frames, the stimulus .* has 60; are the axes of the responses swapped. They are .neuron, time.",
    ),
    "swapped stimulus": (
        lambda folder: save_stimulus(folder, np.ones((LENGTH, CHANNELS, HEIGHT, WIDTH))),
        r"stimuli/random_noise_1.npy: has \(channel, height, width\) \(2, 4, 3\), but \(60, 4, 3\) is expected",
    ),
    "stimulus without channels": (
        lambda folder: save_stimulus(folder, np.ones((LENGTH, HEIGHT, WIDTH))),
        r"stimuli/random_noise_0.npy: holds float64 of shape .* real numbers with the axes \(channel, time, height,",
    ),
    "objects": (
        lambda folder: np.save(folder / "stimuli/random_noise_0.npy", np.array([{}])),
        r"stimuli/random_noise_0.npy: is not a whole .npy file of numbers \(Array can't be memory-mapped",
    ),
    "cut stimulus": (
        lambda folder: (folder / "stimuli/random_noise_0.npy").write_bytes(b"\x93NUMPY\x01\x00"),
        "stimuli/random_noise_0.npy: is not a whole .npy file of numbers",
    ),
    "group": (
        lambda folder: replace(folder, 0, "responses_random_noise_2/x", np.ones(3)),
        "session_0.hdf5: .*is a group, not an array",
    ),
    "no sessions": (
        lambda folder: [file.unlink() for file in folder.glob("*.hdf5")],
        "recordings: holds no files ending in .h5 or .hdf5; give one for each session",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_file_and_entry(folder, mistake):
    make, said = MISTAKES[mistake]
    if mistake == "group":
        replace(folder, 0, "responses_random_noise_2", None)
    make(folder)
    with pytest.raises(UserError, match=said) as raised:
        load(folder)
    assert "\n" not in str(raised.value)


def test_unknown_tests_are_told_with_the_nearest(folder):
    with pytest.raises(
        UserError, match='has "random_nois_2", but no session has responses_random_nois_2; did you mean "'
    ):
        load(folder, test_names=("random_nois_2",))


def test_the_size_can_be_demanded(folder):
    load(folder, stimulus_size=(CHANNELS, HEIGHT, WIDTH))
    with pytest.raises(UserError, match=r"has \(channel, height, width\) \(2, 4, 3\), but \(3, 4, 3\) is expected"):
        load(folder, stimulus_size=(3, HEIGHT, WIDTH))


def test_all_problems_are_found_at_once(folder):
    replace(folder, 0, "responses_random_noise_0", np.ones((NEURONS, LENGTH - 1)))
    replace(folder, 0, "responses_random_noise_1", np.ones((NEURONS + 1, LENGTH + CLIP)))
    (folder / "session_1.hdf5").write_text("no HDF5")
    np.save(folder / "stimuli/random_noise_3.npy", np.ones((CHANNELS, LENGTH, HEIGHT + 1, WIDTH)))
    found = problems(folder, (*TESTS, "movie"))
    for number, said in enumerate(
        ("stimuli/random_noise_3.npy", "has 59 frames", "neurons differ", "session_1.hdf5: is trunc", '"movie"')
    ):
        assert said in found[number]
    assert len(found) == 5
    with pytest.raises(UserError, match=r"random_noise_3.npy: .* \(and 4 more problems, which openretina-jax check"):
        load(folder, test_names=(*TESTS, "movie"))


def test_a_folder_must_be_given():
    with pytest.raises(UserError, match="path is not given"):
        load_hdf5(test_names=TESTS)
