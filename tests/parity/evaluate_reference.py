"""Freeze the table of neurons that openretina's evaluation writes, for recorded and predicted responses of our own.

python tests/parity/evaluate_reference.py

runs where openretina and torch are installed. The evaluation is openretina's own from the configuration to the CSV
file; only the files behind it (movies, recordings, a checkpoint) are replaced by arrays, which lie beside the tables.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from openretina.cli import eval as reference
from openretina.data_io.base import ResponsesTrainTestSplit
from openretina.data_io.base_dataloader import get_movie_dataloader

FOLDER = Path(__file__).parent.parent / "goldens" / "evaluation"
SESSIONS = {"first": 4, "second": 5}  # neurons
TRIALS, LAG, CLIP, CLIPS = 3, 6, 20, 2
FRAMES = CLIP * CLIPS
SHAPE = (1, 2, 2)  # channels, height, width


def simulate() -> dict[str, np.ndarray]:
    """Responses of neurons that differ in noise and in how well they are predicted."""
    rng = np.random.default_rng(0)
    arrays = {}
    for session, count in SESSIONS.items():
        rate = np.exp(rng.standard_normal((FRAMES, count)))
        noise = np.linspace(0.1, 3, count)
        trials = np.maximum(rate + noise * rng.standard_normal((TRIALS, FRAMES, count)), 0)
        predicted = rate * np.exp(np.linspace(0.1, 1, count) * rng.standard_normal((FRAMES, count)))
        arrays[f"{session}/trials"] = trials.astype(np.float32)
        arrays[f"{session}/predicted"] = predicted.astype(np.float32)
        arrays[f"{session}/cell_type"] = rng.integers(1, 33, count)
    return arrays


class Model:
    """Answers with predictions that are known beforehand, without the first frames of every clip."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._arrays = arrays

    def eval(self) -> None:
        """Nothing to switch."""

    def forward(self, stimulus: torch.Tensor, data_key: str) -> torch.Tensor:
        """Predictions for the frames of a stimulus, whose pixels hold the number of the frame."""
        frame = stimulus[:, 0, LAG:, 0, 0].long()
        return torch.from_numpy(self._arrays[f"{data_key}/predicted"])[frame]


def movies() -> dict[str, np.ndarray]:
    """A movie whose pixels hold the number of the frame."""
    numbers = np.arange(FRAMES, dtype=np.float32)[None, :, None, None]
    return dict.fromkeys(SESSIONS, np.broadcast_to(numbers, (SHAPE[0], FRAMES, *SHAPE[1:])).copy())


def responses() -> dict[str, ResponsesTrainTestSplit]:
    """What openretina keeps of each session."""
    arrays = simulate()
    return {
        session: ResponsesTrainTestSplit(
            train=arrays[f"{session}/trials"].mean(axis=0).T,
            test=arrays[f"{session}/trials"].mean(axis=0).T,
            test_by_trial=arrays[f"{session}/trials"].transpose(0, 2, 1),
            session_kwargs={"eye": "right", "group_assignment": arrays[f"{session}/cell_type"]},
        )
        for session in SESSIONS
    }


def loaders(**_: object) -> dict[str, dict]:
    """Loaders of the test movie, which is one clip, and of the same frames as validation clips."""
    result: dict[str, dict] = {"test": {}, "validation": {}}
    arrays = simulate()
    for session, frames in movies().items():
        by_trial = torch.from_numpy(arrays[f"{session}/trials"])
        average, movie = by_trial.mean(dim=0), torch.from_numpy(frames)
        recorded = {"avg": average, "by_trial": by_trial}
        result["test"][session] = get_movie_dataloader(
            movie, recorded, split="test", scene_length=FRAMES, chunk_size=FRAMES, batch_size=1
        )
        result["validation"][session] = get_movie_dataloader(
            movie, average, split="validation", scene_length=CLIP, chunk_size=CLIP, batch_size=CLIPS
        )
    return result


def main() -> None:
    """Write the arrays, and a table and a summary per split."""
    arrays = simulate()
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez(FOLDER / "responses.npz", **arrays)
    reference.load_core_readout_model = lambda path, device: Model(arrays)
    this = Path(__file__).stem
    sys.path.insert(0, str(Path(__file__).parent))
    for split in ("test", "validation"):
        with tempfile.TemporaryDirectory() as cache:
            config = {
                "paths": {"cache_dir": cache},
                "evaluation": {
                    "model_path": "model",
                    "data_split": split,
                    "model_results_path": str(FOLDER / f"{split}.csv"),
                    "summary_results_path": str(FOLDER / f"{split}.json"),
                    "compute_dataset_statistics": False,
                },
                "data_io": {"stimuli": {"_target_": f"{this}.movies"}, "responses": {"_target_": f"{this}.responses"}},
                "dataloader": {"_target_": f"{this}.loaders"},
                "check_stimuli_responses_match": False,
                "seed": 0,
            }
            reference.evaluate_model(OmegaConf.create(config))


if __name__ == "__main__":
    main()
