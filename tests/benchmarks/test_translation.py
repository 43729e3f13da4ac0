"""Our options in the words of the reference, the variants that are measured, and the table of their lines."""

from typing import Any

import pytest

from benchmarks.table import table
from benchmarks.translation import translate
from benchmarks.variants import VARIANTS, chosen
from configs.hoefling_low_res import get_config
from openretina_jax.errors import UserError
from openretina_jax.experiment.recipe import resolved

CLASSES = {
    "custom_separable": ("SimpleCoreWrapper", "MultiGaussianMaskReadout"),
    "separable": ("SimpleCoreWrapper", "MultiGaussianMaskReadout"),
    "full": ("SimpleCoreWrapper", "MultiGaussianMaskReadout"),
    "time_independent": ("SimpleCoreWrapper", "MultiGaussianMaskReadout"),
    "gru": ("ConvGRUCore", "MultiGaussianMaskReadout"),
    "factorized": ("SimpleCoreWrapper", "MultiFactorizedReadout"),
    "point_gaussian": ("SimpleCoreWrapper", "MultiSampledGaussianReadout"),
    "lnp": ("DummyCore", "MultipleLNPReadout"),
}


def settings_of(variant: str, **changes: Any) -> dict[str, Any]:
    """The resolved settings of a variant, with other values for some dotted names."""
    settings = resolved(chosen(get_config().to_dict(), [variant])[variant])
    for name, value in changes.items():
        *outer, last = name.split("__")
        part = settings
        for key in outer:
            part = part[key]
        part[last] = value
    return settings


def test_every_variant_has_its_counterpart() -> None:
    settings = chosen(get_config().to_dict(), ["all"])
    assert settings.keys() == CLASSES.keys() == VARIANTS.keys() - {"configured"}
    for name, classes in CLASSES.items():
        told = translate(resolved(settings[name]), channels=2)
        assert tuple(told[part][0].rsplit(".", 1)[1] for part in ("core", "readout")) == classes


def test_variants_leave_the_configuration_as_it_is() -> None:
    settings = get_config().to_dict()
    assert chosen(settings, ["full"])["full"]["model"]["core"]["simple"]["convolution"] == "full"
    assert settings == get_config().to_dict()


def test_simple_core() -> None:
    _, arguments = translate(settings_of("custom_separable"), channels=2)["core"]
    assert arguments["channels"] == (2, 16, 16)
    assert arguments["convolution_type"] == "custom_separable"
    assert arguments["hidden_padding"] == (0, 2, 2)
    assert arguments["cut_first_n_frames"] == 0
    assert "lowering" not in arguments


def test_defaults_of_ours_are_said_in_full() -> None:
    core = {"kind": "simple", "hidden_channels": [3], "temporal_kernel_sizes": [3], "spatial_kernel_sizes": [3]}
    _, arguments = translate(settings_of("custom_separable", model__core=core), channels=1)["core"]
    assert arguments["channels"] == (1, 3)
    assert (arguments["gamma_temporal"], arguments["maxpool_every_n_layers"]) == (0.0, None)


def test_gru_core() -> None:
    _, arguments = translate(settings_of("gru"), channels=2)["core"]
    assert (arguments["input_padding"], arguments["hidden_padding"]) == (False, False)
    cell = {"rec_channels": 32, "input_kern": 3, "rec_kern": 3, "groups": 1, "pad_input": True}
    assert (arguments["use_gru"], arguments["gru_kwargs"], arguments["use_projections"]) == (True, cell, True)
    _, arguments = translate(settings_of("gru", model__core__recurrent_channels=None), channels=2)["core"]
    assert arguments["use_gru"] is False


def test_padding_of_the_gru_core() -> None:
    three = {
        "model__core__hidden_channels": [4, 4, 4],
        "model__core__temporal_kernel_sizes": [3, 3, 3],
        "model__core__spatial_kernel_sizes": [7, 5, 3],
        "model__core__input_padding": [0, 3, 3],
        "model__core__hidden_padding": [[0, 0, 0], [0, 2, 2]],
    }
    _, arguments = translate(settings_of("gru", **three), channels=2)["core"]
    assert (arguments["input_padding"], arguments["hidden_padding"]) == (True, True)


def test_readouts() -> None:
    _, factorized = translate(settings_of("factorized"), channels=2)["readout"]
    assert factorized["init_scales"] == ((0.0, 0.15), (0.0, 0.15))
    _, lnp = translate(settings_of("lnp"), channels=2)["readout"]
    assert (lnp["smooth_regularizer"], lnp["nonlinearity"]) == ("LaplaceL2norm", "softplus")


def test_optimizer() -> None:
    told = translate(settings_of("lnp"), channels=2)["optimizer"]
    assert told == {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        ("custom_separable", {"model__core__nonlinearity": "relu"}, "with nonlinearity 'relu'; set it to 'elu'"),
        (
            "custom_separable",
            {"model__readout": {"kind": "cloned"}},
            'openretina has no readout "cloned"; it has gauss',
        ),
        ("lnp", {"model__readout__speed": 3}, 'openretina does not have speed of readout "lnp"; take the default'),
        ("gru", {"model__core__convolution": "full"}, "with convolution 'full'; set it to 'custom_separable'"),
        ("gru", {"model__core__hidden_padding": [0, 2, 2]}, "cannot pad as hidden_padding .* layer by layer to"),
        ("gru", {"model__core__input_padding": 3}, "cannot pad as input_padding .* set it to 0, or"),
        ("lnp", {"objective__loss__kind": "correlation"}, 'objective.loss.kind "poisson", not with "correlation"'),
        ("lnp", {"optimizer__kind": "adam"}, 'optimizer.kind "adamw", not with "adam"'),
    ],
)
def test_what_the_reference_cannot_do(variant: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        translate(settings_of(variant, **changes), channels=2)


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({}, "ful", 'variant "ful" is unknown; choose among configured, custom_separable,'),
        ({"model": {"core": {}}}, "gru", "the configuration has no model.core.kind, which variant"),
    ],
)
def test_wrong_variants(settings: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(settings, [name])


def test_table() -> None:
    ours = {
        "name": "train_step",
        "variant": "full",
        "implementation": "openretina_jax",
        "lowering": None,
        "threads": 2,
        "seconds": {"median": 0.3, "min": 0.25},
        "compile_seconds": 3.14,
        "peak_memory_mb": 900.0,
        "work_memory_mb": 100.0,
    }
    reference = {**ours, "implementation": "openretina", "seconds": {"median": 0.6, "min": 0.5}, "compile_seconds": 0.6}
    ratio = {"implementation": "openretina / openretina_jax", "ratio": {"median": 2.0, "min": 2.0}}
    *_, both, alone = table([ours, reference, ratio, {**ours, "lowering": "dense"}]).splitlines()
    assert (
        both
        == "| full | train step | 2 | 0.5 s | 0.25 s | 2.00 | 0.6 s / 3.1 s | 0.90 GB / 0.90 GB | 0.10 GB / 0.10 GB |"
    )
    assert alone == "| full, dense | train step | 2 |  | 0.25 s |  | 3.1 s | 0.90 GB | 0.10 GB |"
