"""Times of frames: from triggers, whole, missing, doubled and irregular ones, and which frame is on the screen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.frame_times import (
    check_triggers,
    frame_ends,
    frame_rate_of,
    frames_at,
    steady_frame_times,
    triggered_frame_times,
)
from openretina_jax.errors import UserError

TRIGGERS = 3.0 + 0.2 * np.arange(20)


def test_frames_at_a_steady_rate():
    np.testing.assert_allclose(steady_frame_times(4, 10.0, start_s=2.0), [2.0, 2.1, 2.2, 2.3])
    with pytest.raises(UserError, match=r"rate_hz is 0\.0; it must be above 0"):
        steady_frame_times(4, 0.0)


def test_frames_between_triggers_are_evenly_spaced():
    found = triggered_frame_times([[1.0], [2.0], [3.2]], 2)
    np.testing.assert_allclose(found, [1.0, 1.5, 2.0, 2.6, 3.2, 3.75])
    np.testing.assert_allclose(triggered_frame_times([[1.0], [2.0], [3.2]], 2, frames=5), found[:5])
    for frames in (4, 7):
        with pytest.raises(UserError, match=rf"3 triggers of 2 frames mark 6 frames, but {frames} were shown"):
            triggered_frame_times([1.0, 2.0, 3.2], 2, frames=frames)


@settings(max_examples=30)
@given(st.sets(st.integers(1, 18), max_size=4), st.sets(st.integers(1, 18), max_size=4), st.integers(0, 2**31))
def test_missing_and_doubled_triggers_are_mended(missing, doubled, seed):
    """Whatever is missing or doubled, with jitter: what was there stays, and the rest is between its neighbours."""
    jitter = np.random.default_rng(seed).uniform(-0.005, 0.005, len(TRIGGERS))
    triggers = TRIGGERS + jitter
    kept = [index for index in range(20) if index not in missing]
    twins = [triggers[index] + 0.03 for index in doubled if index in kept]
    given_triggers = np.sort([*triggers[kept], *twins])
    found = check_triggers(given_triggers, repair=True)
    assert found.shape == triggers.shape
    np.testing.assert_array_equal(found[kept], triggers[kept])
    np.testing.assert_allclose(found, triggers, atol=0.011)
    if missing or twins:
        with pytest.raises(UserError, match="mend the triggers, or pass repair=True"):
            check_triggers(given_triggers)


def test_problems_are_named_by_their_indices():
    gone = np.delete(TRIGGERS, [5, 6, 12])
    with pytest.raises(UserError, match=r"^3 triggers missing after triggers 4, 9; mend"):
        check_triggers(gone)
    twice = np.insert(gone, 3, gone[2] + 0.01)
    with pytest.raises(UserError, match=r"^3 triggers missing after triggers 5, 10 and doubled trigger 3; mend"):
        check_triggers(twice)
    late = TRIGGERS.copy()
    late[7:] += 0.09
    with pytest.raises(UserError, match=r"^after trigger 6 the next one follows after neither one nor up to 11"):
        check_triggers(late, repair=True)
    pause = np.concatenate([TRIGGERS, TRIGGERS + 60.0])
    with pytest.raises(UserError, match=r"^after trigger 19 the next one follows"):
        check_triggers(pause, repair=True)


@pytest.mark.parametrize(
    ("triggers", "message"),
    [
        ([1.0, 2.0], "there are 2 triggers; give at least 3"),
        ([1.0, 3.0, 2.0], "triggers: must rise, but do not after index 1"),
        ([1.0, np.nan, 2.0], "triggers: hold NaN or infinity at index 1"),
        (np.ones((3, 3)), r"triggers: must be a list of times, but have the shape \(3, 3\)"),
    ],
)
def test_what_is_no_series_of_triggers(triggers, message):
    with pytest.raises(UserError, match=message):
        check_triggers(triggers)


def test_a_frame_stays_until_the_next_but_not_over_a_pause():
    times = np.array([0.0, 1.0, 2.1, 3.0, 10.0])
    np.testing.assert_allclose(frame_ends(times), [1.0, 2.1, 3.0, 4.05, 11.05])


def test_frames_are_held():
    movie = np.arange(4)
    shown = frames_at([0.0, 0.1, 0.2, 0.3], steady_frame_times(12, 30.0))
    np.testing.assert_array_equal(movie[shown], np.repeat(movie, 3))
    with pytest.raises(UserError, match=r"at 2 of 14 times \(0.4 to 0.43.*\) no frame is on the screen"):
        frames_at([0.0, 0.1, 0.2, 0.3], steady_frame_times(14, 30.0))


def test_times_tell_the_rate_and_missing_frames():
    times = np.delete(steady_frame_times(101, 50.0), 40)
    with pytest.raises(UserError, match=r"^retina: after frame 39 the next one appears later than 1.5 median"):
        frame_rate_of("retina", times, 100)
    assert frame_rate_of("retina", times, 100, borders=[0, 40]) == pytest.approx(50.0)
    with pytest.raises(UserError, match=r"^retina: has 100 frame_times for 99 frames"):
        frame_rate_of("retina", times, 99)
