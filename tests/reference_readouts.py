"""Our readouts from the arguments of the reference's, for tests against frozen numbers."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from openretina_jax.modules.readouts import READOUTS

# our name for an argument of the reference; None: it goes without saying, or is an array of the case
_COMMON = {"in_shape": None, "outdims": None, "n_neurons_dict": None, "readout_reg_avg": "average_penalty"}
_GAUSSIAN_MASK = {
    "scale": "scale",
    "bias": "bias",
    "gaussian_mean_scale": "mean_scale",
    "gaussian_var_scale": "var_scale",
    "positive": "positive",
    "mask_l1_reg": "gamma_mask",
    "feature_weights_l1_reg": "gamma_features",
}
_FACTORIZED = {
    "mask_size": None,
    "mask_l1_reg": "gamma_mask",
    "weights_l1_reg": "gamma_features",
    "laplace_mask_reg": "gamma_laplace",
    "readout_bias": "bias",
    "mask_constraint": "mask_constraint",
    "weights_constraint": "feature_constraint",
    "init_scales": None,
}
_LNP = {
    "nonlinearity": "nonlinearity",
    "bias": "bias",
    "smooth_weight": "gamma_smooth",
    "sparse_weight": "gamma_sparse",
    "smooth_regularizer": "smoothness",
    "laplace_padding": "laplace_padding",
    "readout_reg_avg": None,
}
_SEPARABLE_LNP = {
    "rf_location": None,
    "spat_kernel_size": "spatial_size",
    "rank": "rank",
    "nonlinearity": "nonlinearity",
    "normalize_weights": "normalize",
    "smooth_weight_spat": "gamma_smooth_space",
    "smooth_weight_temp": "gamma_smooth_time",
    "sparse_weight": "gamma_sparse",
    "smooth_regularizer_spat": "smoothness",
    "laplace_padding": "laplace_padding",
}
_SPATIAL_CONTRAST = {
    "spatial_filters": None,
    "temporal_filters": None,
    "spatial_filters_dict": None,
    "temporal_filters_dict": None,
    "data_info": None,
    "cut_first_n_frames": None,
    "neuron_chunk_size": "neurons_per_chunk",
    "temporal_crop_frames": None,
    "spat_crop_size": "patch",
    "w_init": "init_w",
    "a_init": "init_a",
    "b_init": "init_b",
    "c_init": "init_c",
    "sta_dir": "sta_folder",
    "sta_file_name": "sta_pattern",
    "sta_file_pattern": "sta_pattern",
    "flip_sta": "flip_sta",
    "sigma_contour": "sigma_contour",
}
_POINT_GAUSSIAN = {
    "bias": "bias",
    "init_mu_range": "init_mean",
    "init_sigma_range": "init_sigma",
    "gauss_type": "gaussian",
    "batch_sample": "sample_per_frame",
    "align_corners": "align_corners",
    "gamma": "gamma",
    "reg_avg": "average_penalty",
    "nonlinearity_function": "nonlinearity",
}
_UNCLIPPED = {"nonnegative": None}  # the reference clips after an optimiser step, not when it is called
_KINDS: dict[str, tuple[str, Mapping[str, str | None], Mapping[str, Any]]] = {
    "GaussianMaskReadout": ("gaussian_mask", _GAUSSIAN_MASK, {}),
    "PointGaussianReadout": ("point_gaussian", _POINT_GAUSSIAN, {}),
    "MultiGaussianMaskReadout": ("gaussian_mask", _GAUSSIAN_MASK, {}),
    "FactorizedReadout": ("factorized", _FACTORIZED, {"bias": False}),
    "MultiFactorizedReadout": ("factorized", _FACTORIZED, {"bias": False}),
    "LNPReadout": ("lnp", _LNP, {}),
    "MultipleLNPReadout": ("lnp", _LNP, {}),
    "SingleCellSeparatedLNP": ("separable_lnp", _SEPARABLE_LNP, {}),
    "SpatialContrastReadout": ("spatial_contrast", _SPATIAL_CONTRAST, _UNCLIPPED),
    "MultiSpatialContrastReadout": ("spatial_contrast", _SPATIAL_CONTRAST, _UNCLIPPED),
    "SpatialContrastCoreReadout": ("spatial_contrast", _SPATIAL_CONTRAST, _UNCLIPPED),
    "SingleCellSpatialContrast": (
        "spatial_contrast",
        _SPATIAL_CONTRAST,
        {**_UNCLIPPED, "variance_floor": 0.0, "init_a": 1.0, "init_c": 0.0},
    ),
    "MultiSampledGaussianReadout": ("point_gaussian", _POINT_GAUSSIAN, {}),
}
_SMOOTHNESS = {"LaplaceL2norm": "laplace", "GaussianLaplaceL2": "gaussian_laplace"}


def make_readout(path: str, kwargs: Mapping[str, Any], in_shape: tuple[int, ...], n_neurons: int, **more: Any) -> Any:
    """Our counterpart of the reference's class.

    Args:
        path: dotted name of the class; an unknown one fails.
        kwargs: its arguments; an unknown one fails.
        in_shape: (feature, height, width) of the maps.
        n_neurons: rows of the table.
        more: options of ours.
    """
    kind, names, options = _KINDS[path.rsplit(".", 1)[1]]
    options = {"kind": kind, **options, **more}
    for name, value in kwargs.items():
        ours = {**_COMMON, **names}[name]
        if ours == "smoothness":
            value = _SMOOTHNESS[value]
        elif name == "nonlinearity_function":
            value = value.rsplit(".", 1)[-1]
        if ours is not None:
            options[ours] = value
    channels, height, width = in_shape
    given = {"in_shape": (height, width, channels), "n_neurons": n_neurons, "rngs": nnx.Rngs(0)}
    return READOUTS.make(options, given)
