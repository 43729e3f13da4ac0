"""Sessions with movies of their own against frozen numbers of the reference."""

import numpy as np
import pytest

from openretina_jax.data.assembly import MovieRecording, RepeatedMovie, assemble, mean_and_deviation
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import Cuts
from tests.goldens_case import Case, case, cases

LOADERS = [found for found in cases("data") if found.entry["path"].endswith(".multiple_movies_dataloaders")]


def frames_last(movie: np.ndarray) -> np.ndarray:
    """From the reference's ``(channel, time, height, width)``."""
    return np.ascontiguousarray(movie.transpose(1, 2, 3, 0), np.float32)


def recording(name: str, train: np.ndarray, movie: np.ndarray, tests: dict[str, RepeatedMovie]) -> MovieRecording:
    """A recording from the reference's ``(neuron, time)``."""
    return MovieRecording(name, movie, train.T.astype(np.float32), tests)


def assembled(
    recordings: list[MovieRecording], clip_length: int, validation: int | list[int], seed: int = 42
) -> Dataset:
    return assemble(
        recordings,
        clip_length=clip_length,
        validation=validation,
        seed=seed,
        normalization=(0.0, 1.0),
        frame_rate_hz=30.0,
    )


def responses(tables: Tables, timeline: Timeline) -> np.ndarray:
    columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
    return tables.responses[timeline.rows, columns]


def test_split_of_a_session_with_a_movie_of_its_own() -> None:
    golden = case("data", "neuron_data_split")
    length = golden.kwargs["clip_length"]
    tests = {}
    for name in ("t1", "t2"):
        mean = golden.array(f"input/{name}")
        trials = golden.array(f"input/{name}_by_trial") if name == "t1" else mean[None]
        movie = np.zeros((mean.shape[1], 1, 1, 1), np.float32)
        tests[name] = RepeatedMovie(movie, trials.transpose(0, 2, 1).astype(np.float32))
    train = golden.array("input/train")
    movie = np.arange(train.shape[1], dtype=np.float32)[:, None, None, None]
    data = assembled([recording("a", train, movie, tests)], length, golden.kwargs["val_clip_idx"])
    tables = Tables(data)
    (training,), (validation,) = tables.training(), tables.validation()
    golden.check("train", responses(tables, training))
    golden.check("validation", responses(tables, validation))
    golden.check("test/t1/by_trial", data.sessions[0].repeats["t1"].transpose(0, 2, 1))
    golden.check("test/t2/avg", responses(tables, tables.test("t2")[0]))


@pytest.mark.parametrize("golden", LOADERS, ids=lambda golden: golden.name)
def test_sessions_with_movies_of_their_own(golden: Case) -> None:
    length, frames = golden.kwargs["clip_length"], golden.kwargs["train_chunk_size"]
    chosen = golden.kwargs.get("val_clip_indices") or golden.kwargs["num_val_clips"]
    names = golden.entry["sessions_in_order"]
    recordings = []
    for name in names:
        trials = golden.array(f"input/{name}/t1").T[None].astype(np.float32)
        test = RepeatedMovie(frames_last(golden.array(f"input/{name}/movie_t1")), trials)
        movie = frames_last(golden.array(f"input/{name}/movie_train"))
        recordings.append(recording(name, golden.array(f"input/{name}/train"), movie, {"t1": test}))
    tables = Tables(assembled(recordings, length, chosen, golden.kwargs["seed"]))
    movies = tables.frames()
    for timeline in tables.training():
        line = f"train/{timeline.name}"
        cuts = Cuts(timeline, frames, within_clips=False)
        possible = {int(start) for seed in range(100) for start in cuts.shifted(np.random.default_rng(seed))}
        if not golden.kwargs["allow_over_boundaries"]:  # its cuts do not begin anew with every clip, ours do
            every = np.arange(len(timeline) - frames + 1)
            possible = set(every[every // length == (every + frames - 1) // length].tolist())
        windows = np.arange(len(timeline) - frames + 1)[:, None] + np.arange(frames)
        shown, recorded = movies[timeline.frames[windows]], responses(tables, timeline)[windows]
        for batch in range(golden.entry["batches"][line]):
            inputs = golden.array(f"{line}/{batch}/inputs").transpose(0, 2, 3, 4, 1)
            for window, targets in zip(inputs, golden.array(f"{line}/{batch}/targets"), strict=True):
                (start,) = np.flatnonzero((shown == window).all(axis=(1, 2, 3, 4)))
                np.testing.assert_array_equal(recorded[start], targets)
                assert start in possible
    for fold, timelines in (("validation", tables.validation()), ("t1", tables.test("t1"))):
        assert sorted(timeline.name for timeline in timelines) == sorted(names)
        for timeline in timelines:
            for part, ours in (("inputs", movies[timeline.frames]), ("targets", responses(tables, timeline))):
                theirs = [
                    golden.array(f"{fold}/{timeline.name}/{batch}/{part}")
                    for batch in range(golden.entry["batches"][f"{fold}/{timeline.name}"])
                ]
                if part == "inputs":
                    theirs = [batch.transpose(0, 2, 3, 4, 1) for batch in theirs]
                flat = np.concatenate([batch.reshape(-1, *batch.shape[2:]) for batch in theirs])
                np.testing.assert_array_equal(ours, flat)


def test_normalization() -> None:
    golden = case("data", "normalize_train_test_movies")
    movies = {name: frames_last(golden.array(f"input/{name}")) for name in ("train", "test")}
    statistics = mean_and_deviation(movies["train"])
    golden.check("output/mean_std", np.array(statistics))
    for name, movie in movies.items():
        seen = Stimulus(name, movie, 30.0, *statistics, raw=True).normalized()
        golden.check(f"output/{name}", seen.transpose(3, 0, 1, 2))
