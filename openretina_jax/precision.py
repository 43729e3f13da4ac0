"""How exactly accelerators multiply numbers in single precision."""

import contextlib
from typing import Literal, get_args

import jax
from jax import lax

from openretina_jax.errors import UserError

MatmulPrecision = Literal["highest", "high", "default"]


def precision() -> lax.Precision | None:
    """Of matrix products and convolutions: exact, unless ``jax.default_matmul_precision`` chooses another.

    JAX's own choice is TensorFloat-32 on GPUs and bfloat16 on TPUs, which keep about three digits of every number.
    """
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return lax.Precision.HIGHEST if told is None else None


def multiplying(chosen: str) -> contextlib.AbstractContextManager[None]:
    """Choose the precision for a while, as ``config.train.matmul_precision`` says it.

    Raises:
        UserError: there is no such precision.
    """
    if chosen not in get_args(MatmulPrecision):
        known = " or ".join(get_args(MatmulPrecision))
        raise UserError(f'config.train.matmul_precision is "{chosen}"; choose {known}')
    return jax.default_matmul_precision(chosen)
