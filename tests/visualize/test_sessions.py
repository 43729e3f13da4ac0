"""What is drawn of the sessions of a core."""

import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.visualize.weights import MAX_SESSIONS, plot_speeds
from tests.visualize.models import make


def make_core(convolution: str = "custom_separable", n_sessions: int = 2) -> SimpleCore:
    sizes = {"hidden_channels": (4,), "temporal_kernel_sizes": (6,), "spatial_kernel_sizes": (5,)}
    return SimpleCore(2, **sizes, convolution=convolution, adapt_speed=True, n_sessions=n_sessions, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("convolution", ["custom_separable", "separable"])
def test_speeds(convolution: str) -> None:
    core = make_core(convolution)
    core.log_speed[...] = np.float32([0, np.log(2)])
    (axes,) = plot_speeds(core, ["a", "b"]).axes
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), [1, 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xlabel().startswith("speed of temporal" if convolution == "custom_separable" else "gain of")


def test_many_sessions_are_cut() -> None:
    names = [str(number) for number in range(MAX_SESSIONS + 1)]
    (axes,) = plot_speeds(make_core(n_sessions=len(names)), names).axes
    assert len(axes.get_yticks()) == MAX_SESSIONS
    assert axes.get_title() == "speeds of 100 of 101 sessions"


def test_cores_without_speeds() -> None:
    for core in ("simple", "identity"):
        with pytest.raises(UserError, match="no speeds of sessions; they come with adapt_speed"):
            plot_speeds(make(core).core, ["a", "b"])
