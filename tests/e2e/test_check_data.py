"""``scripts/check_data.py`` as a user runs it."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from openretina_jax.simulation.cache import simulate
from tests.scripts import call, mistake, printed, start, wait

pytestmark = pytest.mark.slow


def test_sound_recordings(tmp_path: Path) -> None:
    flags = ("--config=configs/goldin_2022_core_readout.py:simulated,quick", f"--out={tmp_path}")
    output = printed(wait(start("check_data.py", *flags, cache=tmp_path / "cache")))
    for said in (
        "movies:",
        "mouse_session_1",
        "36 x 36 x 1",
        "neurons:",
        "reliability",
        "20 neurons, clips of 1 frame, for validation 64 of train",
    ):
        assert said in output
    assert output.endswith("no problems\n")
    assert (tmp_path / "data.png").stat().st_size > 10_000
    neurons = pd.read_csv(tmp_path / "data_neurons.csv")
    assert (len(neurons), neurons["sta_z"].min() > 5) == (20, True)


def test_all_problems_of_a_folder(tmp_path: Path) -> None:
    options = {"n_sessions": 2, "clips": 6, "clip_length": 10, "neurons_per_session": 2, "n_repeats": 2}
    folder = simulate("hdf5", tmp_path, options)["path"]
    tests = "--tests=random_noise_2,random_noise_3"
    flags, cache = (f"--recordings={folder}", tests), tmp_path / "cache"
    assert "lag_last_third" in printed(call("check_data.py", *flags, cache=cache))
    for session in (0, 1):
        with h5py.File(folder / f"session_{session}.hdf5", "a") as file:
            del file["responses_random_noise_1"]
            file["responses_random_noise_1"] = np.ones((2, 7))
    (folder / "session_2.h5").write_text("nothing")
    done = call("check_data.py", *flags, cache=cache)
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert (done.returncode, len(problems)) == (2, 3)
    assert 'recordings/session_1.hdf5: "responses_random_noise_1" has 7 frames, the stimulus' in problems[1]
    assert done.stdout.endswith("3 problems\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "give one of --config and --recordings"),
        (("--recordings=absent",), "error: absent: there is no such folder"),
        (("--config=configs/hdf5_core_readout.py",), "error: config.data.path is not given"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    assert said in mistake(call("check_data.py", *flags, cache=tmp_path / "cache"))
