"""What a model says of itself, and what it refuses."""

import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.models.model import Model
from tests import tiny

SHAPE = (tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS)


@pytest.mark.slow
def test_a_session_is_a_range_of_rows() -> None:
    model = tiny.model()
    assert [model.rows(name) for name in ("right_1", "right_2", "left")] == [(0, 3), (3, 5), (8, 4)]
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(20)).astype(np.float32)
    np.testing.assert_allclose(model(movie, session="right_2"), model(movie)[..., 3:8], rtol=1e-5)


def test_an_incomplete_model_is_refused_when_built() -> None:
    class Incomplete(Model):
        pass

    with pytest.raises(TypeError, match=r"abstract class Incomplete .* per_session.* receptive_field.* respond"):
        Incomplete({}, tiny.model().data_info)


def test_shape_of_a_stimulus() -> None:
    assert tiny.model().stimulus_shape(50, batch=3) == (3, 50, *SHAPE)


def test_unknown_session() -> None:
    with pytest.raises(UserError, match='has no session "middle"; it has right_1, right_2, left'):
        tiny.model()(np.zeros((1, 20, *SHAPE), np.float32), session="middle")


def test_stimulus_of_another_shape() -> None:
    with pytest.raises(UserError, match=r"\(height, width, channel\) \(10, 12, 2\), the model needs \(12, 10, 2\)"):
        tiny.model()(np.zeros((1, 20, 10, 12, 2), np.float32))


@pytest.mark.slow
def test_a_model_can_be_compiled() -> None:
    model = tiny.model()
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(20)).astype(np.float32)
    compiled = nnx.jit(lambda model, stimulus: model(stimulus))
    np.testing.assert_allclose(compiled(model, movie), model(movie), rtol=1e-5)
