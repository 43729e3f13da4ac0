"""The ceiling of the machine."""

import os

from benchmarks.ceiling import handover_bytes_per_second, matmul_operations_per_second


def test_the_machine_has_a_ceiling() -> None:
    assert matmul_operations_per_second() > 1e9


def test_cores_hand_arrays_to_each_other() -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert handover_bytes_per_second(cores[0], cores[-1]) > 1e6
    assert set(cores) == os.sched_getaffinity(0)  # its threads alone were bound
