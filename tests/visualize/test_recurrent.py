"""What is drawn of a recurrent unit."""

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.modules.recurrent import GATES
from openretina_jax.visualize.weights import plot_gates
from tests.visualize.models import make


def test_norms_of_all_kernels() -> None:
    core = make("gru").core
    *panels, bar = plot_gates(core).axes
    kernels = [getattr(core.gru.cell, f"{gate}_{source}")[...] for source in ("input", "hidden") for gate in GATES]
    for axes, kernel in zip(panels, kernels, strict=True):
        norms = np.asarray(axes.images[0].get_array())
        np.testing.assert_allclose(norms, np.sqrt(np.square(kernel).sum(axis=(2, 3))), rtol=1e-6)
    assert [axes.get_title() for axes in panels[2:4]] == ["out, from the input", "reset, from the state"]
    assert {axes.get_xlabel() for axes in panels} == {"channel of the input", "channel of the state"}
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert bar.get_ylabel() == "norm of the kernel"


@pytest.mark.slow
def test_cores_without_a_recurrent_unit() -> None:
    for core in ("simple", "identity"):
        with pytest.raises(UserError, match="no recurrent unit; it comes with recurrent_channels"):
            plot_gates(make(core).core)
