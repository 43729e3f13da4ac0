"""Our options in the words of the reference, for a measurement of the same work."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import resolve_padding
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.registry import Registry, signature, tuples

Options = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """The class of the reference that does the work of one of ours.

    Attributes:
        path: its dotted name.
        names: its names of our options that it shares.
        fixed: options that it does not have, and the value of ours that stands for what it does.
        others: options that need more than another name, or make no difference to the work.
    """

    path: str
    names: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: tuple[str, ...] = ()


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_STACK = _same(
    "temporal_kernel_sizes", "spatial_kernel_sizes", "gamma_input", "gamma_temporal", "gamma_hidden", "gamma_in_sparse"
)
_CORES = {
    "simple": Counterpart(
        "openretina.modules.core.base_core.SimpleCoreWrapper",
        _STACK
        | _same("input_padding", "hidden_padding", "dropout_rate")
        | {
            "convolution": "convolution_type",
            "pool_every": "maxpool_every_n_layers",
            "downsample_input": "downsample_input_kernel_size",
            "color_weights": "color_squashing_weights",
            "cut_first_frames": "cut_first_n_frames",
        },
        {"adapt_speed": False, "nonlinearity": "elu"},
        ("hidden_channels", "lowering"),
    ),
    "gru": Counterpart(
        "openretina.modules.core.gru_core.ConvGRUCore",
        _STACK
        | _same("bias", "batch_norm", "batch_norm_scale", "batch_norm_momentum", "laplace_padding")
        | {"average_penalty": "use_avg_reg", "projection": "use_projections"},
        {
            "convolution": "custom_separable",  # it forgets the penalties of the others
            "nonlinearity": "elu",
            "dropout_rate": 0.0,
            "pool_every": None,
            "downsample_input": None,
            "color_weights": None,
            "cut_first_frames": 0,
            "adapt_speed": False,
            "condition_size": None,
            "gamma_recurrent": 0.0,
        },
        (
            "hidden_channels",
            "lowering",
            "input_padding",
            "hidden_padding",
            "recurrent_channels",
            "input_kernel",
            "recurrent_kernel",
            "groups",
            "pad_input",
        ),
    ),
    "identity": Counterpart(
        "openretina.modules.core.base_core.DummyCore",
        {"cut_first_frames": "cut_first_n_frames"},
        {"color_weights": None},
    ),
}
_READOUTS = {
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
    ),
    "lnp": Counterpart(
        "openretina.modules.readout.multi_readout.MultipleLNPReadout",
        _same("nonlinearity", "bias", "laplace_padding")
        | {"gamma_smooth": "smooth_weight", "gamma_sparse": "sparse_weight"},
        others=("smoothness",),
    ),
}
_SMOOTHNESS = {"laplace": "LaplaceL2norm", "gaussian_laplace": "GaussianLaplaceL2"}


def translate(settings: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """What ``reference`` builds: ``core`` and ``readout`` (dotted name of the class, arguments), and ``optimizer``.

    Args:
        settings: of a configuration, with the chosen kinds alone.
        channels: of the stimulus.

    Raises:
        UserError: the reference does not do what the settings say.
    """
    for name, value, only in (
        ("objective.loss.kind", settings["objective"]["loss"]["kind"], "poisson"),
        ("optimizer.kind", settings["optimizer"]["kind"], "adamw"),
        ("train.compute_dtype", settings["train"]["compute_dtype"], "float32"),
    ):
        if value != only:
            raise UserError(f'openretina is measured with {name} "{only}", not with "{value}"')
    return {**translate_model(settings["model"], channels), "optimizer": translate_adamw(settings["optimizer"])}


def translate_model(model: Mapping[str, Any], channels: int) -> dict[str, tuple[str, Options]]:
    """Dotted name of the class, and its arguments, of the core and of the readout.

    Args:
        model: options of the model, see ``make_core_readout``.
        channels: of the stimulus.

    Raises:
        UserError: the reference has no such core or readout, or cannot do what an option says.
    """
    core, options, arguments = _translate(model["core"], CORES, _CORES)
    if "hidden_channels" in options:
        seen = channels if options["color_weights"] is None else 1
        arguments["channels"] = (seen, *options["hidden_channels"])
    if core is _CORES["gru"]:
        arguments |= _gru_paddings(options) | _gru_cell(options)
    readout, options, more = _translate(model["readout"], READOUTS, _READOUTS)
    if readout is _READOUTS["factorized"]:
        more["init_scales"] = (options["init_mask"], options["init_features"])
    if readout is _READOUTS["lnp"]:
        more["smooth_regularizer"] = _SMOOTHNESS[options["smoothness"]]
    return {"core": (core.path, arguments), "readout": (readout.path, more)}


def translate_adamw(optimizer: Mapping[str, Any]) -> Options:
    """Arguments of torch's AdamW."""
    options = {"b1": 0.9, "b2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01, **optimizer}
    return {
        "lr": options["learning_rate"],
        "betas": (options["b1"], options["b2"]),
        "eps": options["epsilon"],
        "weight_decay": options["weight_decay"],
    }


def _translate(
    given: Mapping[str, Any], registry: Registry, counterparts: Mapping[str, Counterpart]
) -> tuple[Counterpart, Options, Options]:
    """The counterpart, all our options with their defaults, and its arguments that have another name."""
    kind = given["kind"]
    cls = registry[kind]
    if kind not in counterparts:
        raise UserError(f'openretina is not measured with {registry.part} "{kind}"; choose {", ".join(counterparts)}')
    counterpart = counterparts[kind]
    unsaid = given.keys() - {"kind", *counterpart.names, *counterpart.fixed, *counterpart.others}
    if unsaid:
        raise UserError(
            f'openretina does not have {", ".join(sorted(unsaid))} of {registry.part} "{kind}"; take the default'
        )
    defaults = {name: parameter.default for name, parameter in signature(cls)[0].items()}
    options = {name: tuples(value) for name, value in {**defaults, **given}.items()}
    for name, value in counterpart.fixed.items():
        if options[name] != value:
            raise UserError(
                f'openretina does not have {registry.part} "{kind}" with {name} {options[name]!r}; set it to {value!r}'
            )
    return counterpart, options, {theirs: options[ours] for ours, theirs in counterpart.names.items()}


def _gru_paddings(options: Options) -> Options:
    """The reference pads by half a kernel, or not; the second layer never, a later one as the layer before wants."""
    kernels = [
        (frames, pixels, pixels)
        for frames, pixels in zip(options["temporal_kernel_sizes"], options["spatial_kernel_sizes"], strict=True)
    ]
    half = [(0, pixels // 2, pixels // 2) for _, pixels, _ in kernels]
    hidden = options["hidden_padding"]
    if not isinstance(hidden, tuple) or all(type(entry) is int for entry in hidden):
        hidden = (hidden,) * (len(kernels) - 1)
    return {
        "input_padding": _padding_flag("input_padding", (options["input_padding"],), kernels[:1], half[:1]),
        "hidden_padding": _padding_flag("hidden_padding", hidden, kernels[1:], [(0, 0, 0), *half[1:-1]]),
    }


def _padding_flag(
    name: str, ours: Sequence[Any], kernels: Sequence[tuple[int, int, int]], padded: Sequence[tuple[int, int, int]]
) -> bool:
    """Whether all layers are padded as they are when the reference's flag is set, or none.

    Raises:
        UserError: neither.
    """
    layers = range(len(kernels))
    wanted = [resolve_padding(ours[n], kernels[n]) for n in layers]
    for flag, paddings in ((False, [(0, 0, 0)] * len(kernels)), (True, padded)):
        if wanted == [resolve_padding(paddings[n], kernels[n]) for n in layers]:
            return flag
    raise UserError(
        f"openretina's GRU core cannot pad as {name} {tuple(ours)} says; set it to 0, "
        f"or layer by layer to {tuple(padded)}"
    )


def _gru_cell(options: Options) -> Options:
    if options["recurrent_channels"] is None:
        return {"use_gru": False}
    cell = {
        "rec_channels": options["recurrent_channels"],
        "input_kern": options["input_kernel"],
        "rec_kern": options["recurrent_kernel"],
        "groups": options["groups"],
        "pad_input": options["pad_input"],
    }
    return {"use_gru": True, "gru_kwargs": cell}
