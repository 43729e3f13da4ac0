"""Scores of every preset, trained to its end on simulated recordings of the kind of its publication.

    python -m benchmarks.presets --folder=runs/presets
    python -m benchmarks.presets --folder=runs/presets --only=goldin --write=docs/scores.md

trains one preset after the other, each in a process of its own, by its own rules until it ends. What is done is kept in
the folder, and a training that was stopped goes on: the same command continues. ``--write`` makes the page of the
scores from all that the folder holds.

    python -m benchmarks.presets --folder=runs/presets --reference_python=torch/bin/python --configs=openretina/configs

trains openretina instead, on the files of the presets that are done: see ``presets_reference``.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

import openretina_jax
from benchmarks import presets_reference
from benchmarks.children import run_to_end
from benchmarks.noise_ceiling import noise_ceiling
from benchmarks.presets_page import share, write_table
from openretina_jax.data.dataset import Dataset
from openretina_jax.evaluation.splits import TEST, VALIDATION
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.notebook import changed
from openretina_jax.models.model import Model
from openretina_jax.models.saving import best_checkpoint, read_about
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import whole_file

ROOT = Path(__file__).parents[1]
DONE, REFERENCE = "score.json", "reference.json"  # in the folder of a preset


@dataclasses.dataclass(frozen=True)
class Preset:
    """A configuration, and the size at which its scientific point shows on two cores.

    Attributes:
        config: file in configs/ and words.
        settings: entries that differ.
    """

    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The preset in the name of a folder."""
        stem, _, words = self.config.partition(".py:")
        chosen = [word for word in words.split(",") if word not in ("", "simulated", "quick")]
        return "-".join([stem, *chosen])

    @property
    def flags(self) -> list[str]:
        """Arguments of ``scripts/train.py``."""
        return [
            f"--config=configs/{self.config}",
            *(f"--config.{name}={value}" for name, value in self.settings.items()),
        ]

    def read(self) -> ml_collections.ConfigDict:
        """The configuration with these settings."""
        return changed(f"{ROOT / 'configs' / self.config}", self.settings)


_TEMPLATE = {
    "data.simulated.enabled": True,
    "data.test_names": ("random_noise_2", "random_noise_3"),
    "model.core.simple.spatial_kernel_sizes": (5, 3),  # frames have 16 x 8 pixels
}
_FIXATIONS = {"data.simulated.n_blocks": 40, "data.validation_clips": 20}
_SALAMANDER = {"data.simulated.seconds": 600, "train.epochs": 50}
PRESETS = (
    Preset("hoefling_low_res.py:simulated"),
    Preset("hoefling_low_res.py:simulated,gru"),
    Preset("hoefling_low_res.py:simulated,factorized"),
    Preset("hoefling_low_res.py:simulated,point_gaussian"),
    Preset("hoefling_low_res.py:simulated,lnp"),
    Preset("hoefling_low_res.py:simulated,separable_lnp"),
    Preset("goldin_2022_core_readout.py:simulated"),
    Preset("goldin_2022_core_readout.py:simulated,as_published"),
    Preset("goldin_2022_core_readout.py:simulated,axolotl"),
    Preset("hdf5_core_readout.py:simulated"),
    Preset("template.py:", _TEMPLATE),
    Preset("karamanlis_2024_core_readout.py:simulated,quick", _FIXATIONS),
    Preset("karamanlis_2024_core_readout.py:simulated,quick,as_published", _FIXATIONS),
    Preset("karamanlis_2024_core_readout.py:simulated,quick,marmoset", _FIXATIONS),
    Preset("maheswaranathan_2023_core_readout.py:simulated,quick", _SALAMANDER),
    Preset("maheswaranathan_2023_core_readout.py:simulated,quick,as_published", _SALAMANDER),
    Preset("maheswaranathan_2023_core_readout.py:simulated,quick,whitenoise", _SALAMANDER),
    Preset("maheswaranathan_2023_lnp.py:simulated"),
    Preset("maheswaranathan_2023_lnp.py:simulated,separable_lnp"),
    Preset("maheswaranathan_2023_lnp.py:simulated,whitenoise,separable_lnp"),
    Preset("sridhar_2025_nm_sc.py:simulated"),
    Preset("sridhar_2025_nm_sc_multicell.py:simulated"),
    Preset("sridhar_2025_wn_sc.py:simulated"),
    Preset("sridhar_2025_wn_sc_multicell.py:simulated"),
    Preset("vystrcilova_2024_nm_cnn.py:simulated,quick", {"train.epochs": 15}),
    Preset("vystrcilova_2024_nm_cnn.py:simulated,quick,as_published", {"train.epochs": 15}),
    Preset("vystrcilova_2024_nm_ln.py:simulated"),
    Preset("vystrcilova_2024_wn_cnn.py:simulated,quick", {"train.epochs": 30}),
    Preset("vystrcilova_2024_wn_ln.py:simulated"),
    Preset("hoefling_high_res.py:simulated"),
)


def train(preset: Preset, folder: Path) -> dict[str, float | None]:
    """Train a preset in a process of its own, and go on with what the folder holds.

    Returns:
        ``processor_s`` and ``passed_s`` of the whole process and its ``memory_gb`` at the peak; None if it went on.

    Raises:
        RuntimeError: the training failed; its log says why.
    """
    run, went_on = folder / "run", (folder / "run" / "checkpoints").is_dir()
    command = [sys.executable, "scripts/train.py", *preset.flags, f"--workdir={run.resolve()}"]
    with (folder / "log.txt").open("a") as log:
        done, cost = run_to_end(command, ROOT, log, {"PYTHONPATH": str(ROOT)})
    if not done:
        raise RuntimeError(f"{preset.name}: the training failed; see {log.name}")
    return dict.fromkeys(cost) if went_on else {**cost}


def scores(model: Model, preset: Preset) -> dict[str, Any]:
    """Mean correlations of a model, those of a perfect one, and how much was recorded."""
    data = preset.read().to_dict()["data"]
    cache = cache_folder() / "simulated"
    dataset = make_dataset(data, cache)
    of_model = tables(model, dataset)
    of_truth = noise_ceiling(data, dataset, list(of_model), model.lag, cache)
    frames, rate_hz = len(dataset.sessions[0].responses), dataset.info.frame_rate_hz
    return {
        "neurons": dataset.n_neurons,
        "sessions": len(dataset.sessions),
        "minutes": frames / rate_hz / 60 if rate_hz and not dataset.info.single_images else None,
        "images": frames if dataset.info.single_images else None,
        **mean_correlations(of_model),
        **{f"{split}_ceiling": score for split, score in mean_correlations(of_truth).items()},
    }


def tables(model: Model, dataset: Dataset) -> dict[str, pd.DataFrame]:
    """Scores of all neurons by split: validation and every test movie."""
    evaluation = openretina_jax.evaluate(model, dataset, [VALIDATION, TEST])
    return {split: evaluation.of_split(split) for split in evaluation.responses}


def mean_correlations(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Mean correlation over neurons in validation, and over neurons and test movies in the test."""
    tests = [float(table["correlation"].mean()) for split, table in tables.items() if split != VALIDATION]
    # clip by clip, as training follows it
    return {VALIDATION: float(tables[VALIDATION]["correlation_clips"].mean()), TEST: float(np.mean(tests))}


def measure(preset: Preset, folder: Path) -> dict[str, Any]:
    """Train a preset to its end and score it, unless that is done."""
    done = folder / DONE
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    cost, run = train(preset, folder), folder / "run"
    history = pd.read_csv(run / "metrics.csv")
    about = read_about(best_checkpoint(run))
    row = {
        "preset": dataclasses.asdict(preset),
        "epochs": len(history),
        "best_epoch": about["epoch"],
        **cost,
        **scores(openretina_jax.load(run), preset),
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip(),
        "date": time.strftime("%Y-%m-%d"),
    }
    keep(done, row)
    return row


def measure_reference(preset: Preset, folder: Path, python: Path, configs: Path) -> None:
    """Train openretina on the files of a preset and score it in the same way, unless that is done."""
    done, counterpart = folder / REFERENCE, presets_reference.COUNTERPARTS.get(preset.name)
    if counterpart is None or done.is_file():
        return
    config = preset.read()
    dataset = make_dataset(config.data.to_dict(), cache_folder() / "simulated")
    if counterpart.arguments:
        counterpart, dataset = counterpart.of_cell(dataset)
    row = presets_reference.train(counterpart, config, folder / "reference", python, configs)
    model = openretina_jax.load(row["checkpoint"], **counterpart.arguments)
    keep(done, {**row, **mean_correlations(tables(model, dataset)), "date": time.strftime("%Y-%m-%d")})


def keep(file: Path, row: Mapping[str, Any]) -> None:
    """Write what was measured."""
    with whole_file(file) as stream:
        stream.write(json.dumps(row, indent=1).encode())


def read_row(folder: Path) -> dict[str, Any]:
    """What was measured of a preset, with what was of openretina under "reference"."""
    row, theirs = json.loads((folder / DONE).read_text(encoding="utf-8")), folder / REFERENCE
    return row | ({"reference": json.loads(theirs.read_text(encoding="utf-8"))} if theirs.is_file() else {})


def main() -> None:
    """Measure what the command line names, one preset after the other, and write the page."""
    parser = argparse.ArgumentParser(description="Scores of every preset, trained to its end.")
    parser.add_argument("--folder", type=Path, required=True, help="where runs and scores are kept")
    parser.add_argument("--only", default="", help="presets whose names contain this")
    parser.add_argument("--write", type=Path, help="page to write, such as docs/scores.md")
    presets_reference.add_flags(parser)
    arguments = parser.parse_args()
    reference = presets_reference.installation(parser, arguments)
    rows = []
    for preset in PRESETS:
        folder = arguments.folder / preset.name
        if arguments.only in preset.name:
            if reference is None:
                measure(preset, folder)
            elif (folder / DONE).is_file():
                measure_reference(preset, folder, *reference)
        if (folder / DONE).is_file():
            rows.append(read_row(folder))
            print(line(preset.name, rows[-1]), flush=True)
    if arguments.write is not None:
        write_table(arguments.write, rows)


def line(name: str, row: Mapping[str, Any]) -> str:
    """A row in short, for the terminal."""
    reached = f"validation {row[VALIDATION]:.3f}, test {row[TEST]:.3f}, {share(row):.0%} of the ceiling"
    theirs = f"; openretina: test {row['reference'][TEST]:.3f}" if "reference" in row else ""
    return f"{name}: {row['epochs']} epochs, {reached}{theirs}"


if __name__ == "__main__":
    main()
