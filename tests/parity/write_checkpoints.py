"""Write checkpoints of openretina as its own training does, and responses of its models, for tests of ``interop``.

Run by hand where torch and openretina are installed; imports nothing of ours:

    python tests/parity/write_checkpoints.py tests/goldens/checkpoints

Beside every ``NAME.ckpt`` stands ``NAME.npz``: the stimulus ``x`` as openretina takes it, responses ``eval/SESSION``
and ``train/SESSION`` computed in double precision, and ``atol``, how far single precision may be off.
"""

import copy
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from checkpoint_models import IN_SHAPE, MODELS, SESSIONS
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig
from openretina.data_io.base_dataloader import DataPoint
from openretina.models.linear_nonlinear import SingleCellSeparatedLNP
from openretina.models.sparse_autoencoder import Autoencoder
from openretina.models.spatial_contrast import SingleCellSpatialContrast

TRAINED = ("by_hydra", "by_command_line")  # by Lightning, with the state of the optimiser


def batches(shape: tuple[int, ...], lag: int = 0) -> Iterator[tuple[str, DataPoint]]:
    """A batch of every session."""
    generator = torch.Generator().manual_seed(5)
    for name, count in SESSIONS.items():
        x = torch.randn(4, *shape, generator=generator)
        yield name, DataPoint(x, torch.rand(4, shape[1] - lag, count, generator=generator))


def train(model: Any, folder: Path) -> Path:
    """The checkpoint that is left by an epoch of training, and by a test where openretina can do one."""
    keep = ModelCheckpoint(folder, "best", monitor="val_evaluation_loss", mode="max")
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    loaders = [torch.utils.data.DataLoader(list(batches(IN_SHAPE)), batch_size=None) for _ in range(3)]
    trainer.fit(model, loaders[0], loaders[1])
    if isinstance(model.data_info, DictConfig):  # takes no tensors, which a test adds
        return folder / "best.ckpt"
    trainer.test(model, loaders[2], ckpt_path="best", weights_only=False, verbose=False)
    return folder / "best_final.ckpt"


def save(model: Any, folder: Path) -> Path:
    """The checkpoint of a model that saw no training."""
    trainer = lightning.Trainer(accelerator="cpu", logger=False, default_root_dir=folder, barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(folder / "model.ckpt", weights_only=True)
    return folder / "model.ckpt"


def stir(model: torch.nn.Module) -> None:
    """Move all numbers away from where they begin, running statistics as well."""
    generator = torch.Generator().manual_seed(7)
    kept = ("filter", "grid", "log_speed", "num_batches", "spatial", "temporal", "sums", "alpha", "beta")
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not any(part in name for part in kept):
            value += 0.1 * torch.rand(value.shape, generator=generator)


def answers(model: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Responses of every session in both modes; a session at a time, from the same running statistics."""
    found = {}
    for mode in ("eval", "train"):
        for session in getattr(model, "readout", {"cell": None}):
            fresh = copy.deepcopy(model).train(mode == "train")
            with torch.no_grad():
                if isinstance(model, SingleCellSeparatedLNP):
                    found[f"{mode}/{session}"] = fresh(fresh.crop_input(x))
                elif isinstance(model, Autoencoder):
                    found[f"{mode}/{session}"] = fresh(x)
                else:
                    found[f"{mode}/{session}"] = fresh(x, session)
    return found


def write(name: str, out: Path) -> None:
    """The checkpoint and the answers of a model."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = MODELS[name](folder)
        stir(model)
        checkpoint = (train if name in TRAINED else save)(model, folder)
        (out / f"{name}.ckpt").write_bytes(checkpoint.read_bytes())
        x = torch.randn(2, *input_shape(model), generator=torch.Generator().manual_seed(11))
        # parameters are made valid in place by a first call
        single = answers(model, x)
        torch.set_default_dtype(torch.float64)
        double = answers(copy.deepcopy(model).double(), x.double())
        torch.set_default_dtype(torch.float32)
        if name.startswith("sampled"):  # positions are random in training
            double = {key: value for key, value in double.items() if key.startswith("eval")}
        error = max(float((double[key] - single[key]).abs().max()) for key in double)
        arrays = {key: value.numpy() for key, value in double.items()}
        if isinstance(model, SingleCellSpatialContrast):  # whose checkpoint does not say where its patch lies
            arrays["sta"] = np.load(folder / "stas" / model.hparams["sta_file_name"])
        np.savez_compressed(out / f"{name}.npz", x=x.numpy(), atol=1e-6 + 10 * error, **arrays)
        print(f"{name}: {checkpoint.stat().st_size} bytes, error {error:.1e}")


def input_shape(model: Any) -> tuple[int, ...]:
    """(channel, time, height, width) of a stimulus."""
    if isinstance(model, Autoencoder):
        return (6, model.encoder.in_features)
    if isinstance(model, SingleCellSeparatedLNP):
        return (2, 24, 9, 8)
    if isinstance(model, SingleCellSpatialContrast):
        return tuple(model.in_shape)
    channels, *image = model.data_info.get("input_shape", (IN_SHAPE[0], *IN_SHAPE[2:]))
    return (channels, IN_SHAPE[1], *image)


def write_legacy(out: Path) -> None:
    """The example's checkpoint with the names of version 1.0."""
    checkpoint = torch.load(out / "example.ckpt", weights_only=False)
    state = checkpoint["state_dict"]
    for name in list(state):
        if name.startswith("readout.") and name.endswith(".bias"):
            state[f"{name}_param"] = state.pop(name)
    torch.save(checkpoint, out / "legacy.ckpt")
    (out / "legacy.npz").write_bytes((out / "example.npz").read_bytes())


def write_tensors(out: Path) -> None:
    """A file with every kind of tensor that torch writes, and what they hold."""
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) - 5
    tensors = {
        "float32": base,
        "transposed": base.transpose(0, 2),
        "every_second": base[:, :, 1::2],
        "last": base[1, 2],
        "expanded": base[:1, :1].expand(2, 3, 4),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base[0]),
        **{
            str(dtype).removeprefix("torch."): base.abs().to(dtype)
            for dtype in (
                torch.float64,
                torch.float16,
                torch.bfloat16,
                torch.int64,
                torch.int32,
                torch.int16,
                torch.int8,
                torch.uint8,
                torch.uint16,
                torch.bool,
                torch.complex64,
            )
        },
    }
    torch.save({"state_dict": tensors, "hyper_parameters": {}}, out / "tensors.ckpt")
    arrays = {
        name: (value.float() if name == "bfloat16" else value).detach().numpy() for name, value in tensors.items()
    }
    np.savez_compressed(out / "tensors.npz", **arrays)


def main() -> None:
    """Write all, or the named ones."""
    warnings.simplefilter("ignore")
    out, *names = sys.argv[1:]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or MODELS:
        write(name, folder)
    write_legacy(folder)
    write_tensors(folder)


if __name__ == "__main__":
    main()
