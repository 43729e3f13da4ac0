"""How many minutes of a new recording does a trained core save: adapted to it, and trained from scratch.

    python -m benchmarks.adaptation --start=runs/hoefling_low_res_simulated --folder=runs/adaptation

New simulated sessions, besides those of the run, are cut to their first minutes. Of these the clips that are kept for
validation, about one in seven and at least two, choose when to end; the rest is fitted. All models are scored on the
whole test movie. ``docs/adapting.md`` has the table and the picture that this program prints and draws. Seconds of the
processor are of all threads of this process, compilation included: they depend less on what else the machine does than
the time that has passed.
"""

import argparse
import dataclasses
import itertools
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

import openretina_jax
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.models.model import Model
from openretina_jax.visualize.style import BLUE, VERMILION, Figure, open_axes, save

CONFIG = "hoefling_low_res:simulated"
LEAST_VALIDATION = 2  # clips


def new_sessions(known: Model, sessions: int) -> Dataset:
    """Simulated sessions that a model does not know."""
    before = len(known.data_info.sessions)
    dataset = openretina_jax.load_dataset(CONFIG, {"data.simulated.n_sessions": before + sessions})
    new = tuple(one for one in dataset.sessions if one.name not in known.data_info.sessions)
    return dataclasses.replace(dataset, sessions=new)


def first_minutes(dataset: Dataset, minutes: float) -> Dataset:
    """The first minutes of every session, validation included: with as large a share of validation clips as before."""
    (movie,), length = {session.stimulus for session in dataset.sessions}, dataset.clip_length
    clips_of_movie = len(dataset.stimuli[movie].frames) // length
    clips = min(round(minutes * 60 * (dataset.info.frame_rate_hz or 0.0) / length), clips_of_movie)
    kept = dataset.validation_clips[movie]
    validation = kept[: max(round(clips * len(kept) / clips_of_movie), LEAST_VALIDATION)]

    def cut(session: Session) -> Session:
        shown = session.frame_index[::length] // length
        training = np.flatnonzero(~np.isin(shown, kept))[: clips - len(validation)]
        chosen = np.sort(np.concatenate([training, np.flatnonzero(np.isin(shown, validation))]))
        times = (chosen[:, None] * length + np.arange(length)).ravel()
        return dataclasses.replace(session, responses=session.responses[times], frame_index=session.frame_index[times])

    return dataclasses.replace(
        dataset, sessions=tuple(map(cut, dataset.sessions)), validation_clips={movie: validation}
    )


def curve(start: Path, sessions: int, minutes: list[float], folder: Path) -> pd.DataFrame:
    """Test correlation and seconds of both ways for every length of the recording."""
    model = openretina_jax.load(start)
    whole = new_sessions(model, sessions)
    ways = {
        "adapted": lambda short, _: openretina_jax.adapt(model, short),
        "from scratch": lambda short, name: openretina_jax.train(short, folder / f"scratch_{name}", CONFIG),
    }
    rows = []
    for way, length in itertools.product(ways, minutes):
        short = first_minutes(whole, length)
        worked, began = time.process_time(), time.perf_counter()
        made = ways[way](short, f"{length:g}")
        took = {"processor_s": time.process_time() - worked, "passed_s": time.perf_counter() - began}
        scores = openretina_jax.evaluate(made, short).neurons["correlation"]
        rows.append({"minutes": length, "way": way, "test": scores.mean(), **took})
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "adaptation.csv", index=False)
    return table


def plot(table: pd.DataFrame, neurons: int) -> Figure:
    """Score against minutes of recording, for both ways."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for (way, rows), colour in zip(table.groupby("way", sort=True), (VERMILION, BLUE), strict=True):
        axes.plot(rows["minutes"], rows["test"], "o-", color=colour, label=way)
    score_axes(axes, table["minutes"], f"{neurons} new cells")
    return figure


def score_axes(axes: Axes, minutes: Iterable[float], cells: str) -> None:
    """Label the axes of scores against minutes of recording."""
    ticks = sorted(set(minutes))
    axes.set(xlabel="minutes of recording", ylabel=f"test correlation ({cells})", xscale="log")
    axes.set_xticks(ticks, [f"{one:.2g}" for one in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False)
    open_axes(axes)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="Adapted and trained from scratch, by minutes of recording.")
    parser.add_argument("--start", type=Path, required=True, help="run whose core is adapted")
    parser.add_argument("--folder", type=Path, required=True, help="where runs, table and picture go")
    parser.add_argument("--sessions", type=int, default=5, help="new sessions")
    parser.add_argument("--minutes", default="1,2,5,9", help="lengths of the recording; a session has 9")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    minutes = [float(one) for one in arguments.minutes.split(",")]
    table = curve(arguments.start, arguments.sessions, minutes, arguments.folder)
    print(table.pivot(index="minutes", columns="way", values=["test", "processor_s", "passed_s"]).round(3))
    neurons = new_sessions(openretina_jax.load(arguments.start), arguments.sessions).n_neurons
    save(plot(table, neurons), arguments.folder / "adaptation.png")


if __name__ == "__main__":
    main()
