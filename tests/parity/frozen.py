"""What the scripts beside this one share: they run openretina on simulated files, and freeze what it makes of them.

By hand, in an environment with openretina 1.1.1; nothing of this project is imported:

    python scripts/simulate.py --format=goldin_2022 --folder=files --sessions=2 --neurons=3 --set=side=8 ...
    python tests/parity/goldin_2022.py files

The files themselves are frozen too, so that the comparison does not depend on how the simulation rounds.
"""

from pathlib import Path
from typing import Any

import numpy as np

GOLDENS = Path(__file__).parents[1] / "goldens" / "sources"


def freeze(name: str, folder: Path, variants: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Write files, and what the dataloaders of each variant hold, by split and session.

    Args:
        name: of the source.
        folder: with the files.
        variants: dataloaders by the name of the variant.
    """
    arrays = {
        f"files/{file.relative_to(folder)}": np.frombuffer(file.read_bytes(), np.uint8)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    for variant, splits in variants.items():
        for split, sessions in splits.items():
            for session, loader in sessions.items():
                data = loader.dataset
                place = f"{variant}/{split}/{session}"
                arrays[f"{place}/movie"] = np.asarray(data.movies)
                arrays[f"{place}/responses"] = np.asarray(data.responses)[: data.movies.shape[1]]
                if data.test_responses_by_trial is not None:
                    arrays[f"{place}/trials"] = np.asarray(data.test_responses_by_trial)
    GOLDENS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDENS / f"{name}.npz", **arrays)
    print(GOLDENS / f"{name}.npz", sum(values.nbytes for values in arrays.values()), "bytes unpacked")
