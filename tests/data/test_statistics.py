"""Different frames and transitions, against the reference and by hand."""

import dataclasses
import itertools

import numpy as np

from openretina_jax.data.quality import SplitStatistics, count_frames, dataset_statistics, frame_numbers
from openretina_jax.data.timelines import Tables
from tests import tiny
from tests.goldens_case import case


def test_frames_of_the_reference() -> None:
    golden = case("data", "frame_fingerprints")
    clips = golden.array("input/x").transpose(0, 2, 3, 4, 1)
    (numbers,) = frame_numbers(np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]), np.float32))
    frames, transitions = count_frames([numbers.reshape(clips.shape[:2])])
    golden.check("unique_frames", frames)
    golden.check("unique_transitions", transitions)


def test_equal_frames_have_equal_numbers() -> None:
    movie = np.zeros((4, 2, 2, 1), np.float32)
    movie[1] = 1
    movie[3] = -0.0
    first, second = frame_numbers(movie, movie[1:])
    assert first.tolist() == [0, 1, 0, 0]
    assert second.tolist() == [1, 0, 0]
    assert count_frames([first[None], second[None]]) == (2, 3)


def test_a_data_set_of_right_and_left_eyes() -> None:
    data = tiny.dataset()
    found = dataset_statistics(data, Tables(data))
    kept, validated = tiny.CLIPS - len(tiny.VALIDATION_CLIPS), len(tiny.VALIDATION_CLIPS)
    within = tiny.CLIP_LENGTH - 1
    clips = [session.frame_index[:: tiny.CLIP_LENGTH] // tiny.CLIP_LENGTH for session in data.sessions]
    orders = [[clip for clip in shown if clip not in tiny.VALIDATION_CLIPS] for shown in clips]
    borders = {
        (session.mirrored, *pair)
        for session, order in zip(data.sessions, orders, strict=True)
        for pair in itertools.pairwise(order)
    }
    assert found == {
        "train": SplitStatistics(3, 2 * kept * tiny.CLIP_LENGTH, 2 * kept * within + len(borders)),
        "validation": SplitStatistics(3, 2 * validated * tiny.CLIP_LENGTH, 2 * validated * within),
        "test": SplitStatistics(3, 2 * tiny.TEST_LENGTH, 2 * (tiny.TEST_LENGTH - 1)),
        "train and validation": SplitStatistics(
            3, 2 * tiny.CLIPS * tiny.CLIP_LENGTH, 2 * tiny.CLIPS * within + len(borders)
        ),
    }


def test_a_movie_that_is_its_own_mirror_image() -> None:
    data = tiny.dataset()
    frames = data.stimuli["test"].frames
    even = dataclasses.replace(data.stimuli["test"], frames=np.concatenate([frames, frames[:, :, ::-1]], axis=2))
    train = data.stimuli["train"]
    wide = dataclasses.replace(train, frames=np.concatenate([train.frames, train.frames], axis=2))
    data = dataclasses.replace(data, stimuli={"train": wide, "test": even})
    found = dataset_statistics(data, Tables(data))
    assert found["test"] == SplitStatistics(3, tiny.TEST_LENGTH, tiny.TEST_LENGTH - 1)
    assert found["train"].frames == 2 * (tiny.CLIPS - 2) * tiny.CLIP_LENGTH
