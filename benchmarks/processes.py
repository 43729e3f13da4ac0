"""Strong and weak scaling over processes of this machine: a core for each, and messages between them.

    python -m benchmarks.processes --processes=1,2 --epochs=4

Each process trains on one core of its own. Strong scaling: the windows of a step stay, and are shared. Weak scaling:
each process has as many windows as one alone has. Of all epochs but the first, which compiles, the fastest counts:
other work on the machine makes the others slower. Nothing else should run meanwhile.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

CONFIG = "hoefling_low_res:simulated"
WINDOWS = 4  # of a step and a group of sessions


def steps_per_second(processes: int, windows: int, sessions: int, epochs: int) -> float:
    """Train for some epochs with processes that have a core each."""
    cores = sorted(os.sched_getaffinity(0))
    if processes > len(cores):
        raise SystemExit(f"error: {processes} processes need as many cores, and there are {len(cores)}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "openretina_jax", "train", f"--config={CONFIG}", f"--workdir={folder}/run"]
        command += [f"--config.data.simulated.n_sessions={sessions}", f"--config.train.epochs={epochs}"]
        command += [f"--config.train.windows.shared.windows_per_step={windows}", "--config.train.picture_every=0"]
        if processes > 1:
            with socket.socket() as probe:
                probe.bind(("localhost", 0))
                port = probe.getsockname()[1]
            command += [f"--coordinator=localhost:{port}", f"--processes={processes}"]
        running = [
            subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command, *([f"--process={number}"] if processes > 1 else [])],
                stdout=subprocess.DEVNULL,
            )
            for number, core in enumerate(cores[:processes])
        ]
        if any([process.wait() for process in running]):
            raise SystemExit("error: a process has failed, see above")
        return float(pd.read_csv(Path(folder, "run", "metrics.csv"))["steps_per_second"][1:].max())


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="Strong and weak scaling over processes of this machine.")
    parser.add_argument("--processes", default="1,2", help="numbers of processes")
    parser.add_argument("--sessions", type=int, default=8, help="simulated sessions")
    parser.add_argument("--epochs", type=int, default=4, help="at least 2: the first one compiles")
    given = parser.parse_args()
    rows = []
    for processes in map(int, given.processes.split(",")):
        for scaling, windows in (("strong", WINDOWS), ("weak", WINDOWS * processes)):
            rate = steps_per_second(processes, windows, given.sessions, given.epochs)
            rows.append({"scaling": scaling, "processes": processes, "windows": windows, "steps_per_second": rate})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table["windows_per_second"] = table["steps_per_second"] * table["windows"]
    alone = table.groupby("scaling")["windows_per_second"].transform("first")
    table["efficiency"] = table["windows_per_second"] / (alone * table["processes"])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
