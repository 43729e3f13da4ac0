"""Names that the package offers to notebooks."""

import importlib
import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import openretina_jax
from openretina_jax import visualize
from openretina_jax.experiment.notebook import train


@pytest.mark.parametrize("package", [openretina_jax, visualize])
def test_completion_shows_what_there_is(package) -> None:
    assert dir(package) == sorted(package.__all__)
    assert all(inspect.getdoc(getattr(package, name)) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = package.trian


def test_names_are_those_of_the_parts() -> None:
    assert openretina_jax.train is train
    assert openretina_jax.plots is visualize
    assert openretina_jax.__version__ == importlib.metadata.version("openretina-jax")


@pytest.mark.slow
def test_a_name_that_is_used_first_is_found() -> None:
    code = "import openretina_jax; print(openretina_jax.plots.plot_dataset.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plot_dataset"]


def test_all_pictures_are_there() -> None:
    names = {
        name
        for place in ("animation", "data", "filters", "gradients", "readouts", "rois", "scores", "search", "stimuli")
        for name in vars(importlib.import_module(f"openretina_jax.visualize.{place}"))
        if name.startswith(("plot_", "animate_"))
    }
    assert names <= set(visualize.__all__)
