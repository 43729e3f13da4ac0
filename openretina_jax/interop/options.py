"""Arguments of openretina's cores and readouts as our options."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openretina_jax.errors import UserError, nearest
from openretina_jax.interop.counterparts import (
    CORE_CLASSES,
    CORE_COUNTERPARTS,
    GRU_NAMES,
    NO_TEMPORAL_KERNELS,
    READOUT_CLASSES,
    READOUT_COUNTERPARTS,
    SMOOTHNESS,
    SPATIAL_CONTRAST_CELL,
    Counterpart,
)

Options = dict[str, Any]


def core_options(cls: str, arguments: Mapping[str, Any], channels: Sequence[int]) -> Options:
    """Our options for a core of openretina.

    Args:
        cls: dotted name of its class.
        arguments: of its constructor.
        channels: of the stimulus and of every layer; only the first for a core without layers.

    Raises:
        UserError: the class or an argument is unknown.
    """
    name = cls.rsplit(".", 1)[-1]
    if name not in CORE_CLASSES:
        raise _unknown("core", name, CORE_CLASSES)
    kind = CORE_CLASSES[name]
    options: Options = {"kind": kind} | _renamed(name, CORE_COUNTERPARTS[kind], arguments)
    if kind == "identity":
        options["cut_first_frames"] = options.get("cut_first_frames") or 0
        return options
    options["hidden_channels"] = list(channels[1:])
    if kind == "gru":
        options |= _gru_options(arguments, options, len(channels) - 1)
        if name == "ConditionedGRUCore" and arguments.get("batch_norm", True):
            # conditions act on batch normalisation; openretina ignores them where there is none
            options["condition_size"] = arguments["cond_dim"]
    if options.get("convolution") in NO_TEMPORAL_KERNELS:
        options["gamma_temporal"] = 0.0
    return options


def readout_options(cls: str, arguments: Mapping[str, Any]) -> Options:
    """Our options for a readout of openretina, or for a model that is a readout alone.

    Args:
        cls: dotted name of its class.
        arguments: of its constructor.

    Raises:
        UserError: the class, an argument or a regulariser is unknown.
    """
    name = cls.rsplit(".", 1)[-1]
    if name not in READOUT_CLASSES:
        raise _unknown("readout", name, READOUT_CLASSES)
    kind = READOUT_CLASSES[name]
    part = SPATIAL_CONTRAST_CELL if name == "SingleCellSpatialContrast" else READOUT_COUNTERPARTS[kind]
    return {"kind": kind} | _renamed(name, part, arguments) | _of_readout(kind, arguments)


def _renamed(cls: str, part: Counterpart, arguments: Mapping[str, Any]) -> Options:
    """Arguments that only have another name, and openretina's defaults where they are not ours.

    Raises:
        UserError: an argument is unknown.
    """
    ours = {theirs: name for name, theirs in part.names.items()}
    arguments = {name: value for name, value in arguments.items() if not name.startswith("_")}
    check_known(cls, arguments, {*ours, *part.without})
    return {**part.defaults, **{ours[name]: value for name, value in arguments.items() if name in ours}}


def check_known(cls: str, arguments: Iterable[str], known: Iterable[str]) -> None:
    """Refuse arguments that a newer version may have.

    Raises:
        UserError: names them.
    """
    strangers = sorted(set(arguments) - set(known))
    if strangers:
        raise UserError(
            f"{cls} has the arguments {', '.join(strangers)}, which are not known here; the model was made by a newer "
            "or changed openretina"
        )


def _unknown(part: str, name: str, known: Iterable[str]) -> UserError:
    """What to say of a class that has no counterpart."""
    return UserError(f"the {part} {name} of openretina has no counterpart here; {nearest(name, sorted(known))}")


def _gru_options(arguments: Mapping[str, Any], options: Options, layers: int) -> Options:
    """What openretina's GRU core does with its options, said in ours."""
    half = [size // 2 for size in options["spatial_kernel_sizes"]]
    # the second layer is never padded, each later one as the kernel of the layer before wants it
    hidden = [[0, half[n - 1] if n > 1 else 0, half[n - 1] if n > 1 else 0] for n in range(1, layers)]
    name = arguments.get("nonlinearity", "ELU").lower()
    final = arguments.get("final_nonlinearity", True)
    said: Options = {
        "input_padding": [0, half[0], half[0]] if arguments.get("input_padding") else 0,
        "hidden_padding": hidden if arguments.get("hidden_padding", True) else 0,
        # without a final nonlinearity the first layer has none either
        "nonlinearity": [name if final or 0 < n < layers - 1 else "identity" for n in range(layers)],
    }
    if arguments.get("use_gru"):
        cell = arguments.get("gru_kwargs") or {}
        said |= {ours: cell[theirs] for ours, theirs in GRU_NAMES.items() if theirs in cell}
    return said


def _of_readout(kind: str, arguments: Mapping[str, Any]) -> Options:
    """What needs more than another name."""
    said: Options = {}
    if arguments.get("init_scales") is not None:
        said["init_mask"], said["init_features"] = arguments["init_scales"]
    regularizer = arguments.get("smooth_regularizer_spat" if kind == "separable_lnp" else "smooth_regularizer")
    if regularizer is not None:
        ours = {theirs: ours for ours, theirs in SMOOTHNESS.items()}
        if regularizer not in ours:
            raise _unknown("regulariser", regularizer, ours)
        said["smoothness"] = ours[regularizer]
    if "nonlinearity_function" in arguments:
        said["nonlinearity"] = str(arguments["nonlinearity_function"]).rsplit(".", 1)[-1]
    return said
