"""Settings of all tests."""

import jax
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Compile in a hurry where slow tests are left out.

    Most of the time goes into compiling programs that run once. The whole suite runs what users run.
    """
    if config.getoption("markexpr") == "not slow":
        jax.config.update("jax_disable_most_optimizations", True)
