"""The reference of the commands: what ``--help`` prints of each."""

import subprocess
import sys

from openretina_jax import commands
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.run import describe


def pages() -> dict[str, str]:
    """Make the page."""
    lines = [
        "# Commands",
        "",
        "`openretina-jax COMMAND` works in any folder; `python scripts/...` of a checkout is the same. This page is",
        "what `--help` prints.",
        "",
    ]
    for name in commands.names():
        lines += [f"## openretina-jax {name}", "", "``` { .text .help }", _help(name), "```", ""]
    lines += ["## Experiments of openretina-jax insilico", ""]
    for kind in EXPERIMENTS.kinds():
        lines += [f"### {kind}", "", "``` { .text .help }", describe(kind).strip(), "```", ""]
    return {"reference/commands.md": "\n".join(lines)}


def _help(name: str) -> str:
    arguments = [sys.executable, "-m", "openretina_jax", name, "--help"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
