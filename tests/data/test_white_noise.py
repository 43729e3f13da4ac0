"""White noise from its seed: that of the package, with the axes of ours."""

import sys

import numpy as np
import pytest

from openretina_jax.data.white_noise import white_noise
from openretina_jax.errors import UserError
from tests.white_noise import needs_white_noise

pytestmark = needs_white_noise


@pytest.mark.parametrize("kind", ["binary", "gaussian"])
def test_trials_follow_each_other(kind):
    import retinawhitenoise as stimuli  # where the marker says that it is

    found = white_noise(-1000, (6, 4), frames=5, trials=3, kind=kind)
    assert found.shape == (15, 4, 6)
    assert found.dtype == (np.int8 if kind == "binary" else np.float32)
    shown = getattr(stimuli, f"{kind}stimulus").recreate(-1000, (6, 4), 5, 3)
    expected = np.concatenate([np.moveaxis(trial.copy(), -1, 0).swapaxes(1, 2) for trial in shown])
    np.testing.assert_array_equal(found, expected)
    part = white_noise(-1000, (6, 4), frames=5, trials=3, kind=kind, rows=slice(1, 3), columns=slice(2, None))
    np.testing.assert_array_equal(part, expected[:, 1:3, 2:])


def test_bars_and_flicker():
    assert white_noise(-5, (7,), frames=4).shape == (4, 7)
    flicker = white_noise(-5, frames=4, trials=2)
    assert flicker.shape == (8,)
    assert set(flicker.tolist()) <= {-1, 1}


def test_mistakes(monkeypatch):
    with pytest.raises(UserError, match=r"size is \(2, 3, 4\); give \(width, height\)"):
        white_noise(-5, (2, 3, 4), frames=1)
    with pytest.raises(UserError, match="keep none of the pixels"):
        white_noise(-5, (2, 3), frames=1, rows=slice(3, 5))
    with pytest.raises(UserError, match='kind is "ternary"; choose among binary, gaussian'):
        white_noise(-5, (2, 3), frames=1, kind="ternary")
    monkeypatch.setitem(sys.modules, "retinawhitenoise", None)
    with pytest.raises(UserError, match=r"is not installed; run pip install .*\[whitenoise\]"):
        white_noise(-5, (2, 3), frames=1)
