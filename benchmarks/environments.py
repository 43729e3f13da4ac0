"""A small run in environments that programs forget: it must end with the same numbers, or be refused in one line.

    python -m benchmarks.environments [--only=TEXT,...]

Every environment trains a model and evaluates it, in processes of its own, and prints a line. Where Python would make
UTF-8 of the locales C and POSIX by itself, it is kept from that: a terminal is then ASCII.
"""

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from openretina_jax.models.saving import best_checkpoint, read_arrays, sha256_of_arrays

ROOT = Path(__file__).parent.parent
LONGEST_S = 900
YEAR_S = 365 * 24 * 3600
TRAIN = (
    "train",
    "--config=maheswaranathan_2023_lnp:simulated,quick",
    "--config.data.simulated.seconds=40",
    "--config.data.simulated.neurons_per_session=6",
    "--config.data.validation_clips=4",
    "--config.train.picture_every=1",
)
EPOCHS = 2
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@dataclasses.dataclass(frozen=True)
class Environment:
    """Where a run is tried.

    Attributes:
        folder: the workdir.
        variables: of the process.
        shell: what a shell does with ``"$@"``, the command.
        future: whether a run that was stopped finds its files and caches written in a year from now, as after a clock
            that was set back.
        refused: whether one line is the right answer.
    """

    folder: str = "run"
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shell: str = '"$@"'
    future: bool = False
    refused: bool = False


ENVIRONMENTS = {
    "as usual": Environment(),
    "LC_ALL=C": Environment("Zürich", {"LC_ALL": "C", **ASCII}),
    "LC_ALL=POSIX": Environment("Zürich", {"LC_ALL": "POSIX", **ASCII}),
    "a terminal of ASCII": Environment("Zürich", {"PYTHONIOENCODING": "ascii"}),
    "workdir of many scripts": Environment("Netzhaut µm/網膜 сетчатка/🐭 [a-z] {0} %s 100% $HOME 'x' \"y\" #1 & *?"),
    "workdir that is no UTF-8": Environment(os.fsdecode(b"run_\xe9\xff")),
    "workdir of 2,000 letters": Environment("/".join(["long" * 50] * 10)),
    "workdir of 5,000 letters": Environment("/".join(["long" * 50] * 25), refused=True),
    "name of 300 letters": Environment("long" * 75, refused=True),
    "no terminal": Environment(variables={"TERM": ""}, shell='setsid "$@" </dev/null | cat; exit ${PIPESTATUS[0]}'),
    "no home": Environment(variables={"HOME": "/nowhere"}),
    "output closed": Environment(shell='"$@" >&-'),
    "errors closed": Environment(shell='"$@" 2>&-'),
    "all three closed": Environment(shell='"$@" <&- >&- 2>&-'),
    "reader of the output gone": Environment(shell='"$@" | true; exit ${PIPESTATUS[0]}', refused=True),
    "disk of the output full": Environment(shell='"$@" >/dev/full', refused=True),
    "clock set back": Environment(future=True),
}


def main() -> None:
    """Try all environments and print a table; exit status 1 if one is not dealt with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="environments whose names hold one of these, separated by commas")
    flags = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        wanted = None
        for number, (what, environment) in enumerate(ENVIRONMENTS.items()):
            if wanted is not None and not any(part in what for part in flags.only.split(",")):
                continue
            (place / str(number)).mkdir()
            outcome, found = tried(environment, place / str(number), place / "cache")
            wanted = wanted or found
            right = "refused" in outcome if environment.refused else found == wanted
            failed |= not right
            print(f"{what:<28}{'right' if right else 'WRONG':<8}{outcome}", flush=True)
    sys.exit(failed)


def tried(environment: Environment, place: Path, cache: Path) -> tuple[str, object]:
    """Train and evaluate.

    Returns:
        What came of it in words, and what must be identical (None if there is no model).
    """
    workdir = place / environment.folder
    first = EPOCHS - environment.future
    done = command(environment, cache, place, *TRAIN, f"--config.train.epochs={first}", f"--workdir={workdir}")
    if environment.future:
        for folder in (workdir, cache):
            in_a_year(folder)
        done = command(environment, cache, place, *TRAIN, f"--config.train.epochs={EPOCHS}", f"--workdir={workdir}")
    scores = place / f"scores {Path(environment.folder).name}"[:100]
    if done.returncode == 0:
        checkpoint = (f"--checkpoint={workdir}", f"--folder={scores}", "--resamples=20")
        done = command(environment, cache, place, "evaluate", *checkpoint)
    said = (done.stdout + done.stderr).strip()
    with contextlib.suppress(Exception):
        tables = [(workdir / "neurons.csv").read_bytes(), (scores / "neurons.csv").read_bytes()]
        return "the same numbers", (sha256_of_arrays(read_arrays(best_checkpoint(workdir))), *tables)
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if done.returncode and len(lines) == 1 and "Traceback" not in said:
        return f"refused: {lines[0]}"[:160], None
    return f"exit status {done.returncode}: {said[-300:]!r}", None


def command(
    environment: Environment, cache: Path, place: Path, name: str, *flags: str
) -> subprocess.CompletedProcess[str]:
    """Run a command there."""
    variables = os.environ | {"OPENRETINA_JAX_CACHE": str(cache), "PYTHONPATH": str(ROOT), **environment.variables}
    return subprocess.run(
        ["bash", "-c", environment.shell, "bash", sys.executable, "-m", "openretina_jax", name, *flags],
        cwd=place,
        env=variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=LONGEST_S,
        check=False,
    )


def in_a_year(folder: Path) -> None:
    """Let everything in a folder have been written in a year from now."""
    then = time.time() + YEAR_S
    for file in (folder, *folder.rglob("*")):
        os.utime(file, (then, then), follow_symlinks=False)


if __name__ == "__main__":
    main()
