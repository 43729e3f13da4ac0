"""Tables of openretina's classes and arguments ("theirs") beside our kinds and options ("ours").

The tables say only what differs. An option of ours that its entry does not mention has the same name and meaning in
openretina. ``translation`` reads them in both directions.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from openretina_jax.runtime.registry import Registry, signature


@dataclasses.dataclass(frozen=True)
class Names:
    """A class of openretina that does the work of one of ours.

    Attributes:
        kind: ours.
        theirs: dotted name of their class.
        aliases: their classes with the same arguments, for a single session, or with a condition.
        renamed: their argument for each option of ours that has another name; a dot leads into a dictionary.
        fixed: options of ours that they lack, each with the value that describes their class.
        defaults: their defaults, as values of our options, where ours differ.
        ours_only: further options of ours without an argument: translated by a function below, or without effect on
            the result.
        theirs_only: further arguments without an option: translated by a function below, or taken from the data.
    """

    kind: str
    theirs: str
    aliases: tuple[str, ...] = ()
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ours_only: tuple[str, ...] = ()
    theirs_only: tuple[str, ...] = ()

    def arguments(self, registry: Registry) -> dict[str, str]:
        """Their argument for each option of ours that has one."""
        without = {*_GIVEN, *self.fixed, *self.ours_only}
        options = signature(registry[self.kind])[0]
        return {name: self.renamed.get(name, name) for name in options if name not in without}


# arguments that describe the data: the model gives them to ours, and openretina to theirs
_GIVEN = (
    *("in_channels", "in_shape", "n_neurons", "n_sessions", "session_sizes"),
    *("mean_activity", "rf_location", "map_location", "conditions", "rngs"),
)
FROM_DATA = (
    *("channels", "in_shape", "outdims", "n_neurons_dict"),
    *("mean_activity", "mean_activity_dict", "data_info"),
)

CORE_NAMES = (
    Names(
        "simple",
        "openretina.modules.core.base_core.SimpleCoreWrapper",
        renamed={
            "convolution": "convolution_type",
            "pool_every": "maxpool_every_n_layers",
            "downsample_input": "downsample_input_kernel_size",
            "color_weights": "color_squashing_weights",
            "cut_first_frames": "cut_first_n_frames",
        },
        fixed={"adapt_speed": False, "nonlinearity": "elu"},
        defaults={"hidden_padding": True, "cut_first_frames": 30},
        ours_only=("hidden_channels", "lowering"),
    ),
    Names(
        "gru",
        "openretina.modules.core.gru_core.ConvGRUCore",
        ("ConditionedGRUCore",),
        renamed={
            "convolution": "convolution_type",
            "average_penalty": "use_avg_reg",
            "projection": "use_projections",
            "adapt_speed": "batch_adaptation",
            "recurrent_channels": "gru_kwargs.rec_channels",
            "input_kernel": "gru_kwargs.input_kern",
            "recurrent_kernel": "gru_kwargs.rec_kern",
            "groups": "gru_kwargs.groups",
            "pad_input": "gru_kwargs.pad_input",
        },
        fixed={
            "dropout_rate": 0.0,
            "pool_every": None,
            "downsample_input": None,
            "color_weights": None,
            "cut_first_frames": 0,
            "gamma_recurrent": 0.0,
        },
        defaults={"temporal_kernel_sizes": (21,), "spatial_kernel_sizes": (14,)},
        ours_only=(
            *("hidden_channels", "lowering", "condition_size"),
            *("input_padding", "hidden_padding", "nonlinearity"),
        ),
        theirs_only=(
            *("input_padding", "hidden_padding", "nonlinearity", "final_nonlinearity"),
            *("use_gru", "gru_kwargs", "cond_dim"),
        ),
    ),
    Names(
        "identity",
        "openretina.modules.core.base_core.DummyCore",
        renamed={"cut_first_frames": "cut_first_n_frames"},
        fixed={"color_weights": None},
    ),
)

_CONTRAST_INITIAL = {"init_w": "w_init", "init_a": "a_init", "init_b": "b_init", "init_c": "c_init"}
# the first of a kind is the one that is written
_OF_TRAINED_FILTERS = ("start_at_mean", "start_at_sta", "gamma_smooth_space", "gamma_smooth_time", "gamma_sparse")

READOUT_NAMES = (
    Names(
        "gaussian_mask",
        "openretina.modules.readout.multi_readout.MultiGaussianMaskReadout",
        ("GaussianMaskReadout",),
        renamed={
            "mean_scale": "gaussian_mean_scale",
            "var_scale": "gaussian_var_scale",
            "gamma_mask": "mask_l1_reg",
            "gamma_features": "feature_weights_l1_reg",
            "average_penalty": "readout_reg_avg",
        },
        fixed={"nonlinearity": "softplus"},
        ours_only=("start_at_location", "start_at_mean"),
    ),
    Names(
        "factorized",
        "openretina.modules.readout.multi_readout.MultiFactorizedReadout",
        ("FactorizedReadout",),
        renamed={
            "feature_constraint": "weights_constraint",
            "bias": "readout_bias",
            "gamma_mask": "mask_l1_reg",
            "gamma_features": "weights_l1_reg",
            "gamma_laplace": "laplace_mask_reg",
            "average_penalty": "readout_reg_avg",
        },
        defaults={"bias": False},
        ours_only=("init_mask", "init_features", "start_at_mean"),
        theirs_only=("mask_size", "init_mask", "init_weights", "init_scales"),
    ),
    Names(
        "point_gaussian",
        "openretina.modules.readout.multi_readout.MultiSampledGaussianReadout",
        ("PointGaussianReadout",),
        renamed={
            "gaussian": "gauss_type",
            "init_mean": "init_mu_range",
            "init_sigma": "init_sigma_range",
            "sample_per_frame": "batch_sample",
            "average_penalty": "reg_avg",
        },
        fixed={
            "nonlinearity": "softplus",
            **dict.fromkeys(("feature_ids", "position_ids", "position_predictor", "initial_positions")),
        },
        ours_only=("position_map", "start_at_location", "start_at_mean"),
        theirs_only=(
            *("nonlinearity_function", "shared_features", "shared_grid"),
            *("grid_mean_predictor", "init_grid", "readout_reg_avg"),
        ),
    ),
    Names(
        "lnp",
        "openretina.modules.readout.multi_readout.MultipleLNPReadout",
        ("LNPReadout",),
        renamed={
            "gamma_smooth": "smooth_weight",
            "gamma_sparse": "sparse_weight",
            "smoothness": "smooth_regularizer",
        },
        ours_only=("start_at_mean",),
        theirs_only=("readout_reg_avg", "clone_readout"),
    ),
    Names(
        "separable_lnp",
        "openretina.models.linear_nonlinear.SingleCellSeparatedLNP",
        renamed={
            "spatial_size": "spat_kernel_size",
            "normalize": "normalize_weights",
            "gamma_smooth_space": "smooth_weight_spat",
            "gamma_smooth_time": "smooth_weight_temp",
            "gamma_sparse": "sparse_weight",
            "smoothness": "smooth_regularizer_spat",
        },
        fixed={"bias": False},
        ours_only=("temporal_frames", "start_at_mean", "start_at_sta"),
        theirs_only=("rf_location", "smooth_regularizer_temp", "smooth_regularizer", "fit_gaussian"),
    ),
    Names(
        "spatial_contrast",
        "openretina.models.spatial_contrast.SpatialContrastCoreReadout",
        ("SpatialContrastReadout", "MultiSpatialContrastReadout"),
        renamed={
            **_CONTRAST_INITIAL,
            "neurons_per_chunk": "neuron_chunk_size",
            "sta_folder": "sta_dir",
            "sta_pattern": "sta_file_pattern",
        },
        fixed={"nonnegative": "a", "variance_floor": 1e-6, "patch": None, "filters": "given"},
        ours_only=("temporal_frames", *_OF_TRAINED_FILTERS),
        theirs_only=(
            *("temporal_crop_frames", "cut_first_n_frames"),
            *("spatial_filters", "temporal_filters", "spatial_filters_dict", "temporal_filters_dict"),
        ),
    ),
    Names(
        "spatial_contrast",
        "openretina.models.spatial_contrast.SingleCellSpatialContrast",
        renamed={
            **_CONTRAST_INITIAL,
            "sta_folder": "sta_dir",
            "sta_pattern": "sta_file_name",
            "patch": "spat_crop_size",
        },
        fixed={"nonnegative": "w", "variance_floor": 0.0, "filters": "given"},
        defaults={"init_a": 1.0, "init_c": 0.0},
        ours_only=("temporal_frames", "neurons_per_chunk", *_OF_TRAINED_FILTERS),
        theirs_only=("temporal_crop_frames", "rf_location"),
    ),
)
