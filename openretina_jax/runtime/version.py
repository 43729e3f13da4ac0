"""Version of the installed package."""

import importlib.metadata

VERSION = importlib.metadata.version("openretina-jax")
