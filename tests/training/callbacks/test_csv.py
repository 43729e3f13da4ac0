"""The table of epochs is continued, without rows of lost work."""

import csv
from pathlib import Path

import pytest

from openretina_jax.errors import UserError
from openretina_jax.training.callbacks.csv import CsvTable
from tests.training.callbacks.epochs import epoch_of


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_lost_work_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    first, resumed = CsvTable(tmp_path), CsvTable(tmp_path)
    first.on_train_begin(0, 0)
    for epoch in (1, 2, 3):
        first.on_epoch_end(epoch_of({"epoch": epoch, "loss": epoch / 10}))
    resumed.on_train_begin(2, 20)
    resumed.on_epoch_end(epoch_of({"epoch": 3, "loss": 0.7}))
    assert rows(file) == [{"epoch": "1", "loss": "0.1"}, {"epoch": "2", "loss": "0.2"}, {"epoch": "3", "loss": "0.7"}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_fresh_run_leaves_no_old_rows(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    for metrics in ({"epoch": 1, "loss": 0.1}, {"epoch": 1, "correlation": 0.5}):
        table = CsvTable(tmp_path)
        table.on_train_begin(0, 0)
        table.on_epoch_end(epoch_of(metrics))
    assert rows(file) == [{"epoch": "1", "correlation": "0.5"}]


TABLE = "epoch,seconds,learning_rate\n1,1.0,0.1\n2,2.0,0.1\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace(",", ";").encode(),
        TABLE.replace("epoch", "number").encode(),
        TABLE.encode() + b"3,0.5,0.1,9,9\n",
        bytes(range(128, 256)),
    ],
    ids=["semicolons", "no epochs", "more entries", "bytes"],
)
def test_a_table_of_another_program_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.csv is no table of epochs .* Rename it") as caught:
        CsvTable(tmp_path).on_train_begin(2, 2)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "metrics.csv").read_bytes() == content


def test_tables_that_were_saved_again_are_continued(tmp_path: Path) -> None:
    """With a byte order mark, epochs such as 1.0, and a column of another name."""
    changed = TABLE.replace("\n1,", "\n1.0,").replace("learning_rate", "rate")
    (tmp_path / "metrics.csv").write_text("\ufeff" + changed, encoding="utf-8")
    table = CsvTable(tmp_path)
    table.on_train_begin(1, 1)
    table.on_epoch_end(epoch_of({"epoch": 2, "seconds": 2.0, "learning_rate": 0.2}))
    assert rows(tmp_path / "metrics.csv") == [
        {"epoch": "1.0", "seconds": "1.0", "rate": "0.1", "learning_rate": ""},
        {"epoch": "2", "seconds": "2.0", "rate": "", "learning_rate": "0.2"},
    ]
