"""Files that openretina has read, and what it made of them (written by ``tests/parity``)."""

from pathlib import Path

import numpy as np

from openretina_jax.data.dataset import Dataset, Session

GOLDENS = Path(__file__).parents[1] / "goldens" / "sources"


def unpack(name: str, folder: Path) -> Path:
    """The folder with the files that openretina has read."""
    with np.load(GOLDENS / f"{name}.npz") as frozen:
        for key in frozen.files:
            if key.startswith("files/"):
                file = folder / key.removeprefix("files/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(frozen[key].tobytes())
    return folder


def assert_equal_to_openretina(
    dataset: Dataset, name: str, variant: str, *, movie_atol: float = 0.0, no_trials_of: str | None = None
) -> None:
    """Movies, responses and repeats of every session and split are those of openretina's dataloaders.

    Args:
        dataset: read from the frozen files.
        name: of the source.
        variant: of its settings.
        movie_atol: by which normalised pixels may differ, since openretina computes statistics in single precision.
        no_trials_of: a session whose repeats are not those of the mean, so that the mean alone is kept.
    """
    found = {}
    for session in dataset.sessions:
        for split, (movie, responses) in _splits(dataset, session).items():
            found[f"{split}/{session.name}/movie"] = movie.transpose(3, 0, 1, 2)
            found[f"{split}/{session.name}/responses"] = responses
        for test, trials in session.repeats.items():
            found[f"{test}/{session.name}/trials"] = trials.transpose(0, 2, 1)
    with np.load(GOLDENS / f"{name}.npz") as frozen:
        expected = {
            key.removeprefix(f"{variant}/"): frozen[key] for key in frozen.files if key.startswith(f"{variant}/")
        }
    assert {key for key in found if not key.endswith("trials")} == {
        key for key in expected if not key.endswith("trials")
    }
    assert expected.keys() <= found.keys()
    for key, values in expected.items():
        if key.endswith("trials") and f"/{no_trials_of}/" in key:
            continue
        frames = slice(found[key].shape[-1]) if key.endswith("trials") else slice(None)
        atol = movie_atol if key.endswith("/movie") else 1e-6
        np.testing.assert_allclose(found[key], values[..., frames], rtol=2e-6, atol=atol, err_msg=key)


def _splits(dataset: Dataset, session: Session) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Movie and responses of every split, clips joined as in openretina."""
    length = dataset.clip_length
    movie = dataset.stimuli[session.stimulus].normalized()
    kept = dataset.kept_for_validation(session)
    others = [clip for clip in range(len(movie) // length) if clip not in kept]
    splits = {}
    for split, clips in (("train", others), ("validation", kept)):
        times = (np.array(clips)[:, None] * length + np.arange(length)).ravel()
        splits[split] = movie[times], session.responses[times]
    for test, trials in session.repeats.items():
        splits[test] = dataset.stimuli[session.test_stimulus(test)].normalized(), trials.mean(axis=0)
    return splits
