import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.errors import UserError
from openretina_jax.insilico.constraints import Constraint, of_training
from tests.insilico.models import INFO

SHAPE = (3, 4, 3, 5, 2)
apply = jax.jit(lambda constraint, x: constraint.apply(x))


def norms(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(x, dtype=np.float64).sum(axis=(1, 2, 3, 4)))


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 1000),
    low=st.tuples(*[st.floats(0.01, 10)] * 2),
    high=st.tuples(*[st.floats(0.01, 10)] * 2),
    share=st.floats(1e-3, 0.999),
    power=st.sampled_from([0.1, 1, 5]),
    size=st.sampled_from([1e-25, 1e-3, 1.0, 1e12]),
    sign=st.sampled_from(["both", "dark", "bright", "grey"]),
)
def test_norm_and_range_hold_for_any_stimulus(
    seed: int, low: tuple[float, ...], high: tuple[float, ...], share: float, power: float, size: float, sign: str
) -> None:
    x = np.random.default_rng(seed).standard_normal(SHAPE)
    x = np.sign(x) * np.abs(x) ** power * size
    x = {"both": x, "dark": -np.abs(x), "bright": np.abs(x), "grey": np.zeros(SHAPE)}[sign]
    largest = np.sqrt(np.maximum(np.square(low), np.square(high)).sum() * np.prod(SHAPE[1:4]))
    wanted = share * largest
    constraint = Constraint.of(2, norm=wanted, low=[-value for value in low], high=list(high))
    constraint.check(SHAPE[1:])
    y = np.asarray(apply(constraint, jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(norms(y), wanted, rtol=1e-4)
    assert (y >= np.asarray(constraint.low)).all()
    assert (y <= np.asarray(constraint.high)).all()
    # what fits stays; where all pixels but one are at a bound, this one takes the rounding of the whole norm
    again = np.asarray(apply(constraint, jnp.asarray(y)))
    assert (norms(again - y) <= 1e-4 * wanted).all()


def test_what_fits_stays() -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x = np.clip(x, -2, 2)
    constraint = Constraint.of(2, norm=norms(x), low=-2.0, high=2.0)
    np.testing.assert_allclose(apply(constraint, jnp.asarray(x)), x, rtol=1e-5)


def test_a_norm_that_only_the_other_side_can_hold_takes_the_smallest_pixels_there() -> None:
    x = -np.arange(1.0, 9.0).reshape(1, 2, 2, 2, 1)
    y = np.asarray(
        apply(Constraint.of(1, norm=np.sqrt(5 + 5 + 2 * 9), low=-1.0, high=3.0), jnp.asarray(x, jnp.float32))
    )
    np.testing.assert_allclose(y.ravel(), [3, 3, np.sqrt(5), -1, -1, -1, -1, -1], rtol=1e-5)


def test_held_pixels_stay_and_do_not_count() -> None:
    rng = np.random.default_rng(0)
    free, background = rng.random(SHAPE[1:]) < 0.5, rng.standard_normal(SHAPE[1:]).astype(np.float32)
    constraint = Constraint.of(2, norm=2.0, low=-1.0, high=1.0)
    constraint = dataclasses.replace(constraint, free=jnp.asarray(free), background=jnp.asarray(background))
    y = np.asarray(apply(constraint, jnp.asarray(rng.standard_normal(SHAPE), jnp.float32)))
    np.testing.assert_array_equal(y[:, ~free], np.broadcast_to(background[~free], (3, (~free).sum())))
    np.testing.assert_allclose(np.sqrt(np.square(y[:, free]).sum(axis=1)), 2, rtol=1e-4)


def test_impossible_requests_are_one_line_before_the_run() -> None:
    with pytest.raises(UserError, match=r"largest is 10\.95"):
        Constraint.of(2, norm=11.0, low=-1.0, high=1.0).check(SHAPE[1:])
    with pytest.raises(UserError, match="must hold 0"):
        Constraint.of(2, norm=11.0, low=[0.5, -1.0], high=1.0)
    with pytest.raises(UserError, match="above 0"):
        Constraint.of(2, norm=-1.0)
    with pytest.raises(UserError, match="does not know the range"):
        of_training(dataclasses.replace(INFO, pixel_low=None), 10)


def test_the_default_is_a_fifth_of_the_training_windows() -> None:
    constraint = of_training(INFO, 9)
    assert float(constraint.norm) == pytest.approx(0.2 * INFO.frame_norm * 3)
    assert np.asarray(constraint.low).tolist() == INFO.pixel_low
    assert np.asarray(constraint.high).tolist() == INFO.pixel_high
