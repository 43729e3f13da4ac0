"""Small models of openretina of every class, as its training makes them; ``write_checkpoints.py`` saves them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import OmegaConf
from openretina.models.core_readout import ExampleCoreReadout, UnifiedCoreReadout
from openretina.models.linear_nonlinear import SingleCellSeparatedLNP
from openretina.models.sparse_autoencoder import Autoencoder, SparsityMSELoss
from openretina.models.spatial_contrast import SingleCellSpatialContrast, SpatialContrastCoreReadout
from openretina.modules.readout.base import ClonedReadout

SESSIONS = {"right_b": 3, "left_a": 2}  # not in the order of their names
IN_SHAPE = (2, 24, 9, 8)
CORE = "openretina.modules.core"
READOUT = "openretina.modules.readout.multi_readout"

SIMPLE = {
    "_target_": f"{CORE}.base_core.SimpleCoreWrapper",
    "_convert_": "object",
    "temporal_kernel_sizes": [6, 3],
    "spatial_kernel_sizes": [3, 3],
    "gamma_input": 0.1,
    "gamma_hidden": 0.2,
    "gamma_in_sparse": 0.3,
    "gamma_temporal": 4.0,
    "input_padding": 0,
    "hidden_padding": [0, 1, 1],
    "convolution_type": "custom_separable",
    "cut_first_n_frames": 0,
    "dropout_rate": 0.0,
    "maxpool_every_n_layers": None,
    "downsample_input_kernel_size": None,
    "color_squashing_weights": None,
}
GRU = {
    "_target_": f"{CORE}.gru_core.ConvGRUCore",
    "_convert_": "object",
    "temporal_kernel_sizes": [6, 3, 3],
    "spatial_kernel_sizes": [3, 3, 3],
    "gamma_input": 0.1,
    "gamma_hidden": 0.2,
    "gamma_in_sparse": 0.3,
    "gamma_temporal": 4.0,
    "bias": True,
    "input_padding": False,
    "hidden_padding": True,
    "use_gru": True,
    "use_projections": True,
    "convolution_type": "custom_separable",
    "gru_kwargs": {
        "rec_channels": 4,
        "input_kern": 3,
        "rec_kern": 3,
        "groups": 1,
        "gamma_rec": 1,
        "pad_input": True,
    },
}
DUMMY = {"_target_": f"{CORE}.base_core.DummyCore", "_convert_": "object", "cut_first_n_frames": 5}
GAUSSIAN_MASK = {
    "_target_": f"{READOUT}.MultiGaussianMaskReadout",
    "_convert_": "object",
    "scale": True,
    "bias": True,
    "gaussian_mean_scale": 6.0,
    "gaussian_var_scale": 4.0,
    "positive": True,
    "mask_l1_reg": 0.5,
    "feature_weights_l1_reg": 0.25,
    "readout_reg_avg": False,
}
FACTORIZED = {
    "_target_": f"{READOUT}.MultiFactorizedReadout",
    "_convert_": "object",
    "mask_l1_reg": 0.5,
    "weights_l1_reg": 0.25,
    "laplace_mask_reg": 0.125,
    "readout_bias": False,
    "weights_constraint": "absnorm",
    "mask_constraint": "abs",
    "init_mask": None,
    "init_weights": None,
    "init_scales": [[0.0, 0.15], [0.0, 0.15]],
}
SAMPLED = {
    "_target_": f"{READOUT}.MultiSampledGaussianReadout",
    "_convert_": "object",
    "bias": True,
    "gamma": 0.4,
    "init_mu_range": 0.3,
    "init_sigma_range": 0.15,
    "reg_avg": False,
    "batch_sample": True,
    "align_corners": True,
    "gauss_type": "full",
    "grid_mean_predictor": None,
    "shared_features": None,
    "init_grid": None,
    "shared_grid": None,
}
LNP = {
    "_target_": f"{READOUT}.MultipleLNPReadout",
    "_convert_": "object",
    "nonlinearity": "softplus",
    "smooth_weight": 1.0,
    "sparse_weight": 0.5,
    "bias": True,
}
OPTIMIZER = {"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.01}
SCHEDULE = {
    "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "mode": "max",
    "monitor": "val_evaluation_loss",
}


def data_info(sessions: dict[str, int] = SESSIONS, in_shape: tuple[int, ...] = IN_SHAPE, **more: Any) -> dict[str, Any]:
    """What ``compute_data_info`` of openretina returns for recordings of Höfling et al. 2024."""
    generator = np.random.default_rng(1)
    partial = OmegaConf.create(
        {
            "response_rate_hz": 30,
            "stimulus_rate_hz": 30,
            "stimulus_class": "natural",
            "retina_pixel_size_um": 50,
        }
    )
    return {
        "n_neurons_dict": dict(sessions),
        "mean_activity_dict": {
            name: torch.tensor(generator.random(count), dtype=torch.float32) for name, count in sessions.items()
        },
        "input_shape": (in_shape[0], *in_shape[2:]),
        "sessions_kwargs": {
            name: {
                "eye": name.split("_")[0],
                "scan_sequence_idx": np.int64(number),
                "group_assignment": generator.integers(1, 33, count),
                "roi_ids": np.arange(1, count + 1),
                "roi_mask": -generator.integers(0, count + 1, (6, 5)).astype(np.float32),
            }
            for number, (name, count) in enumerate(sessions.items())
        },
        "stim_mean": np.float64(37.25),
        "stim_std": np.float64(36.5),
        **partial,
        **more,
    }


def unified(core: dict[str, Any], readout: dict[str, Any], **more: Any) -> UnifiedCoreReadout:
    """A model of plain Python values but for core and readout."""
    info = more.pop("data_info", data_info())
    return UnifiedCoreReadout(
        n_neurons_dict=info["n_neurons_dict"],
        core=OmegaConf.create(core),
        readout=OmegaConf.create(readout),
        data_info=info,
        **{"in_shape": IN_SHAPE, "hidden_channels": (4, 3)} | more,
    )


def by_hydra() -> UnifiedCoreReadout:
    """A model whose arguments come from a configuration with interpolations, as in ``openretina train``."""
    config = OmegaConf.create(
        {
            "optimizer": OPTIMIZER,
            "lr_scheduler": SCHEDULE,
            "learning_rate": 0.01,
            "model": {
                "_target_": "openretina.models.core_readout.UnifiedCoreReadout",
                "_recursive_": False,
                "in_shape": list(IN_SHAPE),
                "hidden_channels": [4, 3],
                "n_neurons_dict": "???",
                "core": {**SIMPLE, "channels": "???"},
                "readout": GAUSSIAN_MASK,
                "learning_rate": "${learning_rate}",
                "optimizer": "${optimizer}",
                "lr_scheduler": "${lr_scheduler}",
            },
        }
    )
    info = data_info()
    config.model.n_neurons_dict = info["n_neurons_dict"]
    return hydra.utils.instantiate(config.model, data_info=info)


def by_command_line() -> UnifiedCoreReadout:
    """A model as ``openretina train`` makes it where the configuration names no class."""
    info = data_info()
    config = OmegaConf.create(
        {
            "model": {
                "in_shape": list(IN_SHAPE),
                "hidden_channels": [4, 3],
                "n_neurons_dict": info["n_neurons_dict"],
                "core": {**SIMPLE, "channels": "???", "input_padding": "same"},
                "readout": {**GAUSSIAN_MASK, "in_shape": "???", "positive": False, "scale": False, "bias": False},
                "learning_rate": 0.01,
                "optimizer": OPTIMIZER,
                "lr_scheduler": SCHEDULE,
            }
        }
    )
    return UnifiedCoreReadout(data_info=info, **config.model)


def example(**more: Any) -> ExampleCoreReadout:
    """The class whose arguments have names of their own."""
    return ExampleCoreReadout(
        in_shape=IN_SHAPE,
        hidden_channels=(4, 3),
        temporal_kernel_sizes=(6, 3),
        spatial_kernel_sizes=(3, 3),
        n_neurons_dict=SESSIONS,
        **{"readout_gamma": 0.5, "readout_gamma_masks": 0.125, "cut_first_n_frames_in_core": 2} | more,
    )


def cloned() -> UnifiedCoreReadout:
    """The second session has the readout of the first, with gains and offsets."""
    model = unified(SIMPLE, GAUSSIAN_MASK, data_info=data_info({"first": 3, "second": 3}))
    model.readout["second"] = ClonedReadout(model.readout["first"])
    generator = torch.Generator().manual_seed(3)
    model.readout["second"].alpha.data = 1 + 0.2 * torch.randn(3, generator=generator)
    model.readout["second"].beta.data = 0.2 * torch.randn(3, generator=generator)
    return model


def write_stas(folder: Path, sessions: dict[str, int], image: tuple[int, int]) -> None:
    """A spike-triggered average for every cell: a Gaussian blob times a time course."""
    folder.mkdir()
    generator = np.random.default_rng(2)
    rows, columns = np.mgrid[: image[0], : image[1]]
    for session, count in sessions.items():
        for cell in range(count):
            centre = generator.uniform(3, np.subtract(image, 3))
            blob = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 3)
            course = np.sin(np.linspace(0, 6, 10)) * np.linspace(0, 1, 10)
            sta = blob[None] * course[:, None, None] + 0.001 * generator.standard_normal((10, *image))
            np.save(folder / f"cell_data_{session}_WN_stas_cell_{cell}.npy", sta)


def spatial_contrast(folder: Path) -> SpatialContrastCoreReadout:
    """Many cells with frozen filters."""
    shape = (1, 24, 12, 10)
    write_stas(folder / "stas", SESSIONS, shape[2:])
    kwargs = {name: {"cell_indices": list(range(count))} for name, count in SESSIONS.items()}
    info = data_info(in_shape=shape, sessions_kwargs=kwargs, response_rate_hz="85 Hz", stimulus_rate_hz="85 Hz")
    info["retina_pixel_size_um"] = "7.5 for full resolution, 30 for default subsampled dataset"
    return SpatialContrastCoreReadout(
        in_shape=shape,
        n_neurons_dict=SESSIONS,
        sta_dir=folder / "stas",
        temporal_crop_frames=6,
        cut_first_n_frames=2,
        data_info=info,
    )


def spatial_contrast_cell(folder: Path) -> SingleCellSpatialContrast:
    """One cell that sees a patch."""
    shape = (1, 24, 12, 10)
    write_stas(folder / "stas", {"cell": 1}, shape[2:])
    return SingleCellSpatialContrast(
        in_shape=shape,
        sta_dir=folder / "stas",
        sta_file_name="cell_data_cell_WN_stas_cell_0.npy",
        temporal_crop_frames=6,
        spat_crop_size=(7, 5),
        w_init=0.3,
    )


def lnp_cell() -> SingleCellSeparatedLNP:
    """One cell; its checkpoint does not hold the arguments."""
    options = {"rf_location": (4, 5), "spat_kernel_size": (5, 3), "rank": 2, "nonlinearity": "parametrized_softplus"}
    return SingleCellSeparatedLNP((2, 6, 9, 8), **options)


MODELS: dict[str, Callable[[Path], Any]] = {
    "by_hydra": lambda _: by_hydra(),
    "by_command_line": lambda _: by_command_line(),
    "factorized": lambda _: unified(SIMPLE | {"convolution_type": "separable", "gamma_hidden": 0.0}, FACTORIZED),
    "sampled_gaussian": lambda _: unified(
        SIMPLE
        | {"convolution_type": "full", "gamma_temporal": 0.0, "gamma_hidden": 0.0, "gamma_input": 0.0}
        | {"gamma_in_sparse": 0.0, "maxpool_every_n_layers": 2},
        SAMPLED,
    ),
    "sampled_isotropic": lambda _: unified(
        SIMPLE
        | {"convolution_type": "time_independent", "gamma_temporal": 0.0, "gamma_hidden": 0.0}
        | {"gamma_input": 0.0, "gamma_in_sparse": 0.0, "cut_first_n_frames": 4},
        SAMPLED | {"gauss_type": "isotropic", "bias": True, "align_corners": False, "batch_sample": False},
    ),
    "lnp": lambda _: unified(DUMMY, LNP, hidden_channels=None),
    "gru": lambda _: unified(GRU | {"batch_adaptation": True}, GAUSSIAN_MASK, hidden_channels=(4, 3, 3)),
    "conditioned_gru": lambda _: unified(
        {**GRU, "_target_": f"{CORE}.gru_core.ConditionedGRUCore", "cond_dim": 2, "use_gru": False},
        GAUSSIAN_MASK,
        hidden_channels=(4, 3, 3),
    ),
    "plain_gru": lambda _: unified(
        GRU
        | {"use_projections": False, "final_nonlinearity": False, "batch_norm_scale": False, "nonlinearity": "ReLU"},
        FACTORIZED | {"readout_bias": True, "weights_constraint": None, "mask_constraint": None},
        hidden_channels=(4, 3, 3),
    ),
    "grey": lambda _: unified(
        SIMPLE | {"color_squashing_weights": [0.3, 0.7], "downsample_input_kernel_size": [2, 1, 1]},
        GAUSSIAN_MASK,
        in_shape=(1, *IN_SHAPE[1:]),
    ),
    "example": lambda _: example(),
    "cloned": lambda _: cloned(),
    "spatial_contrast": spatial_contrast,
    "spatial_contrast_cell": spatial_contrast_cell,
    "lnp_cell": lambda _: lnp_cell(),
    "autoencoder": lambda _: Autoencoder(input_dim=5, hidden_dim=7, loss=SparsityMSELoss(0.3)),
}
