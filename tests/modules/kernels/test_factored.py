from openretina_jax.modules.kernels.factored import time_blocks


def test_blocks_cover_the_output_and_reach_one_block_back() -> None:
    for new_time in range(1, 200):
        for kernel in (1, 2, 11, 40, 90):
            blocks, length = time_blocks(new_time, kernel)
            assert blocks * length >= new_time
            assert length >= kernel - 1
            assert blocks == 1 or (blocks - 1) * length < new_time
