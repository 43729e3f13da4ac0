"""Stimuli that are too short, or of which some frames are not finite."""

from typing import get_args

import jax
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.model import Model
from openretina_jax.modules.kernels.lowerings import Lowering
from tests import tiny

FRAMES, BAD = 40, 30


def of_lowering(lowering: str) -> Model:
    options = {**tiny.MODEL, "core": {**tiny.MODEL["core"], "lowering": lowering}}
    return make_core_readout(options, tiny.dataset().info, 0)


@pytest.mark.parametrize("lowering", get_args(Lowering))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_later_frames_do_not_change_earlier_predictions(lowering: str, value: float) -> None:
    model = of_lowering(lowering)
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(FRAMES)).astype(np.float32)
    bad = movie.copy()
    bad[:, BAD, 2, 1] = value
    call = jax.jit(lambda movie: model(movie))
    whole, found = np.asarray(call(movie)), np.asarray(call(bad))
    first, past = BAD - model.lag, model.receptive_field().past
    assert past is not None
    np.testing.assert_allclose(found[:, :first], whole[:, :first], rtol=1e-6)
    assert np.isnan(found[:, first : first + past + 1]).all()
    np.testing.assert_allclose(found[:, first + past + 1 :], whole[:, first + past + 1 :], rtol=1e-6)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_stimulus_no_longer_than_the_lag_is_refused(frames: int) -> None:
    model = tiny.model()
    with pytest.raises(UserError, match=f"the stimulus has {frames} frames, but the model predicts none of the first "):
        model(np.zeros(model.stimulus_shape(frames), np.float32))
