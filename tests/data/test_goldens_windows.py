"""Splits and windows of the reference and ours: the same frames and responses by the same rules.

Random numbers need not agree; which windows can be drawn, and how often, must.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.data.batches import DataArrays, Timelines
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import Cuts, SessionSampler, starts_within_clips
from openretina_jax.evaluation.predict import Split
from tests.data.test_goldens_data import WINDOWS, function
from tests.goldens_case import Case, cases
from tests.tiny import gather, whole_clips

EPOCHS = 300


def frames_last(movie: np.ndarray) -> np.ndarray:
    """``c t h w`` to ``t h w c``."""
    return np.ascontiguousarray(movie.transpose(1, 2, 3, 0), dtype=np.float32)


def frames_first(movie: np.ndarray) -> np.ndarray:
    """The inverse."""
    return movie.transpose(3, 0, 1, 2)


def seen(tables: Tables, timeline: Timeline) -> np.ndarray:
    """The movie on a timeline as the reference stores it, ``c t h w``."""
    movie = frames_first(tables.frames()[timeline.frames])
    return movie[..., ::-1] if timeline.mirrored else movie


def timeline(length: int, clip_length: int = 1) -> Timeline:
    time = np.arange(length, dtype=np.int32)
    return Timeline(
        name="a",
        frames=time,
        rows=time,
        mirrored=False,
        session=0,
        first_neuron=0,
        n_neurons=1,
        n_sessions=1,
        order=0,
        clip_length=clip_length,
    )


def sorted_starts(length: int, frames: int) -> np.ndarray:
    """The starts that many epochs draw for a session, ``(epoch, window)``."""
    order = SessionSampler([timeline(length)], window_frames=frames, windows_per_step=1, seed=0)
    return np.array([np.sort(order[epoch].start.ravel()) for epoch in range(EPOCHS)])


def silent(name: str, frame_index: np.ndarray, tests: dict[str, np.ndarray], mirrored: bool = False) -> Session:
    """A session whose responses do not matter."""
    repeats = {test: np.zeros((1, len(frames), 1), np.float32) for test, frames in tests.items()}
    return Session(name, "train", np.zeros((len(frame_index), 1), np.float32), frame_index, repeats, mirrored)


def make_dataset(
    movies: dict[str, np.ndarray], sessions: list[Session], clip_length: int, validation: list[int]
) -> Tables:
    stimuli = {name: Stimulus(name, frames, 30.0) for name, frames in movies.items()}
    return Tables(Dataset(stimuli, tuple(sessions), clip_length, {name: tuple(validation) for name in movies}))


def check_generate_movie_splits(case: Case) -> None:
    length, clips = case.kwargs["clip_length"], case.kwargs["num_clips"]
    tests = {name: frames_last(movie) for name, movie in case.under("test").items()}
    shown = whole_clips(np.arange(clips), length)
    movies = {"train": frames_last(case.array("input/movie_train")), **tests}
    tables = make_dataset(movies, [silent("a", shown, tests)], length, case.kwargs["val_clip_idc"])
    (training,), (shared,), (validation,) = tables.training(), tables.shared_training(), tables.validation()
    case.check("train", seen(tables, training), exact=True)
    case.check("train", seen(tables, shared), exact=True)
    case.check("validation", seen(tables, validation), exact=True)
    for name in tests:
        (test,) = tables.test(name)
        case.check(f"test/{name}", seen(tables, test), exact=True)


def check_get_all_movie_combinations(case: Case) -> None:
    length = case.kwargs["clip_length"]
    movies = {name: frames_last(case.array(f"input/movie_{name}")) for name in ("train", "test")}
    orders = case.array("input/random_sequences")
    sessions = [
        silent(f"{eye}/train/{k}", whole_clips(order, length), {"test": movies["test"]}, mirrored=eye == "left")
        for eye in ("right", "left")
        for k, order in enumerate(orders.T)
    ]
    tables = make_dataset(movies, sessions, length, case.kwargs["validation_clip_indices"])
    for line in tables.training():
        case.check(line.name, seen(tables, line), exact=True)
    for fold, lines in (("validation", tables.validation()), ("test", tables.test("test"))):
        assert [line.n_sessions for line in lines] == [orders.shape[1]] * 2
        for eye, line in zip(("right", "left"), lines, strict=True):
            case.check(f"{eye}/{fold}", seen(tables, line), exact=True)


def check_gen_start_indices(case: Case) -> None:
    length, chunk = case.kwargs["clip_length"], case.kwargs["chunk_size"]
    validation = case.kwargs["val_clip_idx"]
    training = length * (case.kwargs["num_clips"] - len(validation))
    cuts = np.minimum(sorted_starts(training, chunk).min(axis=0), training)
    for name in ("single_sequence/train", *(f"train/{k}" for k in case.under("train"))):
        np.testing.assert_array_equal(cuts, np.minimum(case.array(name), training - chunk))
    for name, line in (("validation", timeline(length * len(validation), length)), ("test", timeline(40, 40))):
        case.check(name, Split([line]).start[0])


def check_movie_sampler(case: Case) -> None:
    checks = {
        "over": check_over,
        "within": check_within,
        "scene_is_chunk": check_not_shifted,
        "validation": check_in_order,
    }
    assert set(case.kwargs["variants"]) == set(checks)
    for name, options in case.kwargs["variants"].items():
        check = checks[name]
        for seed in case.under(f"output/{name}"):
            check(options, case.array(f"output/{name}/{seed}"))


def check_over(options: dict, starts: np.ndarray) -> None:
    """Windows may cross the borders of clips: the reference draws what we can draw, one window after each cut."""
    length, frames = options["movie_length"], options["chunk_size"]
    ours = sorted_starts(length, frames)
    first, last = ours.min(axis=0), ours.max(axis=0)
    np.testing.assert_array_equal(first, np.minimum(options["start_indices"], length - frames))
    np.testing.assert_array_equal(last, np.minimum(np.add(options["start_indices"], frames - 1), length - frames))
    assert (np.sort(starts) >= first).all()
    assert (np.sort(starts) <= last).all()


def check_within(options: dict, starts: np.ndarray) -> None:
    """Windows stay within clips: one after each cut, as far as the clip goes."""
    cut, frames, length = np.array(options["start_indices"]), options["chunk_size"], options["scene_length"]
    end = (cut // length + 1) * length
    possible = [starts_within_clips(cut, np.full_like(cut, shift), end, frames) for shift in range(frames // 2)]
    for start, ours in zip(np.sort(starts), np.sort(possible).T, strict=True):
        assert start in ours
    # ours begin anew with every clip
    drawn = Cuts(timeline(options["movie_length"], length), frames, within_clips=True).shifted(np.random.default_rng(0))
    assert set(drawn // length) == set(range(options["movie_length"] // length))
    np.testing.assert_array_equal(drawn // length, (drawn + frames - 1) // length)


def check_not_shifted(options: dict, starts: np.ndarray) -> None:
    """Windows as long as a clip stay where they are; only ours are shuffled then."""
    np.testing.assert_array_equal(starts, options["start_indices"])
    length = options["chunk_size"]
    cuts = Cuts(timeline(options["movie_length"], options["scene_length"]), length, within_clips=True)
    np.testing.assert_array_equal(cuts.shifted(np.random.default_rng(0)), np.arange(0, options["movie_length"], length))


def check_gen_shifts_with_boundaries(case: Case) -> None:
    borders, cut = np.array(case.kwargs["clip_bounds"]), np.array(case.kwargs["start_indices"])
    frames = case.kwargs["clip_chunk_size"]
    end = borders[np.searchsorted(borders, cut, side="right")]
    for name in case.under("output"):
        legacy = np.random.RandomState(int(name.removeprefix("seed_")))
        shift = legacy.randint(0, frames // 2, len(cut))
        case.check(f"output/{name}", starts_within_clips(cut, shift, end, frames), exact=True)


def check_in_order(options: dict, starts: np.ndarray) -> None:
    length = options["chunk_size"]
    np.testing.assert_array_equal(Split([timeline(length * len(starts), length)]).start[0], starts)


def check_cyclers(case: Case) -> None:
    # only the long one: what is not trained on needs no cycler, ``Split`` holds all clips of all sessions
    loaders = case.kwargs["loaders"]
    names, frames = sorted(loaders), 5
    timelines = [timeline(frames * len(loaders[name])) for name in names]
    codes = [case.kwargs["session_code"][name] for name in names]
    order = SessionSampler(timelines, window_frames=frames, windows_per_step=1, seed=0)
    theirs = [case.array(name) for name in case.names if name.startswith("long")]
    ours = []
    for epoch in range(EPOCHS):
        windows = order[epoch]
        number, cut = windows.timeline[:, 0, 0], windows.start[:, 0, 0] // frames
        values = [loaders[names[n]][k] for n, k in zip(number, cut, strict=True)]
        ours.append(np.stack([np.take(codes, number), values], axis=1))
    for items in (*theirs, *ours):
        assert items.shape == theirs[0].shape
        turns = items[:, 0].reshape(-1, len(loaders))
        assert (turns == turns[0]).all()
        for name, code in case.kwargs["session_code"].items():
            passed = items[items[:, 0] == code, 1]
            for first in range(0, len(passed), len(loaders[name])):
                one_pass = passed[first : first + len(loaders[name])].tolist()
                assert len(set(one_pass)) == len(one_pass)
                assert set(one_pass) <= set(loaders[name])
    drawn = {tuple(items[: len(loaders), 0]) for items in ours}
    assert {tuple(items[: len(loaders), 0]) for items in theirs} <= drawn


def check_natmov_dataloaders(case: Case) -> None:
    length, validation = case.kwargs["clip_length"], case.kwargs["validation_clip_indices"]
    chunk, batch_size = case.kwargs["train_chunk_size"], case.kwargs["batch_size"]
    movies = {name: frames_last(case.array(f"input/movie_{name}")) for name in ("train", "test")}
    orders = case.array("input/random_sequences")
    sessions = [
        Session(
            name=name,
            stimulus="train",
            responses=case.array(f"input/{name}/train").T.astype(np.float32),
            frame_index=whole_clips(orders[:, about["scan_sequence_idx"]], length),
            repeats={"test": case.array(f"input/{name}/test").T[None].astype(np.float32)},
            mirrored=about["eye"] == "left",
        )
        for name, about in case.kwargs["sessions"].items()
    ]
    tables = make_dataset(movies, sessions, length, validation)
    training = tables.training()
    order = SessionSampler(training, window_frames=chunk, windows_per_step=batch_size, seed=0)
    rounds = max(case.entry["batches"][f"train/{line.name}"] for line in training)
    assert order.steps_per_epoch == rounds * len(training)
    for number, line in enumerate(training):
        every_start = np.arange(len(line) - chunk + 1)
        movie, responses = gathered(tables, training, number, every_start, chunk)
        possible = sorted_starts(len(line), chunk)
        for batch in range(case.entry["batches"][f"train/{line.name}"]):
            inputs = case.array(f"train/{line.name}/{batch}/inputs")
            assert len(inputs) == batch_size
            for window, targets in zip(inputs, case.array(f"train/{line.name}/{batch}/targets"), strict=True):
                (start,) = np.flatnonzero((movie == window).all(axis=(1, 2, 3, 4)))
                np.testing.assert_array_equal(responses[start], targets)
                assert start in possible
        for fold, lines in (("validation", tables.validation()), ("test", tables.test("test"))):
            split = Split(lines)
            (at,) = [k for k, shared in enumerate(lines) if line.first_neuron in neurons(shared)]
            movie, responses = gathered(tables, lines, at, np.asarray(split.start[at]), split.clip_frames)
            first = neurons(lines[at]).index(line.first_neuron)
            case.check(f"{fold}/{line.name}/0/inputs", movie, exact=True)
            case.check(f"{fold}/{line.name}/0/targets", responses[:, :, first : first + line.n_neurons], exact=True)


def neurons(line: Timeline) -> range:
    """Columns of a timeline's neurons."""
    return range(line.first_neuron, line.first_neuron + line.n_neurons)


def gathered(
    tables: Tables, timelines: list[Timeline], number: int, start: np.ndarray, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows as the reference stores them, ``(window, c, t, h, w)``, and the responses of the timeline's neurons."""
    table = Timelines.of(timelines)
    windows = jnp.asarray(start[None])
    batch = gather(DataArrays.of(tables), table, jnp.full_like(windows, number), windows, window_frames=frames)
    movie = np.asarray(batch.stimulus[0]).transpose(0, 4, 1, 2, 3)
    return movie, np.asarray(batch.responses[0])[:, :, np.asarray(batch.neuron_mask[0])]


CHECKS = {
    "generate_movie_splits": check_generate_movie_splits,
    "get_all_movie_combinations": check_get_all_movie_combinations,
    "gen_shifts_with_boundaries": check_gen_shifts_with_boundaries,
    "gen_start_indices": check_gen_start_indices,
    "MovieSampler": check_movie_sampler,
    "natmov_dataloaders_v2": check_natmov_dataloaders,
    "cyclers": check_cyclers,
}

CASES = [case for case in cases("data") if function(case) in WINDOWS]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden(case: Case) -> None:
    CHECKS[function(case)](case)
