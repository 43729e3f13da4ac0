"""How exactly accelerators multiply numbers in single precision."""

from typing import Literal

import jax
from jax import lax

MatmulPrecision = Literal["highest", "high", "default"]


def precision() -> lax.Precision | None:
    """Of matrix products and convolutions: exact, unless ``jax.default_matmul_precision`` chooses another.

    JAX's own choice is TensorFloat-32 on GPUs and bfloat16 on TPUs, which keep about three digits of every number.
    """
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return lax.Precision.HIGHEST if told is None else None
