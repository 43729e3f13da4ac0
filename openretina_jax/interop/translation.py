"""Translation of openretina's classes and arguments ("theirs") into our kinds and options ("ours"), and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from openretina_jax.errors import UserError, nearest
from openretina_jax.interop.names import CORE_NAMES, FROM_DATA, READOUT_NAMES, Names
from openretina_jax.modules.convolutions import resolve_padding
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.runtime.registry import Registry, signature, tuples

Options = dict[str, Any]

# values that have other names: theirs for each of ours
_SMOOTHNESS = {"laplace": "LaplaceL2norm", "gaussian_laplace": "GaussianLaplaceL2"}
_NONLINEARITIES = {name.lower(): name for name in ("ELU", "ReLU", "Softplus", "Tanh", "Sigmoid", "Identity")}
_NO_TEMPORAL_KERNELS = ("full", "time_independent")


def core_to_ours(cls: str, arguments: Mapping[str, Any], channels: Sequence[int]) -> Options:
    """Translate a core of openretina into our options.

    Args:
        cls: name of its class; it may be dotted.
        arguments: arguments of its constructor.
        channels: channels of the stimulus and of every layer; only the first for a core without layers.

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
        layers = len(channels) - 1
        for name in ("temporal_kernel_sizes", "spatial_kernel_sizes"):
            sizes = options[name]  # one for all layers, or as many or more, as in openretina's own configuration
            options[name] = list(sizes[:layers]) if isinstance(sizes, Sequence) else [sizes] * layers
        options |= _gru_to_ours(arguments, options["spatial_kernel_sizes"], layers)
        # conditions act on batch normalisation; openretina ignores them where there is none
        if cls.endswith("ConditionedGRUCore") and arguments.get("batch_norm", True):
            options["condition_size"] = arguments["cond_dim"]
    if options.get("convolution") in _NO_TEMPORAL_KERNELS:
        options["gamma_temporal"] = 0.0
    return options


def readout_to_ours(cls: str, arguments: Mapping[str, Any]) -> Options:
    """Translate a readout of openretina, or a model of openretina that is a readout alone, into our options.

    Args:
        cls: name of its class; it may be dotted.
        arguments: arguments of its constructor.

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
    """Translate the core and the readout of a model, each into the dotted name and the arguments of openretina's class.

    Args:
        model: options of the model, see ``make_core_readout``.
        channels: channels of the stimulus.

    Raises:
        UserError: openretina has no such core or readout, or lacks what an option asks for.
    """
    if "shifter" in model:
        raise UserError("openretina's models have no shifter; train a model without one (config.model.shifter.kind)")
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
    said = {name: value for name, value in arguments.items() if not name.startswith("_") and name not in FROM_DATA}
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
