"""Settings of all tests."""

import os

import hypothesis
import jax
import pytest

HURRY = "--xla_cpu_use_fusion_emitters=false"


def pytest_configure(config: pytest.Config) -> None:
    """Compile in a hurry, in the scripts that tests start too; try fewer examples where slow tests are left out.

    Most of the time goes into compiling programs that run once, and half of that into the passes behind XLA's fusion
    emitters on CPUs.
    """
    if HURRY not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {HURRY}"
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_traceback_in_locations_limit", 0)  # to write down where a program comes from takes time too
    if config.getoption("markexpr") == "not slow":
        hypothesis.settings.register_profile("quick", max_examples=20)
        hypothesis.settings.load_profile("quick")
