import jax
import jax.numpy as jnp

from openretina_jax.modules.kernels.factored import factored, time_blocks


def test_blocks_cover_the_output_and_reach_one_block_back() -> None:
    for new_time in range(1, 200):
        for kernel in (1, 2, 11, 40, 90):
            blocks, length = time_blocks(new_time, kernel)
            assert blocks * length >= new_time
            assert length >= kernel - 1
            assert blocks == 1 or (blocks - 1) * length < new_time


def test_the_program_does_not_grow_with_the_movie() -> None:
    """One slice for every block of a long movie would take minutes to compile."""
    spatial, temporal = jnp.zeros((2, 1, 1, 1)), jnp.zeros((2, 1, 11))
    short, long = (
        str(jax.make_jaxpr(lambda x: factored(x, spatial, temporal, ((0, 0),) * 3))(jnp.zeros((1, frames, 1, 1, 1))))
        for frames in (100, 100_000)
    )
    assert len(long) < 1.5 * len(short)
