"""A population through ``scripts/train.py``: trained, stopped and resumed, traced, loaded, and with mistakes."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import openretina_jax
from openretina_jax.models.ensemble import Ensemble
from tests.e2e.runs import SIMULATED, SMALL, TRAINED, Stop, arrays, assert_same_arrays, follow, refusal, summary
from tests.scripts import call, printed

pytestmark = pytest.mark.slow

EPOCHS = 3
LEARNING_RATE = "--config.population.vary={'optimizer.learning_rate': {'log_uniform': (1e-3, 3e-2)}}"
POPULATION = ["--config.population.size=2", LEARNING_RATE, f"--config.train.epochs={EPOCHS}"]


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a population that nobody disturbed, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    return workdir, printed(call("train.py", *TRAINED, *POPULATION, f"--workdir={workdir}", "--profile", cache=cache))


def test_members_are_listed_and_loaded(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    table = pd.read_csv(workdir / "members.csv")
    assert sorted(table["member"]) == [0, 1]
    assert set(table["seed"]) == {42, 43}
    assert table["optimizer.learning_rate"].between(1e-3, 3e-2).all()
    assert table["validation_correlation"].is_monotonic_decreasing
    member, epoch, test_score = (table[name][0] for name in ("member", "best_epoch", "random_noise_3_correlation"))
    assert f"best member {workdir}/members/{member}/checkpoints/{epoch}\n" in output
    models = [openretina_jax.load(workdir / "members" / str(member)) for member in table["member"]]
    np.testing.assert_array_equal(openretina_jax.load(workdir).readout.features[...], models[0].readout.features[...])
    ensemble = openretina_jax.load(workdir / "ensemble")
    assert isinstance(ensemble, Ensemble)
    movie = np.random.default_rng(0).standard_normal(ensemble.stimulus_shape(40)).astype(np.float32)
    np.testing.assert_allclose(ensemble(movie), np.mean([model(movie) for model in models], axis=0), rtol=1e-4)
    assert summary(output) == pytest.approx(test_score, abs=1e-4)


def test_a_trace_is_written(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    (trace,) = re.findall(r"^trace of an epoch: tensorboard --logdir=.*, or open (\S+) in ", output, re.MULTILINE)
    assert Path(trace).stat().st_size > 0
    assert list((workdir / "profile").rglob("*.xplane.pb"))


def test_a_stopped_population_goes_on_as_if_it_had_not_stopped(
    cache: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    run = (*TRAINED, *POPULATION, f"--workdir={tmp_path}")
    assert "stopped after epoch 2" in printed(call("train.py", *run, follow(Stop), cache=cache))
    assert "resuming after epoch 2" in printed(call("train.py", *run, cache=cache))
    assert_same_arrays(*(arrays(workdir, "population", EPOCHS) for workdir in (tmp_path, finished[0])))
    pd.testing.assert_frame_equal(*(pd.read_csv(workdir / "members.csv") for workdir in (tmp_path, finished[0])))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config.population.vary={'optimizer.rate': {'uniform': (0, 1)}}"], ['"optimizer.rate" is no number']),
        (["--config.population.vary={'optimizer.b1': {'normal': (0, 1)}}"], ['"optimizer.b1" is', "one_of"]),
        (["--config.population.vary={'model.core.simple.dropout_rate': {'uniform': (0, 1)}}"], ["gamma_temporal"]),
        (["--config.population.chunk=3"], ["config.population.chunk is 3", "2 members"]),
        (["--config.population.size=0"], ["config.population.size is 0"]),
        (["--config.mesh.data=2"], ["config.mesh is", "a population trains on one device"]),
    ],
)
def test_mistakes(cache: Path, tmp_path: Path, flags: list[str], words: list[str]) -> None:
    line = refusal(cache, tmp_path, SIMULATED, *SMALL, *POPULATION[:1], *flags)
    for word in words:
        assert word in line
