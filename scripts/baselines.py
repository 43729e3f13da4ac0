"""Fit the field's simple models: ``openretina-jax baselines`` from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from openretina_jax.commands import run

run("baselines")
