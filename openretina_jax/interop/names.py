"""openretina's classes and arguments ("theirs") beside our kinds and options ("ours").

The tables say only what differs. An option of ours that its entry does not mention has the same name and meaning in
openretina.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from openretina_jax.errors import UserError, nearest
from openretina_jax.modules.convolutions import resolve_padding
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.runtime.registry import Registry, signature, tuples

Options = dict[str, Any]


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
    *("mean_activity", "rf_location", "conditions", "rngs"),
)
_FROM_DATA = (
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
        ours_only=("init_mask", "init_features"),
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
        ours_only=("position_map",),
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
        ours_only=("temporal_frames",),
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
        fixed={"nonnegative": "a", "variance_floor": 1e-6, "patch": None},
        ours_only=("temporal_frames",),
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
        fixed={"nonnegative": "w", "variance_floor": 0.0},
        defaults={"init_a": 1.0, "init_c": 0.0},
        ours_only=("temporal_frames", "neurons_per_chunk"),
        theirs_only=("temporal_crop_frames", "rf_location"),
    ),
)

# values that have other names: theirs for each of ours
_SMOOTHNESS = {"laplace": "LaplaceL2norm", "gaussian_laplace": "GaussianLaplaceL2"}
_NONLINEARITIES = {name.lower(): name for name in ("ELU", "ReLU", "Softplus", "Tanh", "Sigmoid", "Identity")}
_NO_TEMPORAL_KERNELS = ("full", "time_independent")


def core_to_ours(cls: str, arguments: Mapping[str, Any], channels: Sequence[int]) -> Options:
    """Our options for a core of openretina.

    Args:
        cls: name of its class; it may be dotted.
        arguments: of its constructor.
        channels: of the stimulus and of every layer; only the first for a core without layers.

    Raises:
        UserError: the class or an argument is unknown.
    """
    if not arguments.get("use_gru"):
        arguments = {name: value for name, value in arguments.items() if name != "gru_kwargs"}
    options = _to_ours(CORES, CORE_NAMES, cls, arguments)
    if options["kind"] == "identity":
        return options | {"cut_first_frames": options.get("cut_first_frames") or 0}
    options["hidden_channels"] = list(channels[1:])
    if options["kind"] == "gru":
        options |= _gru_to_ours(arguments, options["spatial_kernel_sizes"], len(channels) - 1)
        # conditions act on batch normalisation; openretina ignores them where there is none
        if cls.endswith("ConditionedGRUCore") and arguments.get("batch_norm", True):
            options["condition_size"] = arguments["cond_dim"]
    if options.get("convolution") in _NO_TEMPORAL_KERNELS:
        options["gamma_temporal"] = 0.0
    return options


def readout_to_ours(cls: str, arguments: Mapping[str, Any]) -> Options:
    """Our options for a readout of openretina, or for a model of openretina that is a readout alone.

    Args:
        cls: name of its class; it may be dotted.
        arguments: of its constructor.

    Raises:
        UserError: the class, an argument or a regulariser is unknown.
    """
    options = _to_ours(READOUTS, READOUT_NAMES, cls, arguments)
    if arguments.get("init_scales") is not None:
        options["init_mask"], options["init_features"] = arguments["init_scales"]
    if "nonlinearity_function" in arguments:
        options["nonlinearity"] = str(arguments["nonlinearity_function"]).rsplit(".", 1)[-1]
    if "smoothness" in options:
        ours = {theirs: name for name, theirs in _SMOOTHNESS.items()}
        theirs = options.pop("smoothness")
        if theirs is not None and theirs not in ours:
            raise _unknown("regulariser", theirs, ours)
        options |= {} if theirs is None else {"smoothness": ours[theirs]}
    return options


def model_to_theirs(model: Mapping[str, Any], channels: int) -> dict[str, tuple[str, Options]]:
    """Dotted name and arguments of openretina's class, for the core and for the readout of a model.

    Args:
        model: options of the model, see ``make_core_readout``.
        channels: of the stimulus.

    Raises:
        UserError: openretina has no such core or readout, or lacks what an option asks for.
    """
    core, options, arguments = _to_theirs(CORES, CORE_NAMES, model["core"])
    path = core.theirs
    if "hidden_channels" in options:
        seen = channels if options["color_weights"] is None else 1
        arguments["channels"] = (seen, *options["hidden_channels"])
    if core.kind == "gru":
        arguments |= _paddings_to_theirs(options) | _nonlinearity_to_theirs(options["nonlinearity"])
        arguments["use_gru"] = options["recurrent_channels"] is not None
        if not arguments["use_gru"]:
            del arguments["gru_kwargs"]
        if options["condition_size"] is not None:
            path = path.replace("ConvGRUCore", "ConditionedGRUCore")
            arguments["cond_dim"] = options["condition_size"]
    readout, options, more = _to_theirs(READOUTS, READOUT_NAMES, model["readout"])
    if readout.kind == "factorized":
        more["init_scales"] = (options["init_mask"], options["init_features"])
    if "smoothness" in options:
        more[readout.renamed["smoothness"]] = _SMOOTHNESS[options["smoothness"]]
    return {"core": (path, arguments), "readout": (readout.theirs, more)}


def refuse_unknown(cls: str, unknown: Iterable[str]) -> None:
    """Refuse arguments, if there are any, that only a newer or changed openretina has."""
    if strangers := sorted(unknown):
        raise UserError(
            f"{cls} has the arguments {', '.join(strangers)}, which are not known here; the model was made by a newer "
            "or changed openretina"
        )


def _to_ours(registry: Registry, table: Sequence[Names], cls: str, arguments: Mapping[str, Any]) -> Options:
    """Our kind, and our options for their arguments that differ in the name at most."""
    by_class = {name: names for names in table for name in (names.theirs.rsplit(".", 1)[-1], *names.aliases)}
    cls = cls.rsplit(".", 1)[-1]
    if cls not in by_class:
        raise _unknown(registry.part, cls, by_class)
    names = by_class[cls]
    ours = {theirs: option for option, theirs in names.arguments(registry).items()}
    said = {name: value for name, value in arguments.items() if not name.startswith("_") and name not in _FROM_DATA}
    flat = flatten_dict(said, sep=".")
    refuse_unknown(cls, (name for name in flat.keys() - ours if name.partition(".")[0] not in names.theirs_only))
    renamed = {ours[name]: value for name, value in flat.items() if name in ours}
    return {"kind": names.kind, **names.fixed, **names.defaults, **renamed}


def _to_theirs(registry: Registry, table: Sequence[Names], given: Mapping[str, Any]) -> tuple[Names, Options, Options]:
    """The entry of a kind, all our options with their defaults, and the arguments that differ in the name at most."""
    kind, part = given["kind"], registry.part
    parameters = signature(registry[kind])[0]
    names = next((names for names in table if names.kind == kind), None)
    if names is None:
        kinds = dict.fromkeys(names.kind for names in table)
        raise UserError(f'openretina has no {part} "{kind}"; it has {", ".join(kinds)}')
    same_or_renamed = names.arguments(registry)
    unknown = given.keys() - {"kind", *same_or_renamed, *names.fixed, *names.ours_only}
    if unknown:
        raise UserError(f'openretina does not have {", ".join(sorted(unknown))} of {part} "{kind}"; take the default')
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    options = {name: tuples(value) for name, value in {**defaults, **given}.items()}
    for name, value in names.fixed.items():
        if options[name] != value:
            raise UserError(
                f'openretina does not have {part} "{kind}" with {name} {options[name]!r}; set it to {value!r}'
            )
    arguments = {theirs: options[ours] for ours, theirs in same_or_renamed.items()}
    return names, options, unflatten_dict(arguments, sep=".")


def _unknown(part: str, name: str, known: Iterable[str]) -> UserError:
    return UserError(f"the {part} {name} of openretina has no counterpart here; {nearest(name, sorted(known))}")


def _gru_to_ours(arguments: Mapping[str, Any], spatial_kernel_sizes: Sequence[int], layers: int) -> Options:
    """Paddings, nonlinearities and the recurrent unit of openretina's GRU core."""
    half = [size // 2 for size in spatial_kernel_sizes]
    # the second layer is never padded, each later one by half the kernel of the layer before
    hidden = [[0, half[n - 1] if n > 1 else 0, half[n - 1] if n > 1 else 0] for n in range(1, layers)]
    name = arguments.get("nonlinearity", "ELU").lower()
    final = arguments.get("final_nonlinearity", True)
    return {
        "input_padding": [0, half[0], half[0]] if arguments.get("input_padding") else 0,
        "hidden_padding": hidden if arguments.get("hidden_padding", True) else 0,
        # without a final nonlinearity the first layer has none either
        "nonlinearity": [name if final or 0 < n < layers - 1 else "identity" for n in range(layers)],
    }


def _paddings_to_theirs(options: Options) -> Options:
    """The two flags of openretina's GRU core, each of which pads all its layers or none."""
    pixels = options["spatial_kernel_sizes"]
    kernels = [(frames, size, size) for frames, size in zip(options["temporal_kernel_sizes"], pixels, strict=True)]
    flags: Options = {}
    for name, padded in (("input_padding", kernels[:1]), ("hidden_padding", kernels[1:])):
        ours = {flag: tuples(_gru_to_ours({name: flag}, pixels, len(kernels))[name]) for flag in (False, True)}
        wanted = _resolved(options[name], padded)
        flags[name] = next((flag for flag in ours if _resolved(ours[flag], padded) == wanted), None)
        if flags[name] is None:
            raise UserError(
                f"openretina's GRU core cannot pad as {name} {options[name]} says; set it to 0, or layer by layer to "
                f"{ours[True]}"
            )
    return flags


def _resolved(padding: Any, kernels: Sequence[tuple[int, int, int]]) -> list[Any]:
    """Frames and pixels around every layer, from one padding for all or one for each."""
    if not isinstance(padding, tuple) or all(type(entry) is int for entry in padding):
        padding = (padding,) * len(kernels)
    return [resolve_padding(*one) for one in zip(padding, kernels, strict=True)]


def _nonlinearity_to_theirs(given: str | tuple[str, ...]) -> Options:
    """openretina's GRU core has one nonlinearity, for all layers or for all but the first and the last."""
    layers = (given,) if isinstance(given, str) else given
    without_ends = len(layers) > 2 and layers[0] == layers[-1] == "identity"
    names = set(layers[1:-1] if without_ends else layers)
    if len(names) != 1 or not names <= _NONLINEARITIES.keys():
        raise UserError(
            f'openretina does not have core "gru" with nonlinearity {given!r}; take one of '
            f"{', '.join(_NONLINEARITIES)} for all layers"
        )
    return {"nonlinearity": _NONLINEARITIES[names.pop()], "final_nonlinearity": not without_ends}
