"""Maps of a frozen core, kept or computed anew."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.data.timelines import Tables
from openretina_jax.training.adaptation import maps
from openretina_jax.training.adaptation.maps import Maps, in_order_of_time
from tests import tiny
from tests.tiny import CLIP_LENGTH, CLIPS


def training(whole_clips: bool = False) -> Maps:
    tables = Tables(tiny.dataset(), per_session=True)
    return Maps(tiny.model(), tables, tables.training(), whole_clips)


@pytest.mark.parametrize("piece_bytes", [1, maps.PIECE_BYTES])
def test_every_recorded_frame_is_predicted_once(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(maps, "PREDICTED_FRAMES", 10)
    model, found = tiny.model(), training()
    sessions = {}
    for piece in found:
        maps_in_time, responses = in_order_of_time(piece.maps), np.asarray(piece.responses)
        assert maps_in_time.shape[:2] == responses.shape[:2]
        recorded = np.isfinite(responses)
        sessions.setdefault(piece.timeline, []).extend(responses[recorded.any(axis=2)].tolist())
        assert piece.first + responses.shape[2] <= model.data_info.n_neurons
    for session, rows in zip(tiny.dataset().sessions, sessions.values(), strict=True):
        clips = session.frame_index[:: tiny.CLIP_LENGTH] // tiny.CLIP_LENGTH
        kept = np.repeat(~np.isin(clips, tiny.VALIDATION_CLIPS), tiny.CLIP_LENGTH)
        expected = session.responses[kept][model.lag :]
        own = np.asarray(rows)
        own = own[:, np.isfinite(own).all(axis=0)]
        np.testing.assert_array_equal(own, expected)


def test_frames_with_a_history_of_another_movie_are_left_out() -> None:
    """Those just after a movie begins anew; all others are there."""
    session = dataclasses.replace(
        tiny.dataset().sessions[0], frame_index=np.arange(CLIPS * CLIP_LENGTH, dtype=np.int32)
    )
    whole = dataclasses.replace(tiny.dataset(), sessions=(session,), validation_clips={})
    border, lag = 50, tiny.model().lag
    dataset = dataclasses.replace(whole, begins={session.stimulus: (border,)})
    tables = Tables(dataset, per_session=True)
    pieces = Maps(tiny.model(), tables, tables.training(), False)
    responses = np.concatenate([np.asarray(piece.responses)[..., : session.n_neurons] for piece in pieces])
    found = np.isfinite(responses).any(axis=2).ravel()[: CLIPS * CLIP_LENGTH - lag]
    assert np.flatnonzero(~found).tolist() == list(range(border - lag, border))


def test_validation_clips_are_windows() -> None:
    tables = Tables(tiny.dataset(), per_session=True)
    found = Maps(tiny.model(), tables, tables.validation(), True)
    assert found.frames == tiny.CLIP_LENGTH
    assert len(found) == len(tiny.NEURONS)
    assert all(len(piece.responses) == len(tiny.VALIDATION_CLIPS) for piece in found)


@pytest.mark.slow
def test_maps_are_those_of_the_core() -> None:
    model, dataset = tiny.model(), tiny.dataset()
    tables = Tables(dataset, per_session=True)
    (first, *_), session = Maps(model, tables, tables.training(), False), dataset.sessions[0]
    clips = session.frame_index // tiny.CLIP_LENGTH
    shown = dataset.stimuli["train"].frames[session.frame_index[~np.isin(clips, tiny.VALIDATION_CLIPS)]]
    window = in_order_of_time(first.maps)[0]
    stimulus = shown[: window.shape[0] + model.lag]
    stimulus = stimulus[:, :, ::-1] if session.mirrored else stimulus
    np.testing.assert_allclose(window, model.core(jnp.asarray(stimulus[None]))[0], atol=1e-5)


@pytest.mark.parametrize(("free", "computed", "kept"), [(1.0, 1, "float32"), (0.5, 1, "bfloat16"), (0.1, 2, "float32")])
def test_maps_are_kept_as_far_as_memory_goes(
    free: float, computed: int, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take at most a share of the free memory, and every pass computes what is not kept."""
    reference = training()
    needed = sum(piece.maps.nbytes for piece in reference)
    monkeypatch.setattr(maps, "free_bytes", lambda: free * needed / maps.MEMORY_SHARE + 1)
    found, calls = training(), []
    program = found._program
    found._program = lambda *arguments: calls.append(1) or program(*arguments)
    for _ in range(2):
        for piece, expected in zip(found, reference, strict=True):
            assert str(piece.maps.dtype) == kept
            np.testing.assert_allclose(piece.maps, expected.maps, rtol=1e-2, atol=1e-5)
    assert len(calls) == computed * len(found)
    assert found.keeps == (computed == 1)


def test_sessions_in_one_order_share_their_maps() -> None:
    dataset = tiny.dataset()
    first = dataset.sessions[0]
    twin = dataclasses.replace(first, name="twin")
    tables = Tables(dataclasses.replace(dataset, sessions=(first, twin)), per_session=True)
    one, other = Maps(tiny.model(), tables, tables.training(), False)
    assert one.maps is other.maps
    assert (int(one.first), int(other.first)) == (0, first.n_neurons)


def test_windows_without_responses_are_left_out() -> None:
    dataset = tiny.dataset()
    first = dataset.sessions[0]
    responses = first.responses.copy()
    responses[tiny.CLIP_LENGTH * 4 :] = np.nan
    short = dataclasses.replace(dataset, sessions=(dataclasses.replace(first, responses=responses),))
    tables = Tables(short, per_session=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "PREDICTED_FRAMES", 10)
        whole, part = (
            Maps(tiny.model(), t, t.training(), False)
            for t in (Tables(dataclasses.replace(dataset, sessions=(first,)), per_session=True), tables)
        )

    def windows(found: Maps) -> int:
        return sum(int(np.isfinite(np.asarray(piece.responses)).any(axis=(1, 2)).sum()) for piece in found)

    assert 0 < windows(part) < windows(whole)
