"""The ceiling of the machine."""

from benchmarks.ceiling import matmul_operations_per_second


def test_the_machine_has_a_ceiling() -> None:
    assert matmul_operations_per_second() > 1e9
