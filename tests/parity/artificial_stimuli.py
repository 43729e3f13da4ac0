"""What openretina makes of artificial stimuli without files; frozen in tests/goldens/sources.

/path/to/reference/python tests/parity/artificial_stimuli.py
"""

from pathlib import Path

import numpy as np
from openretina.data_io.artificial_stimuli import align_stimulus_to_trigger, colored_stimulus, normalize_stimulus

GOLDENS = Path(__file__).parent.parent / "goldens" / "sources"


def main() -> None:
    """Freeze a coloured pulse, normalised grey levels, and presentations at triggers."""
    movie = np.arange(2 * 3 * 2 * 1, dtype=np.float32).reshape(2, 3, 2, 1)
    starts = (np.array([0.1, 0.34, 0.41]) * 30).astype(int).tolist()
    np.savez_compressed(
        GOLDENS / "artificial_stimuli.npz",
        pulse=colored_stimulus(1, 5, 3, 4, pad_front=2, pad_end=1),
        normalized=normalize_stimulus(np.arange(256, dtype=np.uint8)),
        presented=align_stimulus_to_trigger(movie, starts),
    )


if __name__ == "__main__":
    main()
