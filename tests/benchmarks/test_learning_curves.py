"""Learning curves: as many clips for openretina as for us, and steps that short sessions can fill."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learning_curves, presets_reference
from benchmarks.adaptation import first_minutes
from benchmarks.learning_curves import plot, train_reference, training_clips, windows_of_a_step
from benchmarks.presets_reference import Counterpart
from openretina_jax.experiment.notebook import changed
from tests import tiny

MINUTES_PER_CLIP = tiny.CLIP_LENGTH / 30 / 60
FRAMES, MOST = 5, 8
SMALL = {
    "train.order": "session",
    "train.windows.session.window_frames": FRAMES,
    "train.windows.session.windows_per_step": MOST,
}


@pytest.mark.parametrize("clips", [4, 8])
def test_openretina_trains_on_as_many_clips(clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny.dataset()
    short = first_minutes(whole, clips * MINUTES_PER_CLIP)
    asked: list[Counterpart] = []

    def train(counterpart: Counterpart, *_: Any) -> dict[str, Any]:
        asked.append(counterpart)
        return {"checkpoint": "its.ckpt", "processor_s": 1.0}

    monkeypatch.setattr(presets_reference, "train", train)
    monkeypatch.setattr(learning_curves, "_test", lambda *_: 0.5)
    monkeypatch.setattr(learning_curves, "changed", lambda config, _: changed(config, SMALL))
    assert train_reference(short, whole, Path("run"), Path("python"), Path("configs"))["test"] == [0.5]
    overrides = dict(one.split("=") for one in asked[0].overrides)
    windows, held = int(overrides["dataloader.batch_size"]), training_clips(short) * tiny.CLIP_LENGTH // FRAMES
    assert windows == windows_of_a_step(short) <= min(held, MOST)
    assert windows == MOST or 2 * windows > held
    validated = [int(one) for one in overrides["dataloader.validation_clip_indices"].strip("[]").split(",")]
    assert len(validated) == len(set(validated))
    assert set(tiny.VALIDATION_CLIPS) <= set(validated)
    clips_of_movie = len(whole.stimuli["train"].frames) // tiny.CLIP_LENGTH
    assert clips_of_movie - len(validated) == training_clips(short)
    assert dataclasses.replace(asked[0], overrides=()) == presets_reference.COUNTERPARTS["hoefling_low_res"]


def test_a_model_without_seeds_is_a_line_without_an_ensemble() -> None:
    rows = [
        {"way": way, "minutes": minutes, "neurons": 3, "test": [0.5] * seeds, "ensemble": ensemble}
        for way, seeds, ensemble in (("preset", 4, 0.6), ("openretina", 1, None))
        for minutes in (1.0, 2.0)
    ]
    (axes,) = plot(rows).axes
    assert [bars.get_label() for bars in axes.containers] == ["preset", "openretina"]
    assert [line.get_linestyle() for line in axes.lines].count("--") == 2  # of the preset, and of the legend
