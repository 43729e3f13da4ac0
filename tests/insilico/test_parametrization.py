import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico.parametrization import Fourier, LowRank, Pixels, Smooth

FRAMES, HEIGHT, WIDTH = 9, 6, 5
Kind = Pixels | Smooth | Fourier | LowRank
MOVIES = np.random.default_rng(0).standard_normal((2, FRAMES, HEIGHT, WIDTH, 2)).astype(np.float32)


def encoded(kind: Kind) -> jax.Array:
    """Parameters of the movies."""
    return jax.jit(kind.encode)(MOVIES)


def decoded(kind: Kind, parameters: jax.Array | np.ndarray) -> jax.Array:
    """Movies of parameters, by one program."""
    return jax.jit(lambda parameters: kind.decode(parameters, FRAMES, HEIGHT, WIDTH))(parameters)


@pytest.mark.parametrize("kind", [Pixels(), Fourier(power=1.5), LowRank(rank=9)])
def test_decoding_undoes_encoding(kind: Kind) -> None:
    np.testing.assert_allclose(decoded(kind, encoded(kind)), MOVIES, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Smooth(), Fourier(), LowRank(rank=2)])
def test_parameters_move_with_their_movies(kind: Kind) -> None:
    scale = jnp.asarray([2.0, 0.5])
    parameters = encoded(kind)
    before = decoded(kind, parameters)
    after = decoded(kind, jax.jit(kind.moved)(parameters, before, scale))
    np.testing.assert_allclose(after, before * scale[:, None, None, None, None], rtol=1e-5, atol=1e-6)


def test_no_power_above_the_highest_frequency() -> None:
    kind = Fourier(power=0.0, max_cycles_per_frame=0.25, max_cycles_per_px=0.2)
    movies = decoded(kind, encoded(kind))
    power = np.abs(np.fft.fftn(movies, axes=(1, 2, 3))).max(axis=(0, 4))
    time = np.abs(np.fft.fftfreq(FRAMES))[:, None, None]
    space = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH))
    above = (time > 0.25) | (space > 0.2)
    assert power[above].max() < 1e-4 * power.max()
    assert power[~above].min() > 1e-3 * power.max()


def test_rank_is_the_rank() -> None:
    kind = LowRank(rank=2)
    movies = np.asarray(decoded(kind, encoded(kind)))
    sizes = np.linalg.svd(movies[0, ..., 1].reshape(FRAMES, -1), compute_uv=False)
    assert sizes[1] > 0.1
    assert sizes[2] < 1e-5


def test_smoothing_keeps_a_constant_inside_and_blurs() -> None:
    flat = Smooth(1.0, 0.5).decode(jnp.ones((1, 15, 7, 7, 1)), 15, 7, 7)
    np.testing.assert_allclose(flat[0, 7, 3, 3, 0], 1, rtol=1e-3)
    rough = np.abs(np.diff(MOVIES, axis=1)).mean()
    assert np.abs(np.diff(decoded(Smooth(), MOVIES), axis=1)).mean() < 0.6 * rough


@pytest.mark.parametrize("wrong", [lambda: Smooth(-1.0), lambda: Fourier(1.0, 0.6), lambda: LowRank(0)])
def test_wrong_options_are_refused(wrong: object) -> None:
    with pytest.raises(UserError):
        wrong()  # type: ignore[operator]
