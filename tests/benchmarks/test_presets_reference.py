"""openretina's command on the files of a preset, without openretina."""

import re
import zipfile
from pathlib import Path

import pytest

from benchmarks.presets import PRESETS, main, read_row
from benchmarks.presets_page import failures
from benchmarks.presets_reference import COUNTERPARTS, CRASHES, Counterpart, command, own_files, train
from tests.presets import small

PRESET_OF = {preset.name: preset for preset in PRESETS}
FILES = {name: Path("/data", name) for name in ("path", "stimuli_path", "responses_path")}
OVERRIDE = re.compile(r"~[\w.]+|\+{0,2}[\w.]+=\S+")


def command_of(name: str) -> list[str]:
    return command(COUNTERPARTS[name], PRESET_OF[name].read(), FILES, Path("/run"), Path("/python"), Path("/configs"))


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_every_counterpart_is_that_of_a_preset(name: str) -> None:
    start, overrides = command_of(name)[:8], command_of(name)[8:]
    assert start[:7] == ["/python", "-m", "openretina.cli", "train", "--config-path", "/configs", "--config-name"]
    assert start[7] == COUNTERPARTS[name].config
    assert COUNTERPARTS[name].config not in CRASHES
    assert [one for one in overrides if not OVERRIDE.fullmatch(one)] == []
    assert any("/data" in one for one in overrides)
    assert len(overrides) == len(set(overrides))


def test_sizes_are_those_of_the_preset() -> None:
    overrides = command_of("karamanlis_2024_core_readout-marmoset")
    for expected in (
        "paths.data_dir='/data/path'",
        "hydra.run.dir='/run'",
        "model.hidden_channels=[8,8,8]",
        "model.core.spatial_kernel_sizes=[9,7,5]",
        "dataloader.num_val_clips=20",
        "data_io.responses.specie=marmoset",
        "logger=[csv]",
        "trainer.precision=32-true",
    ):
        assert expected in overrides


def test_tables_have_the_simulated_retinas_alone() -> None:
    overrides = command_of("vystrcilova_2024_nm_cnn")
    responses = "{01:responses/cell_responses_01_fixation_movie.pkl,02:responses/cell_responses_02_fixation_movie.pkl}"
    first = overrides.index("~dataloader.files")
    assert overrides[first + 1] == f"+dataloader.files={responses}"
    assert "++dataloader.excluded_cells={01:[0,1],02:[0,1],03:[0,1],04:[0,1]}" in overrides


def test_openretina_gets_files_of_its_own(tmp_path: Path) -> None:
    config = small("hdf5_core_readout.py")
    folder = own_files(config, tmp_path / "first")["path"]
    assert folder.is_relative_to(tmp_path)
    copied = sorted(file.name for file in folder.rglob("*") if file.is_file())
    (folder / "made_by_openretina.npz").touch()
    again = own_files(config, tmp_path / "second")["path"]
    assert sorted(file.name for file in again.rglob("*") if file.is_file()) == copied != []


def test_archives_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "movies.zip", "w") as archive:
        archive.writestr("movies.pkl", b"frames")
    paths = {"stimuli_path": str(tmp_path / "movies.zip")}
    monkeypatch.setattr("benchmarks.presets_reference.simulated_files", lambda *_: paths)
    file = own_files(small("hdf5_core_readout.py"), tmp_path / "own")["stimuli_path"]
    assert (file.name, file.read_bytes()) == ("movies.pkl", b"frames")


def stand_in(folder: Path, ending: str) -> Path:
    """A program that leaves what openretina leaves, and then ends like this."""
    program = folder / "python"
    program.write_text(
        "#!/bin/sh\nmkdir -p run/checkpoints run/csv\n"
        "touch 'run/checkpoints/epoch=02_val_evaluation_loss=0.512.ckpt'\n"
        "printf 'epoch,train_loss\\n0,\\n0,1.5\\n4,1.2\\n' > run/csv/metrics.csv\n" + ending
    )
    program.chmod(0o755)
    return program


def trained(tmp_path: Path, ending: str) -> dict:
    counterpart, config = Counterpart("hdf5_core_readout"), small("hdf5_core_readout.py")
    return train(counterpart, config, tmp_path / "reference", stand_in(tmp_path, ending), tmp_path)


def test_what_was_trained_is_told(tmp_path: Path) -> None:
    row = trained(tmp_path, "touch 'run/checkpoints/epoch=02_val_evaluation_loss=0.512_final.ckpt'\n")
    assert (row["epochs"], row["best_epoch"], row["note"]) == (5, 3, None)
    assert Path(row["checkpoint"]).name == "epoch=02_val_evaluation_loss=0.512.ckpt"
    assert 0 < row["processor_s"] < 5
    assert not (tmp_path / "reference" / "files").exists()


def test_a_training_that_has_ended_is_not_made_again(tmp_path: Path) -> None:
    """What comes after it may have failed."""
    first = trained(tmp_path, "")
    assert trained(tmp_path, "exit 1\n") == first


def test_a_test_that_fails_after_the_training_is_noted(tmp_path: Path) -> None:
    assert trained(tmp_path, "echo '[INFO] - Starting testing!'\nexit 1\n")["note"] == "its test stage fails"


def test_a_training_that_fails_says_where_its_log_is(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"hdf5_core_readout: openretina's training failed; see .*log.txt"):
            trained(tmp_path, "echo 'Epoch 3'\nexit 1\n")


def test_the_page_says_what_fails() -> None:
    rows = [{"config": name, "note": "its test stage fails"} for name in ("b", "a", "b")]
    after, _, never = failures([*rows, {"config": "c", "note": None}])
    assert after == "After the training of a, b, its test stage fails."
    assert [line.split("`")[1] for line in never.splitlines()] == list(CRASHES)


def test_rows_have_what_openretina_reached(tmp_path: Path) -> None:
    (tmp_path / "score.json").write_text('{"test": 0.5}')
    assert read_row(tmp_path) == {"test": 0.5}
    (tmp_path / "reference.json").write_text('{"test": 0.4}')
    assert read_row(tmp_path) == {"test": 0.5, "reference": {"test": 0.4}}


def test_an_interpreter_without_configurations_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["presets", f"--folder={tmp_path}", "--reference_python=python"])
    with pytest.raises(SystemExit):
        main()
    assert "give both, or neither" in capsys.readouterr().err
