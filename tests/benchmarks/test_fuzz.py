"""A few mutated files of every kind; ``python -m benchmarks.fuzz`` reads ten thousand."""

import pytest

from benchmarks.fuzz import in_a_process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("pickle", 500), ("ckpt", 200), ("npy", 300), ("hdf5", 150), ("exported", 40), ("saved", 20)]
)
def test_mutated_files_are_read_or_refused(kind: str, count: int) -> None:
    counts = in_a_process(kind, count, seed=0)
    assert (counts["failed"], sum(counts.values())) == (0, count)
