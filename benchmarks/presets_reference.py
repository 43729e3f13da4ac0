"""openretina's side of ``presets``: its own command, by its published configuration, on the files of a preset."""

import argparse
import dataclasses
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import ml_collections
import pandas as pd

from benchmarks.children import run_to_end
from openretina_jax.data.dataset import Dataset
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import whole_file
from openretina_jax.simulation.cache import simulated_files
from openretina_jax.sources.sridhar_2025.stimuli import FIXATION_FILES

TEST_FAILS = "its test stage fails"
_FIT_ENDED = "Starting testing!"  # in its log
_TRAINED = "trained.json"  # what a training took and left
# fp16, which several configurations ask for, exists on GPUs alone; Lightning would take bfloat16 instead
_ON_PROCESSORS = ("+trainer.accelerator=cpu", "trainer.precision=32-true", "logger=[csv]")


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """What openretina trains on the files of a preset.

    Attributes:
        config: name of its configuration.
        overrides: entries that differ, as on its command line.
        sizes: entries that follow ours, by their dotted names there and here.
        files: entries that take paths, and the options of our source that have them.
        arguments: of ``openretina_jax.load``, which the checkpoint of a model of one cell does not hold.
    """

    config: str
    overrides: tuple[str, ...] = ()
    sizes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"paths.data_dir": "path"})
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def of_cell(self, dataset: Dataset) -> tuple["Counterpart", Dataset]:
        """The model at the receptive field of its only cell, and the session as the checkpoint has it."""
        (session,) = dataset.sessions
        (location,) = session.neurons["rf_location"].tolist()
        there = dataclasses.replace(
            self,
            overrides=(*self.overrides, f"model.rf_location={_text(location)}"),
            arguments={**self.arguments, "rf_location": location},
        )
        return there, dataclasses.replace(dataset, sessions=(dataclasses.replace(session, name="cell"),))


_CLIPS = {"dataloader.num_val_clips": "data.validation_clips"}
_CORE = {
    "model.hidden_channels": "model.core.simple.hidden_channels",
    "model.core.spatial_kernel_sizes": "model.core.simple.spatial_kernel_sizes",
}
_RATE = {"model.learning_rate": "optimizer.learning_rate"}  # larger for fewer channels
_STEPS_AND_SIGNS = {  # few channels serve neurons of both polarities
    "dataloader.batch_size": "train.windows.session.windows_per_step",
    "model.readout.positive": "model.readout.gaussian_mask.positive",
}
_KERNELS = {  # whose published ones are larger than the screen
    "model.core.temporal_kernel_sizes": "model.core.simple.temporal_kernel_sizes",
    "model.core.hidden_padding": "model.core.simple.hidden_padding",
}
_GRU = {  # whose published kernels of 4 pixels fail
    "model.hidden_channels": "model.core.gru.hidden_channels",
    "model.core.gru_kwargs.rec_channels": "model.core.gru.recurrent_channels",
    "model.core.gru_kwargs.input_kern": "model.core.gru.input_kernel",
    "model.core.gru_kwargs.rec_kern": "model.core.gru.recurrent_kernel",
}


def _hoefling(config: str, *overrides: str, sizes: Mapping[str, str] | None = None) -> Counterpart:
    files = {"paths.movies_path": "stimuli_path", "paths.responses_path": "responses_path"}
    return Counterpart(f"hoefling_2024_core_readout_{config}", overrides, sizes or {}, files)


def _goldin(species: str) -> Counterpart:
    return Counterpart(
        "goldin_2022_core_readout", _both("specie", species), {"dataloader.num_val_clips": "data.validation_images"}
    )


def _karamanlis(*overrides: str) -> Counterpart:
    # as published, hidden layers are padded by half of the last kernel
    screen = ("data_io.video_height=24", "data_io.video_width=32", "model.core.hidden_padding=[0,2,2]")
    return Counterpart("karamanlis_2024_core_readout", (*screen, *overrides), _CORE | _CLIPS)


def _salamander(*overrides: str) -> Counterpart:
    screen = ("model.in_shape=[1,100,24,24]",)
    return Counterpart("maheswaranathan_2023_core_readout", (*screen, *overrides), _CORE | _CLIPS | _STEPS_AND_SIGNS)


def _both(entry: str, value: str) -> tuple[str, ...]:
    """Overrides of the same entry of stimuli and responses."""
    return (f"data_io.stimuli.{entry}={value}", f"data_io.responses.{entry}={value}")


def _marmoset(
    config: str, *overrides: str, retinas: Sequence[str] = ("01",), sizes: Mapping[str, str] | None = None
) -> Counterpart:
    """Of the simulated retinas; openretina reads the files of all retinas in its tables, whichever it trains."""
    ending = "wn" if "_wn_" in config else "fixation_movie"
    responses = {name: f"responses/cell_responses_{name}_{ending}.pkl" for name in retinas}
    tables = [*_replaced("data_io.response_files", responses), *_replaced("dataloader.files", responses)]
    if ending != "wn":
        fixations = {name: FIXATION_FILES[name] for name in retinas}
        tables += _replaced("dataloader.fixation_files", fixations)
    one = ('dataloader.retina_index="01"',) if len(retinas) == 1 else ()
    return Counterpart(config, (*tables, *one, *overrides), sizes or {})


def _cell_ln(config: str) -> Counterpart:
    """Of one cell at a full screen, without the penalty on the time course: that fails, which asks for other axes."""
    size = (1, 30, 80, 90)
    counterpart = _marmoset(
        config,
        "+model.n_neurons_dict={}",  # which its command sets where there is one
        f"model.in_shape={_text(size)}",
        *("model.smooth_regularizer_temp=Laplace1d", "model.smooth_weight_temp=0.0"),
        sizes={"dataloader.cell_index": "data.cell_index"},
    )
    return dataclasses.replace(counterpart, arguments={"in_shape": size, "nonlinearity": "softplus"})


def _replaced(entry: str, table: Mapping[str, str]) -> tuple[str, str]:
    """Overrides that replace a table, from which Hydra would drop nothing."""
    return f"~{entry}", f"+{entry}={_text(table)}"


def _text(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, Mapping | ml_collections.ConfigDict):
        return f"{{{','.join(f'{name}:{_text(item)}' for name, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value)


_NO_CELL = "its command gives the model n_neurons_dict and data_info, which SingleCellSpatialContrast does not take"
CRASHES: Mapping[str, str] = {  # configurations that no override makes train
    "sridhar_2025_nm_sc": _NO_CELL,
    "sridhar_2025_wn_sc": _NO_CELL,
}
_OPTIMIZER = ("+optimizer=adamw", "+lr_scheduler=reduce_lr_on_plateau")  # which the model asks for
_NO_MATCH = "check_stimuli_responses_match=false"  # movies and responses give their stimulus different names
# "++": tables of white noise lack a retina that ours have
_UNRELIABLE = {"++dataloader.excluded_cells": "data.excluded_cells"}
_SMALL_SCREEN = ("data_io.stimulus_height=24", "data_io.stimulus_width=24")
_SMALL_FILM = tuple(
    f"dataloader.{name}={value}"
    for name, value in {"full_img_h": 72, "full_img_w": 76, "img_h": 36, "img_w": 40, "padding": 12}.items()
)
_CROPPED = {"++dataloader.big_crops": "data.crops"}

COUNTERPARTS: Mapping[str, Counterpart] = {  # by the names of presets
    "hoefling_low_res": _hoefling("low_res"),
    "hoefling_low_res-gru": _hoefling("low_res", "model=GRU_core_readout", "model.core.use_gru=true", sizes=_GRU),
    "hoefling_low_res-factorized": _hoefling("low_res", "model=core_klindt_readout"),
    "hoefling_low_res-point_gaussian": _hoefling("low_res", "model=core_gaussian_readout", sizes=_CORE | _KERNELS),
    "hoefling_low_res-lnp": _hoefling("low_res_lnp", *_OPTIMIZER),
    "hoefling_high_res": _hoefling("high_res"),
    "goldin_2022_core_readout": _goldin("mouse"),
    "goldin_2022_core_readout-axolotl": _goldin("axolotl"),
    "hdf5_core_readout": Counterpart("hdf5_core_readout", sizes=_CLIPS),
    "karamanlis_2024_core_readout": _karamanlis(*_both("specie", "mouse")),
    "karamanlis_2024_core_readout-marmoset": _karamanlis(*_both("specie", "marmoset")),
    "maheswaranathan_2023_core_readout": _salamander(),
    "maheswaranathan_2023_core_readout-whitenoise": _salamander(*_both("stim_type", "whitenoise")),
    "maheswaranathan_2023_lnp": Counterpart("maheswaranathan_2023_LNP", sizes=_CLIPS),
    "sridhar_2025_nm_sc_multicell": _marmoset("sridhar_2025_nm_sc_multicell", _NO_MATCH, sizes=_UNRELIABLE),
    "sridhar_2025_wn_sc_multicell": _marmoset("sridhar_2025_wn_sc_multicell", _NO_MATCH, sizes=_UNRELIABLE),
    "vystrcilova_2024_nm_cnn": _marmoset(
        "vystrcilova_2024_nm_cnn",
        *_SMALL_SCREEN,
        *_SMALL_FILM,
        retinas=("01", "02"),
        sizes=_CORE | _RATE | _UNRELIABLE | _CROPPED,
    ),
    "vystrcilova_2024_wn_cnn": _marmoset(
        "vystrcilova_2024_wn_cnn",
        *_SMALL_SCREEN,
        sizes=_CORE
        | _RATE
        | _CROPPED
        | {"dataloader.cell_index": "data.cell_index", "+data_io.responses.cell_index": "data.cell_index"},
    ),
    "vystrcilova_2024_nm_ln": _cell_ln("vystrcilova_2024_nm_ln"),
    "vystrcilova_2024_wn_ln": _cell_ln("vystrcilova_2024_wn_ln"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Let a command line name an installation of openretina."""
    parser.add_argument("--reference_python", type=Path, help="interpreter that has openretina, which is trained")
    parser.add_argument("--configs", type=Path, help="folder of openretina's configurations")


def installation(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> tuple[Path, Path] | None:
    """The interpreter and the configurations that a command line names; None if it names none, an error if one."""
    python, configs = arguments.reference_python, arguments.configs
    if python is None and configs is None:
        return None
    if python is None or configs is None:
        parser.error("--reference_python and --configs belong together; give both, or neither")
    if not (configs.is_dir() and python.is_file()):
        parser.error(f"there is no {configs} or no {python}")
    return python, configs


def train(
    counterpart: Counterpart, config: ml_collections.ConfigDict, folder: Path, python: Path, configs: Path
) -> dict[str, Any]:
    """Train by openretina's command, in a process of its own, unless that is done.

    Args:
        counterpart: what is trained.
        config: our configuration of the preset.
        folder: where files, log and run are kept; what an attempt that did not end left there is removed.
        python: interpreter that has openretina.
        configs: folder of its configurations.

    Returns:
        ``epochs`` and ``best_epoch``, from 1 on; ``checkpoint``; ``note``, what failed after the training; and
        ``processor_s``, ``passed_s`` and ``memory_gb`` at the peak of the whole process.

    Raises:
        RuntimeError: the training failed; its log says why.
    """
    folder = folder.resolve()
    done = folder / _TRAINED
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    files, run = own_files(config, folder / "files"), folder / "run"
    with (folder / "log.txt").open("w") as log:
        tested, cost = run_to_end(
            command(counterpart, config, files, run, python, configs),
            folder,
            log,
            {"OPENRETINA_CACHE_DIRECTORY": str(folder / "cache")},
        )
    shutil.rmtree(folder / "files")
    if not (tested or _FIT_ENDED in (folder / "log.txt").read_text(encoding="utf-8", errors="replace")):
        raise RuntimeError(f"{counterpart.config}: openretina's training failed; see {log.name}")
    best = best_checkpoint(run)
    row = {
        "config": counterpart.config,
        "epochs": int(pd.read_csv(run / "csv" / "metrics.csv")["epoch"].max()) + 1,
        "best_epoch": int(best.name.removeprefix("epoch=").split("_")[0]) + 1,
        "checkpoint": str(best),
        "note": None if tested else TEST_FAILS,
        **cost,
    }
    with whole_file(done) as stream:
        stream.write(json.dumps(row).encode())
    return row


def command(
    counterpart: Counterpart,
    config: ml_collections.ConfigDict,
    files: Mapping[str, Path],
    run: Path,
    python: Path,
    configs: Path,
) -> list[str]:
    """The command line of a training.

    Args:
        counterpart: what is trained.
        config: our configuration of the preset.
        files: paths by the options of our source.
        run: where openretina writes.
        python: interpreter that has openretina.
        configs: folder of its configurations.
    """
    paths = {entry: files[option].resolve() for entry, option in counterpart.files.items()}
    sizes = {entry: attrgetter(name)(config) for entry, name in counterpart.sizes.items()}
    return [
        *(str(python.absolute()), "-m", "openretina.cli", "train"),
        *("--config-path", str(configs.resolve()), "--config-name", counterpart.config),
        f"hydra.run.dir='{run.resolve()}'",
        *(f"{entry}='{path}'" for entry, path in paths.items()),
        *(f"{entry}={_text(value)}" for entry, value in sizes.items()),
        *_ON_PROCESSORS,
        *counterpart.overrides,
    ]


def own_files(config: ml_collections.ConfigDict, folder: Path) -> dict[str, Path]:
    """Copy the simulated files of a configuration, by the options of its source.

    openretina keeps movies beside the recordings that it renders them from, and does not open archives.
    """
    simulated = {name: value for name, value in config.data.simulated.items() if name != "enabled"}
    files = simulated_files(config.data.source, simulated, cache_folder() / "simulated")
    return {option: _copied(Path(file), folder / option) for option, file in files.items()}


def _copied(file: Path, folder: Path) -> Path:
    if file.is_dir():
        return Path(shutil.copytree(file, folder))
    with zipfile.ZipFile(file) as archive:
        (name,) = archive.namelist()
        return Path(archive.extract(name, folder))


def best_checkpoint(run: Path) -> Path:
    """The checkpoint of the epoch that validated best; a test leaves another one of it, with its results."""
    (best,) = (file for file in (run / "checkpoints").glob("*.ckpt") if not file.stem.endswith("_final"))
    return best
