"""Matrix products whose gradients are fast on CPUs, too."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, DTypeLike, Float

from openretina_jax.precision import precision


def product(
    a: Float[Array | np.ndarray, "*#batch row column"], b: Float[Array, "*batch column n"], out: DTypeLike | None = None
) -> Float[Array, "*batch row n"]:
    """Matrix product of every element of a batch ``b``; one matrix ``a`` serves all.

    Args:
        a, b: the factors, of one type.
        out: type of the sums (None: that of the factors).
    """
    a = jnp.broadcast_to(jnp.asarray(a, b.dtype), (*b.shape[:-2], *a.shape[-2:]))
    return jnp.matmul(a, b, precision=precision(), preferred_element_type=out)


def transform(
    matrix: Float[Array | np.ndarray, "*#batch row column"],
    x: Float[Array, "*batch column n"],
    out: DTypeLike | None = None,
) -> Float[Array, "*batch row n"]:
    """``product`` whose gradient for ``x`` is one, too, with the transposed matrix on the left.

    A primitive, since JAX's own gradient may come transposed, for which XLA has no fast way on CPUs, and then is
    copied.
    """
    matrix = jnp.asarray(matrix, x.dtype)
    program = jax.make_jaxpr(lambda matrix, x: product(matrix, x, out))(matrix, x)
    return _transform.bind(matrix, x, program=program)


def _computed(matrix: Array, x: Array, *, program: ClosedJaxpr) -> Array:
    return jaxpr_as_fun(program)(matrix, x)[0]


def _gradient_of_matrix(g: Array, matrix: Any, x: Array, *, program: ClosedJaxpr) -> Array:
    return jax.linear_transpose(lambda matrix: _computed(matrix, x, program=program), matrix.aval)(g)[0]


def _gradient_of_x(g: Array, matrix: Array, x: Any, **_: Any) -> Array:
    return transform(matrix.swapaxes(-1, -2).astype(g.dtype), g).astype(x.aval.dtype)


def _batched(arrays: Sequence[Any], axes: Sequence[int | None], *, program: ClosedJaxpr) -> tuple[Array, int]:
    (matrix, x), (axis_of_matrix, axis_of_x) = arrays, axes
    if axis_of_x is None:
        return jax.vmap(lambda matrix: _computed(matrix, x, program=program), axis_of_matrix)(matrix), 0
    x = jnp.moveaxis(x, axis_of_x, 0)
    if axis_of_matrix is not None:
        matrix = jnp.moveaxis(matrix, axis_of_matrix, 0)
        matrix = jnp.expand_dims(matrix, range(1, 1 + x.ndim - matrix.ndim))
    return transform(matrix, x, program.out_avals[0].dtype), 0


_transform = Primitive("transform")
_transform.def_impl(_computed)
_transform.def_abstract_eval(lambda matrix, x, program: program.out_avals[0])
mlir.register_lowering(_transform, mlir.lower_fun(_computed, multiple_results=False))
ad.defbilinear(_transform, _gradient_of_matrix, _gradient_of_x)
batching.primitive_batchers[_transform] = _batched
