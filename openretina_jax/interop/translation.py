"""Our options in the words of openretina."""

from collections.abc import Mapping, Sequence
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.interop.counterparts import (
    CORE_COUNTERPARTS,
    GRU_NAMES,
    READOUT_COUNTERPARTS,
    SMOOTHNESS,
    Counterpart,
)
from openretina_jax.modules.convolutions import resolve_padding
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.runtime.registry import Registry, signature, tuples

Options = dict[str, Any]
# names of nonlinearities in torch.nn
NONLINEARITIES = {
    "elu": "ELU",
    "relu": "ReLU",
    "softplus": "Softplus",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "identity": "Identity",
}


def translate_model(model: Mapping[str, Any], channels: int) -> dict[str, tuple[str, Options]]:
    """Dotted name of the class, and its arguments, of the core and of the readout.

    Args:
        model: options of the model, see ``make_core_readout``.
        channels: of the stimulus.

    Raises:
        UserError: openretina has no such core or readout, or cannot do what an option says.
    """
    core, options, arguments = _translate(model["core"], CORES, CORE_COUNTERPARTS)
    path = core.path
    if "hidden_channels" in options:
        seen = channels if options["color_weights"] is None else 1
        arguments["channels"] = (seen, *options["hidden_channels"])
    if core is CORE_COUNTERPARTS["gru"]:
        arguments |= _gru_paddings(options) | _gru_cell(options) | _nonlinearity(options)
        if options["condition_size"] is not None:
            path = path.replace("ConvGRUCore", "ConditionedGRUCore")
            arguments["cond_dim"] = options["condition_size"]
    readout, options, more = _translate(model["readout"], READOUTS, READOUT_COUNTERPARTS)
    if readout is READOUT_COUNTERPARTS["factorized"]:
        more["init_scales"] = (options["init_mask"], options["init_features"])
    if readout is READOUT_COUNTERPARTS["lnp"]:
        more["smooth_regularizer"] = SMOOTHNESS[options["smoothness"]]
    return {"core": (path, arguments), "readout": (readout.path, more)}


def _translate(
    given: Mapping[str, Any], registry: Registry, counterparts: Mapping[str, Counterpart]
) -> tuple[Counterpart, Options, Options]:
    """The counterpart, all our options with their defaults, and its arguments that have another name."""
    kind = given["kind"]
    cls = registry[kind]
    if kind not in counterparts:
        raise UserError(f'openretina has no {registry.part} "{kind}"; it has {", ".join(counterparts)}')
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
    """openretina pads by half a kernel, or not; the second layer never, a later one as the layer before wants."""
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
    return {"use_gru": True, "gru_kwargs": {theirs: options[ours] for ours, theirs in GRU_NAMES.items()}}


def _nonlinearity(options: Options) -> Options:
    """openretina's GRU core has one nonlinearity for all layers, or for all but the first and the last.

    Raises:
        UserError: the layers differ in another way, or torch calls the nonlinearity by a name that is not known here.
    """
    given = options["nonlinearity"]
    layers = (given,) if isinstance(given, str) else given
    without_ends = len(layers) > 2 and layers[0] == layers[-1] == "identity"
    names = set(layers[1:-1] if without_ends else layers)
    if len(names) != 1 or not names <= NONLINEARITIES.keys():
        raise UserError(
            f'openretina does not have core "gru" with nonlinearity {given!r}; take one of '
            f"{', '.join(NONLINEARITIES)} for all layers"
        )
    return {"nonlinearity": NONLINEARITIES[names.pop()], "final_nonlinearity": not without_ends}
