"""What a data set refuses, the order of its sessions, and the facts that a model keeps."""

import json
from typing import Any

import jaxtyping
import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.info import DataInfo
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.errors import UserError
from tests import tiny

CLIP, CLIPS = 4, 3


def stimulus(name: str = "train", time: int = CLIP * CLIPS, **options: Any) -> Stimulus:
    return Stimulus(name, np.zeros((time, 2, 3, 1), np.float32), frame_rate_hz=30.0, **options)


def session(name: str = "a", **options: Any) -> Session:
    shown = np.arange(CLIP * CLIPS, dtype=np.int32)
    defaults = {
        "stimulus": "train",
        "responses": np.ones((len(shown), 2), np.float32),
        "frame_index": shown,
        "repeats": {"test": np.ones((3, 5, 2), np.float32)},
    }
    return Session(name, **(defaults | options))


def dataset(*sessions: Session, **options: Any) -> Dataset:
    defaults = {
        "stimuli": {"train": stimulus(), "test": stimulus("test", 5)},
        "clip_length": CLIP,
        "validation_clips": {"train": (1,)},
    }
    return Dataset(sessions=sessions, **(defaults | options))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the type checks of the tests, which users do not run and which would fail first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_stimulus_without_frames() -> None:
    with pytest.raises(UserError, match=r'"train" is empty: shape \(0, 2, 3, 1\)'):
        stimulus(time=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_stimulus_with_bad_pixels(value: float) -> None:
    frames = np.zeros((5, 2, 3, 1), np.float32)
    frames[[1, 1, 3], [0, 1, 0]] = value
    with pytest.raises(UserError, match='"movie" holds NaN or infinity in 2 of 5 frames'):
        Stimulus("movie", frames, frame_rate_hz=30.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"responses": np.ones((12, 0), np.float32)}, "a: has no neurons"),
        ({"responses": np.ones((11, 2), np.float32)}, "a: responses have 11 frames, but 12 were shown"),
        ({"repeats": {"test": np.ones((3, 5, 4), np.float32)}}, 'a: responses to "test" have 4 neurons, the others 2'),
        ({"neurons": {"cell_type": np.arange(3)}}, 'a: "cell_type" has 3 entries for 2 neurons'),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_session_that_does_not_fit_itself(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        session(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stimulus": "films"}, 'a: has no stimulus "films"; the data set has test, train'),
        ({"repeats": {"other": np.ones((3, 5, 2), np.float32)}}, 'a: has no stimulus "other"'),
        ({"frame_index": np.arange(4, 16, dtype=np.int32)}, 'frames 4 to 15, but stimulus "train" has frames 0 to 11'),
        ({"frame_index": np.arange(-4, 8, dtype=np.int32)}, "frames -4 to 7"),
        ({"frame_index": np.arange(11, -1, -1, dtype=np.int32)}, "a: was not shown whole clips of 4 frames"),
        ({"repeats": {"test": np.ones((3, 6, 2), np.float32)}}, '"test" have 6 frames, stimulus "test" has 5'),
        ({"frame_index": np.tile(np.arange(4, dtype=np.int32), 3)}, r"validation clips \[1\] were never shown"),
    ],
)
def test_session_that_does_not_fit_the_data_set(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataset(session(**options))


def test_a_clip_that_was_cut() -> None:
    cut = session(frame_index=np.arange(10, dtype=np.int32), responses=np.ones((10, 2), np.float32))
    with pytest.raises(
        UserError, match="a: its last clip has 2 of 4 frames, but only the last clip of a stimulus may be shorter"
    ):
        dataset(cut)


def test_no_sessions() -> None:
    with pytest.raises(UserError, match="has no sessions"):
        dataset()


def test_session_names_are_unique() -> None:
    with pytest.raises(UserError, match=r"come twice: a, b$"):
        dataset(session("b"), session("a"), session("c"), session("b"), session("a"))


def test_sessions_with_a_common_stimulus_are_neighbours() -> None:
    stimuli = {name: stimulus(name) for name in ("films", "train")} | {"test": stimulus("test", 5)}
    sessions = [
        session("1", stimulus="train", mirrored=True),
        session("2", stimulus="films"),
        session("3", stimulus="train"),
        session("4", stimulus="films", mirrored=True),
        session("5", stimulus="train", mirrored=True),
    ]
    assert [s.name for s in dataset(*sessions, stimuli=stimuli).sessions] == ["2", "4", "3", "1", "5"]


def test_names_and_counts() -> None:
    data = tiny.dataset()
    assert data.n_neurons == data.info.n_neurons == sum(tiny.NEURONS.values())
    assert data.test_names == ("test",)
    assert list(data.info.sessions) == ["right_1", "right_2", "left"]


def test_mean_activity_counts_what_was_recorded() -> None:
    responses = np.array([[1, np.nan, 5], [3, np.nan, np.nan]] * 6, np.float32)
    repeats = {"test": np.ones((3, 5, 3), np.float32)}
    info = dataset(session(responses=responses, repeats=repeats)).info
    assert info.mean_activity == {"a": [2.0, 0.0, 5.0]}


def test_info_survives_json() -> None:
    neurons = {"type": np.array(["ON", "OFF"]), "position": np.array([[0.5, 1], [2, 3]])}
    movies = {"train": stimulus(norm_mean=37.5, norm_std=2.0), "test": stimulus("test", 5)}
    source = {"publication": "x", "sha256": None}
    info = dataset(session(neurons=neurons), stimuli=movies, source=source, pixel_size_um=50.0).info
    assert info.neurons == {"a": {"type": ["ON", "OFF"], "position": [[0.5, 1], [2, 3]]}}
    assert info.input_shape == (2, 3, 1)
    assert DataInfo.from_json(info.to_json()) == info
    assert json.loads(info.to_json())["source"] == source


def test_channels_and_roi_masks_are_kept_as_plain_values() -> None:
    mask = np.zeros((4, 5), np.int32)
    mask[1:3, 2], mask[3, 4] = 7, 300
    data = dataset(session(roi_mask=mask), session("b"), channels=("grey",))
    info = DataInfo.from_json(data.info.to_json())
    assert info.channels == ["grey"]
    assert info.packed_roi_masks.keys() == {"a"}
    np.testing.assert_array_equal(info.roi_mask("a"), mask)
    with pytest.raises(UserError, match='ROI mask of session "b" is not known; known are those of: a'):
        info.roi_mask("b")
    with pytest.raises(UserError, match="channels are named green, UV, but frames have the shapes"):
        dataset(session(), channels=("green", "UV"))
