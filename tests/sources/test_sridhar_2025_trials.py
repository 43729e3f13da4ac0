from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from openretina_jax.errors import UserError
from openretina_jax.sources.sridhar_2025.responses import TrialSplit

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "sources" / "sridhar_2025.npz")


@pytest.mark.parametrize("name", [name for name in GOLDENS.files if name.startswith("split/")])
def test_trials_are_divided_as_by_openretina(name):
    _, n_trials, fraction, seed = name.split("/")
    train, validation = TrialSplit(float(fraction), int(seed)).divide(int(n_trials), "01")
    assert validation == GOLDENS[name].tolist()
    assert sorted(train + validation) == list(range(int(n_trials)))


@given(
    n_trials=st.integers(2, 40),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 100),
    first=st.integers(0, 5),
    count=st.none() | st.integers(1, 40),
)
@settings(deadline=None)
def test_no_frame_is_on_both_sides(n_trials, fraction, seed, first, count):
    split = TrialSplit(fraction, seed, first=first, count=count)
    used = set(range(n_trials)[first : None if count is None else first + count])
    try:
        train, validation = split.divide(n_trials, "01")
    except UserError:
        assume(False)
    assert not set(train) & set(validation)
    assert set(train) | set(validation) == used
    for pair in split.repeated:
        assert len(set(pair) & set(train)) == 0 or len(set(pair) & set(validation)) == 0


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"validation": (0, 1)}, "trials 0 and 9 share frames"),
        ({"validation": (25,)}, "validation trial 25 was never shown; trials are 0 to 19"),
        ({"validation": ()}, "20 are for training and 0 for validation"),
        ({"validation": (1,), "first": 2}, "18 are for training and 0 for validation"),
    ],
)
def test_wrong_splits(split, words):
    with pytest.raises(UserError, match=words):
        TrialSplit(**split).divide(20, "01")


def test_a_split_that_cannot_be_drawn():
    with pytest.raises(UserError, match=r"train_fraction is 1\.5, but must lie between 0 and 1"):
        TrialSplit(1.5)
    with pytest.raises(UserError, match="no split of 2 trials"):
        TrialSplit(0.5, repeated=((0, 1),)).divide(2, "01")
