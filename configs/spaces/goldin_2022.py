"""What openretina searches for its models of Goldin et al. 2022: the size of filters, and the weights of penalties.

python scripts/search.py --config=configs/goldin_2022_core_readout.py:factorized --space=configs/spaces/goldin_2022.py

openretina draws 50 trials and takes the validation loss for the objective; here it is validation correlation.
"""

from typing import Any

from configs.distributions import one_of, uniform


def get_space() -> dict[str, Any]:
    """Distributions of settings."""
    return {
        "model.core.simple.spatial_kernel_sizes": one_of((20,), (25,), (30,)),
        "model.core.simple.gamma_input": uniform(1e-3, 10.0),
        "model.readout.factorized.gamma_features": uniform(1e-3, 10.0),
        "model.readout.factorized.gamma_laplace": uniform(1e-3, 10.0),
        "model.readout.factorized.gamma_mask": uniform(1e-3, 10.0),
    }
