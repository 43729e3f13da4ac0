"""Test correlation against minutes of recording, with four seeds each, and what averaging and ensembles bring.

    python -m benchmarks.learning_curves --folder=runs/learning_curves

trains populations of the low-resolution model on the first minutes of the README's simulated recordings: as the preset
does, without the moving average of the parameters, and in openretina's order of windows. What is done is kept in the
folder: the same command goes on. It prints a table, of which ``docs/scores.md`` has two lengths, and draws a picture.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import openretina_jax
from benchmarks.adaptation import CONFIG, first_minutes, score_axes
from openretina_jax.runtime.files import whole_file
from openretina_jax.visualize.style import BLUE, GREEN, VERMILION, Figure, save

SEEDS = 4
MINUTES = (1.125, 2.25, 4.5, 9.0)  # an eighth, a quarter, a half, and all
WAYS: dict[str, dict[str, Any]] = {
    "preset": {},
    "no average": {"train.average_decay": 0.0},
    "session order": {"train.order": "session"},
}
COLOURS = {"preset": VERMILION, "no average": BLUE, "session order": GREEN}


def measure(way: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Train the seeds of one way on so many minutes, and score them and their ensemble, unless that is done."""
    done = folder / f"{way.replace(' ', '_')}_{minutes:g}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    whole = openretina_jax.load_dataset(CONFIG)
    dataset = first_minutes(whole, minutes)
    run = done.with_suffix("")
    openretina_jax.train(dataset, run, CONFIG, {"population.size": SEEDS, **WAYS[way]})
    models = [str(run / "members" / str(member)) for member in range(SEEDS)]
    row = {
        "way": way,
        "minutes": minutes,
        "neurons": dataset.n_neurons,
        "test": [_test(model, dataset) for model in models],
        "ensemble": _test(str(run / "ensemble"), dataset),
    }
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
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for minutes in map(float, arguments.minutes.split(",")):
        for way in arguments.ways.split(","):
            rows.append(measure(way, minutes, arguments.folder))
            print(rows[-1], flush=True)
    print(table(rows).round(4).to_string(index=False))
    save(plot(rows), arguments.folder / "learning_curves.png")


if __name__ == "__main__":
    main()
