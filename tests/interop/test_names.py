"""Our options by openretina's names, both ways."""

from typing import Any

import pytest

from openretina_jax.errors import UserError
from openretina_jax.interop.names import CORE_NAMES, READOUT_NAMES
from openretina_jax.interop.translation import core_to_ours, model_to_theirs, readout_to_ours
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS

# no entry of a table says these: a new option of ours must be here, or in its entry
STACK = {
    *("temporal_kernel_sizes", "spatial_kernel_sizes"),
    *("gamma_input", "gamma_temporal", "gamma_hidden", "gamma_in_sparse"),
}
SAME = {
    "SimpleCoreWrapper": STACK | {"input_padding", "hidden_padding", "dropout_rate"},
    "ConvGRUCore": STACK | {"bias", "batch_norm", "batch_norm_scale", "batch_norm_momentum", "laplace_padding"},
    "DummyCore": set(),
    "MultiGaussianMaskReadout": {"positive", "scale", "bias"},
    "MultiFactorizedReadout": {"mask_constraint"},
    "MultiSampledGaussianReadout": {"align_corners", "bias", "gamma"},
    "MultipleLNPReadout": {"nonlinearity", "bias", "laplace_padding"},
    "SingleCellSeparatedLNP": {"rank", "nonlinearity", "laplace_padding"},
    "SpatialContrastCoreReadout": {"flip_sta", "sigma_contour"},
    "SingleCellSpatialContrast": {"flip_sta", "sigma_contour"},
}


def test_options_of_the_same_name() -> None:
    found = {}
    for registry, table in ((CORES, CORE_NAMES), (READOUTS, READOUT_NAMES)):
        for names in table:
            arguments = names.arguments(registry)
            assert set(names.renamed) | set(SAME[names.theirs.rsplit(".", 1)[-1]]) == set(arguments)
            found[names.theirs.rsplit(".", 1)[-1]] = {ours for ours, theirs in arguments.items() if ours == theirs}
    assert found == SAME


GRU: dict[str, Any] = {
    "kind": "gru",
    "hidden_channels": [4, 3, 3],
    "temporal_kernel_sizes": [6, 3, 3],
    "spatial_kernel_sizes": [3, 5, 3],
    "hidden_padding": [[0, 0, 0], [0, 2, 2]],
    "input_padding": [0, 1, 1],
    "nonlinearity": ["identity", "relu", "identity"],
    "recurrent_channels": 4,
    "groups": 2,
    "condition_size": 2,
}


@pytest.mark.parametrize("changes", [{}, {"recurrent_channels": None, "groups": 1}, {"nonlinearity": "elu"}])
def test_gru_core_there_and_back(changes: dict[str, Any]) -> None:
    given = GRU | changes
    theirs = model_to_theirs({"core": given, "readout": {"kind": "lnp"}}, channels=2)
    path, arguments = theirs["core"]
    assert path.endswith(".ConditionedGRUCore")
    assert ("gru_kwargs" in arguments) == arguments["use_gru"] == (given["recurrent_channels"] is not None)
    ours = core_to_ours(path, arguments, arguments["channels"])
    again = model_to_theirs({"core": ours, "readout": {"kind": "lnp"}}, channels=2)
    assert again["core"] == theirs["core"]


def test_gru_core_takes_its_layers_of_more_kernels() -> None:
    """openretina's own configuration has two layers, and kernels for three, of which it does not read the last."""
    published = {"temporal_kernel_sizes": [21, 11, 11], "spatial_kernel_sizes": [11, 5, 5], "hidden_padding": True}
    read = {"temporal_kernel_sizes": [21, 11], "spatial_kernel_sizes": [11, 5], "hidden_padding": True}
    found, expected = (core_to_ours("ConvGRUCore", arguments, [2, 32, 64]) for arguments in (published, read))
    assert found == expected
    one = core_to_ours("ConvGRUCore", {"temporal_kernel_sizes": 9, "spatial_kernel_sizes": 7}, [1, 4, 4])
    assert (one["temporal_kernel_sizes"], one["spatial_kernel_sizes"]) == ([9, 9], [7, 7])


@pytest.mark.parametrize(
    ("cls", "theirs", "ours"),
    [
        (
            "a.b.LNPReadout",
            {"smooth_regularizer": "GaussianLaplaceL2"},
            {"kind": "lnp", "smoothness": "gaussian_laplace"},
        ),
        ("LNPReadout", {"smooth_regularizer": None}, {"kind": "lnp"}),
        (
            "SingleCellSeparatedLNP",
            {"smooth_regularizer_spat": "LaplaceL2norm", "fit_gaussian": True},
            {"kind": "separable_lnp", "smoothness": "laplace", "bias": False},
        ),
        (
            "FactorizedReadout",
            {"init_scales": [[0.0, 0.1], [0.0, 0.2]], "_target_": "a.b", "in_shape": (1, 2)},
            {"kind": "factorized", "bias": False, "init_mask": [0.0, 0.1], "init_features": [0.0, 0.2]},
        ),
        (
            "SingleCellSpatialContrast",
            {"w_init": 0.3, "spat_crop_size": (7, 5)},
            {"kind": "spatial_contrast", "nonnegative": "w", "variance_floor": 0.0, "init_a": 1.0, "init_c": 0.0}
            | {"init_w": 0.3, "patch": (7, 5), "filters": "given"},
        ),
    ],
)
def test_readouts(cls: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert readout_to_ours(cls, theirs) == ours


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            {"smooth_regularizer": "LaplaceL1"},
            "the regulariser LaplaceL1 of openretina has no counterpart here; did you",
        ),
        ({"speed": {"of": 1}}, "LNPReadout has the arguments speed.of, which are not known here"),
    ],
)
def test_what_is_not_known(theirs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        readout_to_ours("LNPReadout", theirs)
