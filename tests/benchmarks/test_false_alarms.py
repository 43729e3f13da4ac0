"""Some sound recordings; ``python -m benchmarks.false_alarms`` checks two hundred."""

import sys

import pytest

from benchmarks import false_alarms


@pytest.mark.slow
def test_sound_recordings_give_no_alarm(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["false_alarms", "--count=12"])
    with pytest.raises(SystemExit) as left:
        false_alarms.main()
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("0 false alarms in 12 recordings of ")
