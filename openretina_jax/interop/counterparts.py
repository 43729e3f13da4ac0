"""The classes of openretina that do the work of ours, and its names of our options; both directions read this table."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """The class of openretina that does the work of one of ours.

    Attributes:
        path: its dotted name.
        names: its names of our options that it shares.
        fixed: options that it does not have, and the value of ours that stands for what it does.
        others: options that need more than another name, or make no difference to the work.
        defaults: what stands for its defaults where they are not ours.
        without: its arguments that we do without: they follow from the data or are said in other words.
    """

    path: str
    names: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    without: tuple[str, ...] = ()


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_STACK = _same(
    "temporal_kernel_sizes", "spatial_kernel_sizes", "gamma_input", "gamma_temporal", "gamma_hidden", "gamma_in_sparse"
) | {"convolution": "convolution_type"}
CORE_COUNTERPARTS = {
    "simple": Counterpart(
        "openretina.modules.core.base_core.SimpleCoreWrapper",
        _STACK
        | _same("input_padding", "hidden_padding", "dropout_rate")
        | {
            "pool_every": "maxpool_every_n_layers",
            "downsample_input": "downsample_input_kernel_size",
            "color_weights": "color_squashing_weights",
            "cut_first_frames": "cut_first_n_frames",
        },
        {"adapt_speed": False, "nonlinearity": "elu"},
        ("hidden_channels", "lowering"),
        {"hidden_padding": True, "cut_first_frames": 30},
        ("channels", "n_neurons_dict"),
    ),
    "gru": Counterpart(
        "openretina.modules.core.gru_core.ConvGRUCore",
        _STACK
        | _same("bias", "batch_norm", "batch_norm_scale", "batch_norm_momentum", "laplace_padding")
        | {"average_penalty": "use_avg_reg", "projection": "use_projections", "adapt_speed": "batch_adaptation"},
        {
            "dropout_rate": 0.0,
            "pool_every": None,
            "downsample_input": None,
            "color_weights": None,
            "cut_first_frames": 0,
            "gamma_recurrent": 0.0,
        },
        (
            "hidden_channels",
            "lowering",
            "input_padding",
            "hidden_padding",
            "nonlinearity",
            "condition_size",
            "recurrent_channels",
            "input_kernel",
            "recurrent_kernel",
            "groups",
            "pad_input",
        ),
        {"temporal_kernel_sizes": (21,), "spatial_kernel_sizes": (14,)},
        (
            "channels",
            "n_neurons_dict",
            "input_padding",
            "hidden_padding",
            "nonlinearity",
            "final_nonlinearity",
            "use_gru",
            "gru_kwargs",
            "cond_dim",
        ),
    ),
    "identity": Counterpart(
        "openretina.modules.core.base_core.DummyCore",
        {"cut_first_frames": "cut_first_n_frames"},
        {"color_weights": None},
        without=("channels", "n_neurons_dict"),
    ),
}
CORE_CLASSES = {
    "SimpleCoreWrapper": "simple",
    "ConvGRUCore": "gru",
    "ConditionedGRUCore": "gru",
    "DummyCore": "identity",
}

_OF_MODEL = ("in_shape", "outdims", "n_neurons_dict", "mean_activity", "mean_activity_dict")
READOUT_COUNTERPARTS = {
    "gaussian_mask": Counterpart(
        "openretina.modules.readout.multi_readout.MultiGaussianMaskReadout",
        _same("positive", "scale", "bias")
        | {
            "mean_scale": "gaussian_mean_scale",
            "var_scale": "gaussian_var_scale",
            "gamma_mask": "mask_l1_reg",
            "gamma_features": "feature_weights_l1_reg",
            "average_penalty": "readout_reg_avg",
        },
        {"nonlinearity": "softplus"},
        without=_OF_MODEL,
    ),
    "factorized": Counterpart(
        "openretina.modules.readout.multi_readout.MultiFactorizedReadout",
        _same("mask_constraint")
        | {
            "feature_constraint": "weights_constraint",
            "bias": "readout_bias",
            "gamma_mask": "mask_l1_reg",
            "gamma_features": "weights_l1_reg",
            "gamma_laplace": "laplace_mask_reg",
            "average_penalty": "readout_reg_avg",
        },
        others=("init_mask", "init_features"),
        defaults={"bias": False},
        without=(*_OF_MODEL, "mask_size", "init_mask", "init_weights", "init_scales"),
    ),
    "point_gaussian": Counterpart(
        "openretina.modules.readout.multi_readout.MultiSampledGaussianReadout",
        _same("align_corners", "bias", "gamma")
        | {
            "gaussian": "gauss_type",
            "init_mean": "init_mu_range",
            "init_sigma": "init_sigma_range",
            "sample_per_frame": "batch_sample",
            "average_penalty": "reg_avg",
        },
        dict.fromkeys(("feature_ids", "position_ids", "position_predictor", "initial_positions"))
        | {"nonlinearity": "softplus"},
        ("position_map",),
        without=(
            *_OF_MODEL,
            "nonlinearity_function",
            "shared_features",
            "shared_grid",
            "grid_mean_predictor",
            "init_grid",
            "readout_reg_avg",
        ),
    ),
    "lnp": Counterpart(
        "openretina.modules.readout.multi_readout.MultipleLNPReadout",
        _same("nonlinearity", "bias", "laplace_padding")
        | {"gamma_smooth": "smooth_weight", "gamma_sparse": "sparse_weight"},
        others=("smoothness",),
        without=(*_OF_MODEL, "smooth_regularizer", "readout_reg_avg", "clone_readout"),
    ),
    "separable_lnp": Counterpart(
        "openretina.models.linear_nonlinear.SingleCellSeparatedLNP",
        _same("rank", "nonlinearity", "laplace_padding")
        | {
            "spatial_size": "spat_kernel_size",
            "normalize": "normalize_weights",
            "gamma_smooth_space": "smooth_weight_spat",
            "gamma_smooth_time": "smooth_weight_temp",
            "gamma_sparse": "sparse_weight",
        },
        others=("temporal_frames", "smoothness"),
        without=(
            *_OF_MODEL,
            "data_info",
            "rf_location",
            "smooth_regularizer_spat",
            "smooth_regularizer_temp",
            "smooth_regularizer",
            "fit_gaussian",
        ),
    ),
    "spatial_contrast": Counterpart(
        "openretina.models.spatial_contrast.SpatialContrastCoreReadout",
        _same("flip_sta", "sigma_contour")
        | {
            "init_w": "w_init",
            "init_a": "a_init",
            "init_b": "b_init",
            "init_c": "c_init",
            "neurons_per_chunk": "neuron_chunk_size",
            "sta_folder": "sta_dir",
            "sta_pattern": "sta_file_pattern",
        },
        {"nonnegative": "a", "variance_floor": 1e-6, "patch": None},
        ("temporal_frames",),
        without=(
            *_OF_MODEL,
            "data_info",
            "temporal_crop_frames",
            "cut_first_n_frames",
            "spatial_filters",
            "temporal_filters",
            "spatial_filters_dict",
            "temporal_filters_dict",
        ),
    ),
}
# a single cell's has other names and defaults
SPATIAL_CONTRAST_CELL = dataclasses.replace(
    READOUT_COUNTERPARTS["spatial_contrast"],
    path="openretina.models.spatial_contrast.SingleCellSpatialContrast",
    names={
        **{k: v for k, v in READOUT_COUNTERPARTS["spatial_contrast"].names.items() if k != "neurons_per_chunk"},
        "sta_pattern": "sta_file_name",
        "patch": "spat_crop_size",
    },
    fixed={"nonnegative": "w", "variance_floor": 0.0},
    defaults={"nonnegative": "w", "variance_floor": 0.0, "init_a": 1.0, "init_c": 0.0},
    without=(*_OF_MODEL, "data_info", "temporal_crop_frames", "rf_location"),
)
# kind of ours for readouts of one session, of many, and whole models that are a readout
READOUT_CLASSES = {
    "GaussianMaskReadout": "gaussian_mask",
    "MultiGaussianMaskReadout": "gaussian_mask",
    "PointGaussianReadout": "point_gaussian",
    "MultiSampledGaussianReadout": "point_gaussian",
    "FactorizedReadout": "factorized",
    "MultiFactorizedReadout": "factorized",
    "LNPReadout": "lnp",
    "MultipleLNPReadout": "lnp",
    "SingleCellSeparatedLNP": "separable_lnp",
    "SpatialContrastReadout": "spatial_contrast",
    "MultiSpatialContrastReadout": "spatial_contrast",
    "SpatialContrastCoreReadout": "spatial_contrast",
    "SingleCellSpatialContrast": "spatial_contrast",
}
SMOOTHNESS = {"laplace": "LaplaceL2norm", "gaussian_laplace": "GaussianLaplaceL2"}
# openretina's names of our options of the recurrent unit inside the core "gru"
GRU_NAMES = {
    "recurrent_channels": "rec_channels",
    "input_kernel": "input_kern",
    "recurrent_kernel": "rec_kern",
    "groups": "groups",
    "pad_input": "pad_input",
}
NO_TEMPORAL_KERNELS = ("full", "time_independent")
