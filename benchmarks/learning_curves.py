"""Test correlation against minutes of recording, with four seeds each, and what averaging and ensembles bring.

    python -m benchmarks.learning_curves --folder=runs/learning_curves

trains populations of the low-resolution model on the first minutes of the README's simulated recordings: as the preset
does, without the moving average of the parameters, and in openretina's order of windows. What is done is kept in the
folder: the same command goes on. It prints the table of ``docs/scores.md``, and draws its picture.

    python -m benchmarks.learning_curves --folder=... --reference_python=torch/bin/python --configs=openretina/configs

trains openretina, too: one model on as many clips of the same recordings. All other clips choose its best epoch.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import openretina_jax
from benchmarks import presets_reference
from benchmarks.adaptation import CONFIG, first_minutes, score_axes
from openretina_jax.data.dataset import Dataset
from openretina_jax.experiment.notebook import changed
from openretina_jax.runtime.files import whole_file
from openretina_jax.visualize.style import BLUE, GREEN, VERMILION, Figure, save

SEEDS = 4
MINUTES = (1.125, 2.25, 4.5, 9.0)  # an eighth, a quarter, a half, and all
SESSION_ORDER, REFERENCE = "session order", "openretina"
WAYS: dict[str, dict[str, Any]] = {
    "preset": {},
    "no average": {"train.average_decay": 0.0},
    SESSION_ORDER: {"train.order": "session"},
}
COLOURS = {"preset": VERMILION, "no average": BLUE, SESSION_ORDER: GREEN, REFERENCE: "0.4"}


def training_clips(dataset: Dataset) -> int:
    """Clips of a session that a model is fitted to."""
    shown = len(dataset.sessions[0].responses) // dataset.clip_length
    return shown - sum(map(len, dataset.validation_clips.values()))


def windows_of_a_step(dataset: Dataset) -> int:
    """Windows of one session in a step: those of the preset, or the largest power of 2 that a short session holds."""
    windows = changed(CONFIG, {}).train.windows.session
    held = training_clips(dataset) * dataset.clip_length // windows.window_frames
    return min(windows.windows_per_step, 2 ** (held.bit_length() - 1))


def train(way: str, dataset: Dataset, run: Path) -> dict[str, Any]:
    """Train the seeds of one way, and score them and their ensemble."""
    settings = {"population.size": SEEDS, **WAYS[way]}
    if way == SESSION_ORDER:
        settings["train.windows.session.windows_per_step"] = windows_of_a_step(dataset)
    openretina_jax.train(dataset, run, CONFIG, settings)
    models = [str(run / "members" / str(member)) for member in range(SEEDS)]
    return {"test": [_test(model, dataset) for model in models], "ensemble": _test(str(run / "ensemble"), dataset)}


def train_reference(dataset: Dataset, whole: Dataset, run: Path, python: Path, configs: Path) -> dict[str, Any]:
    """Train openretina on as many clips as the shortened dataset has for training, and score it."""
    (kept,), (movie,) = whole.validation_clips.values(), whole.stimuli.keys() & whole.validation_clips.keys()
    clips = len(whole.stimuli[movie].frames) // whole.clip_length
    others = np.setdiff1d(np.arange(clips), kept)[training_clips(dataset) :]
    overrides = (
        f"dataloader.batch_size={windows_of_a_step(dataset)}",
        f"dataloader.validation_clip_indices=[{','.join(map(str, [*kept, *others]))}]",
    )
    counterpart = dataclasses.replace(presets_reference.COUNTERPARTS["hoefling_low_res"], overrides=overrides)
    row = presets_reference.train(counterpart, changed(CONFIG, {}), run, python, configs)
    return {"test": [_test(row["checkpoint"], whole)], "ensemble": None, "processor_s": row["processor_s"]}


def measure(way: str, minutes: float, folder: Path, reference: tuple[Path, Path] | None = None) -> dict[str, Any]:
    """Train and score one way on so many minutes, or openretina in that installation, unless that is done."""
    done = folder / f"{way.replace(' ', '_')}_{minutes:g}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    whole = openretina_jax.load_dataset(CONFIG)
    dataset, run = first_minutes(whole, minutes), done.with_suffix("")
    if reference is not None and way == REFERENCE:
        found = train_reference(dataset, whole, run, *reference)
    else:
        found = train(way, dataset, run)
    row = {"way": way, "minutes": minutes, "neurons": dataset.n_neurons, **found}
    with whole_file(done) as stream:
        stream.write(json.dumps(row).encode())
    return row


def _test(path: str, dataset: Any) -> float:
    return float(openretina_jax.evaluate(openretina_jax.load(path), dataset).neurons["correlation"].mean())


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Mean and deviation over the seeds, and the ensemble, for each way and length."""
    return pd.DataFrame(
        {
            "way": row["way"],
            "minutes": row["minutes"],
            "mean": pd.Series(row["test"]).mean(),
            "deviation": pd.Series(row["test"]).std(),
            "ensemble": row["ensemble"],
        }
        for row in rows
    )


def plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Score against minutes of recording; bars are deviations over seeds."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for way, of_way in table(rows).groupby("way", sort=False):
        colour = COLOURS[str(way)]
        axes.errorbar(
            of_way["minutes"], of_way["mean"], of_way["deviation"], fmt="o-", color=colour, label=way, capsize=3
        )
        if of_way["ensemble"].notna().all():
            axes.plot(of_way["minutes"], of_way["ensemble"], "--", color=colour)
    axes.plot([], [], "--", color="0.4", label="ensembles of four")
    score_axes(axes, (row["minutes"] for row in rows), f"{rows[0]['neurons']} cells")
    return figure


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="Scores against minutes of recording.")
    parser.add_argument("--folder", type=Path, required=True, help="where runs, scores and picture are kept")
    parser.add_argument("--ways", default=",".join(WAYS), help="of training")
    parser.add_argument("--minutes", default=",".join(f"{one:g}" for one in MINUTES), help="lengths; a session has 9")
    presets_reference.add_flags(parser)
    arguments = parser.parse_args()
    reference = presets_reference.installation(parser, arguments)
    ways = arguments.ways.split(",") if arguments.ways else []
    if unknown := set(ways) - set(WAYS):
        parser.error(f"--ways: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    if reference is not None:
        ways.append(REFERENCE)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for minutes in map(float, arguments.minutes.split(",")):
        for way in ways:
            rows.append(measure(way, minutes, arguments.folder, reference))
            print(rows[-1], flush=True)
    print(table(rows).round(4).to_string(index=False))
    save(plot(rows), arguments.folder / "learning_curves.png")


if __name__ == "__main__":
    main()
