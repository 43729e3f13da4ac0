"""Operations of compiled programs, and what they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.operations import measure, operations, traced, with_speeds
from openretina_jax.experiment.notebook import changed
from openretina_jax.experiment.recipe import resolved


def test_products_are_counted() -> None:
    a, b = np.ones((8, 64, 32), np.float32), np.ones((8, 32, 512), np.float32)
    program = jax.jit(lambda a, b: jnp.exp(jnp.matmul(a, b))).lower(a, b).compile()
    found = operations(program.as_text() or "").values()
    (product,) = [operation for operation in found if operation.kind == "product"]
    assert product.operations == 2 * 8 * 64 * 32 * 512
    assert product.bytes >= a.nbytes + b.nbytes + 4 * 8 * 64 * 512
    assert "dot_general" in product.source


def test_slices_do_not_count_what_they_leave() -> None:
    x = np.ones((100, 1000), np.float32)
    program = jax.jit(lambda x, n: jax.lax.dynamic_index_in_dim(x, n) * 2).lower(x, 3).compile()
    assert max(one.bytes for one in operations(program.as_text() or "").values()) < x.nbytes


def test_events_have_their_times() -> None:
    f = jax.jit(lambda x: x @ x)
    x = jnp.ones((200, 200))
    names = operations(f.lower(x).compile().as_text() or "")
    f(x).block_until_ready()
    with traced() as seconds:
        f(x).block_until_ready()
    assert any(sum(seconds[name]) > 0 for name in names if name in seconds)


@pytest.mark.slow
def test_a_step_is_the_sum_of_its_operations() -> None:
    table = measure(resolved(changed("configs/hoefling_low_res.py", {}).to_dict()), windows=4, frames=50)
    assert (table["ms"] > 0).all()
    assert {"product", "pointwise", "copy"} <= set(table["kind"])
    products = with_speeds(table[table["kind"] == "product"])
    assert (products["gigaoperations/s"] > 0).any()
