"""What a run checks before it goes on."""

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from openretina_jax.data import ArrayRecording, from_arrays
from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.errors import UserError
from openretina_jax.experiment.notebook import changed
from openretina_jax.experiment.same_run import agree
from openretina_jax.experiment.train import local_folder, train

RNG = np.random.default_rng(0)
MOVIE, RESPONSES = RNG.integers(0, 255, (100, 4, 4)).astype(np.uint8), RNG.random((100, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("before", "here", "same"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.00001, 2.0]}, True),
        ({"a": [1.0, 2.0]}, {"a": [1.1, 2.0]}, False),
        ({"a": [1.0]}, {"b": [1.0]}, False),
        ([1.0], [1.0, 1.0], False),
        (None, 3.0, True),
        (3.0, None, False),
    ],
)
def test_facts_of_data_agree_but_for_rounding(before: object, here: object, same: bool) -> None:
    assert agree(before, here) == same


def test_a_change_of_any_part_of_the_data_is_seen() -> None:
    def hash_of(movie: np.ndarray = MOVIE, responses: np.ndarray = RESPONSES, **options: object) -> str:
        recording = ArrayRecording(movie, responses)
        return fingerprint(from_arrays({"a": recording}, frame_rate_hz=30.0, **options))  # type: ignore[arg-type]

    assert hash_of() == hash_of()
    others = [hash_of(MOVIE[::-1]), hash_of(responses=RESPONSES[::-1]), hash_of(seed=3), hash_of(clip_length=5)]
    others += [hash_of(normalization=(0.0, 1.0)), hash_of(validation_clips=[3])]
    assert len({hash_of(), *others}) == 1 + len(others)


def test_workdirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_folder(Path("~/runs/x")) == tmp_path / "runs" / "x"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.epochs", 0, "config.train.epochs is 0, but must be at least 1"),
        ("train.order", "nix", "batch order kind 'nix' is unknown"),
        ("stopping.score", "nix", "score kind 'nix' is unknown"),
        ("start_from", "no/such/run", "no/such/run does not exist"),
        ("mesh.data", 7, "config.mesh is"),
        ("callbacks", ("nix",), "callback kind 'nix' is unknown"),
        ("objective.loss.kind", "correlation", 'the loss "correlation" of windows does not have; take "correlation"'),
        ("autoencoder.hidden", 4, 'which an autoencoder does not have; take "correlation"'),
    ],
)
def test_mistakes_are_told_before_the_data_are_read(
    name: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("openretina_jax.experiment.train.make_dataset", lambda *_: pytest.fail("the data were read"))
    config = changed("template", {"stopping.score": "loss", name: value, "data.path": "somewhere"})
    with pytest.raises(UserError, match=re.escape(message)):
        train(config, tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()
