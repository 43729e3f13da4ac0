"""The score of a run against the truth, from the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest

from openretina_jax.insilico.against_truth import RULES
from tests.e2e.runs import NEURONS
from tests.scripts import call, mistake

pytestmark = pytest.mark.slow
QUICK = ("--norm=5", "--window=2", "--steps=2", "--seeds=1", "--windows=2", "--frames=100", "--pixel_size_um=50")


def test_a_run_that_has_learned_little_fails(finished: tuple[Path, str], cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "score"
    arguments = ("score", f"--checkpoint={finished[0]}", f"--folder={out}", "--neurons=every:5", *QUICK)
    done = call("insilico.py", *arguments, "--thresholds=spatial_map=1.5,sta_centre_px=none", cache=cache)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: spatial_map is")]
    assert "should be at least 1.5" in line
    table = pd.read_csv(out / "metrics.csv", index_col="name")
    # the neurons of this simulator have no directions, and see one colour
    of_direction = [name for name in RULES if name.startswith("direction")]
    assert set(table.index) == RULES.keys() - {"colour", "sta_centre_px", *of_direction}
    assert table.loc["spatial_map", "passes"] == False  # noqa: E712
    assert table.loc["spatial_map", ["untrained core", "shuffled rows"]].notna().all()
    neurons = pd.read_csv(out / "neurons.csv")
    assert len(neurons) == NEURONS
    assert neurons["closed_loop"].notna().sum() <= 2
    assert "data:image/png" in (out / "gallery.html").read_text(encoding="utf-8")
    assert json.loads((out / "experiment.json").read_text())["experiment"] == "score"


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--thresholds=closed_lop=.5", 'did you mean "closed_loop"?'),
        ("--thresholds=closed_loop=high", '"closed_loop=high" must be a name and a number'),
        ("--truth=nowhere", "nowhere"),
        ("--imaging_hz=100", "must be above 0 and below the movie's"),
    ],
)
def test_mistakes(finished: tuple[Path, str], cache: Path, tmp_path: Path, flag: str, says: str) -> None:
    arguments = ("score", f"--checkpoint={finished[0]}", f"--folder={tmp_path / 'score'}", *QUICK, flag)
    assert says in mistake(call("insilico.py", *arguments, cache=cache))
    assert not any(tmp_path.iterdir())
