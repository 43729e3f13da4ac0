"""Types and shapes that signatures state are checked in the tests."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from openretina_jax.modules.temporal_basis import temporal_smoothness


def test_a_wrong_shape_is_found() -> None:
    coefficients = jnp.ones((2, 1, 3))
    temporal_smoothness(coefficients, coefficients)
    with pytest.raises(TypeCheckError, match="temporal_smoothness"):
        temporal_smoothness(coefficients, jnp.ones((2, 1, 4)))
