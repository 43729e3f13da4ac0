"""What openretina searches for its models of Höfling et al. 2024: the number of channels, and how smooth filters are.

    python scripts/search.py --config=configs/hoefling_low_res.py --space=configs/spaces/hoefling_low_res.py

The channels are those of the two layers of configs/hoefling_low_res.py; openretina's have four.
"""

from typing import Any

from configs.distributions import one_of, uniform


def get_space() -> dict[str, Any]:
    """Distributions of settings."""
    return {
        "model.core.simple.hidden_channels": one_of((8, 8), (16, 16), (32, 32)),
        "model.core.simple.gamma_input": uniform(1e-5, 1e-2),
    }
