"""``scripts/search.py`` as a user runs it: two trials side by side, stopped, resumed, and with mistakes."""

import signal
import time
from pathlib import Path

import pandas as pd
import pytest

import openretina_jax
from tests.e2e.runs import SIMULATED, TRAINED, Slow, epochs, follow
from tests.scripts import TIMEOUT_S, call, mistake, printed, start, wait

pytestmark = pytest.mark.slow

SPACE = """
from configs.distributions import log_uniform, one_of

def get_space():
    return {"optimizer.learning_rate": log_uniform(1e-3, 1e-1),
            "model.core.simple.hidden_channels": one_of((2,))}
"""
EPOCHS = 3
FLAGS = [
    *(flag for flag in TRAINED if "hidden_channels" not in flag),
    f"--config.train.epochs={EPOCHS}",
    follow(Slow),
    "--trials=2",
    "--jobs=2",
]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.py"
    file.write_text(SPACE)
    return file


def test_a_search_that_is_stopped_and_resumed(
    cache: Path, finished: tuple[Path, str], tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del finished  # whose recordings and programs are used
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    workdir = tmp_path / "search"
    search = (*FLAGS, f"--space={space}", f"--workdir={workdir}")
    process = start("search.py", *search, cache=cache)
    deadline = time.monotonic() + TIMEOUT_S
    while not all(epochs(workdir / "trials" / number) for number in "01"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert printed(wait(process)).endswith("stopped; the same command goes on from there\n")
    output = printed(call("search.py", *search, cache=cache))
    table = pd.read_csv(workdir / "trials.csv")
    assert sorted(table["trial"]) == [0, 1]
    assert table["state"].tolist() == ["complete"] * 2
    for _, row in table.iterrows():
        folder = workdir / "trials" / str(row["trial"])
        assert epochs(folder) == list(range(1, EPOCHS + 1))
        assert pd.read_csv(folder / "metrics.csv")["validation/correlation"].max() == pytest.approx(row["value"])
        assert openretina_jax.load(folder).core.layers[0].conv.spatial.shape[0] == 2
    best = table.iloc[0]
    assert f"the best one is trial {best['trial']}, validation/correlation {best['value']:.4f}" in output
    assert f"--config.optimizer.learning_rate={float(best['optimizer.learning_rate'])!r}" in output
    assert {file.name for file in workdir.glob("*.png")} == {"scores.png", "slices.png", "importances.png"}


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        (SPACE.replace("learning_rate", "learning_rat"), [], ['"optimizer.learning_rat"', '"optimizer.learning_rate"']),
        (SPACE, ["--config.optimizer.learning_rate=0.1"], ["config.optimizer.learning_rate is in the space and given"]),
        (SPACE, ["--objective=test/correlation"], ["objective", "validation/loss"]),
    ],
)
def test_mistakes(cache: Path, tmp_path: Path, space: Path, text: str, flags: list[str], words: list[str]) -> None:
    space.write_text(text, encoding="utf-8")
    where = (f"--config={SIMULATED}", f"--space={space}", f"--workdir={tmp_path / 'search'}")
    line = mistake(call("search.py", *where, *flags, cache=cache))
    for word in words:
        assert word in line
    assert not (tmp_path / "search").exists()
