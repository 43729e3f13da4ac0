"""Our cores from the arguments of the reference's, for tests against frozen numbers."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from openretina_jax.modules.cores import CORES
from tests.goldens_case import Case

_COMMON = {
    "channels": None,
    "n_neurons_dict": None,
    "temporal_kernel_sizes": "temporal_kernel_sizes",
    "spatial_kernel_sizes": "spatial_kernel_sizes",
    "gamma_input": "gamma_input",
    "gamma_temporal": "gamma_temporal",
    "gamma_hidden": "gamma_hidden",
    "gamma_in_sparse": "gamma_in_sparse",
    "convolution_type": "convolution",
}
_SIMPLE = {
    "input_padding": "input_padding",
    "hidden_padding": "hidden_padding",
    "dropout_rate": "dropout_rate",
    "maxpool_every_n_layers": "pool_every",
    "downsample_input_kernel_size": "downsample_input",
    "color_squashing_weights": "color_weights",
    "cut_first_n_frames": "cut_first_frames",
}
_GRU = {
    "cond_dim": "condition_size",
    "final_nonlinearity": None,
    "nonlinearity": None,
    "input_padding": None,
    "hidden_padding": None,
    "use_gru": None,
    "gru_kwargs": None,
    "bias": "bias",
    "batch_norm": "batch_norm",
    "batch_norm_scale": "batch_norm_scale",
    "batch_norm_momentum": "batch_norm_momentum",
    "laplace_padding": "laplace_padding",
    "use_avg_reg": "average_penalty",
    "batch_adaptation": "adapt_speed",
    "use_projections": "projection",
}
_CELL = {
    "rec_channels": "recurrent_channels",
    "input_kern": "input_kernel",
    "rec_kern": "recurrent_kernel",
    "groups": "groups",
    "pad_input": "pad_input",
    # the reference's core leaves the penalty of its GRU out of its regulariser
    "gamma_rec": None,
}
_NO_TEMPORAL_KERNELS = ("full", "time_independent")


def make_core(path: str, kwargs: Mapping[str, Any], channels: Sequence[int], **more: Any) -> Any:
    """Our counterpart of the reference's class.

    Args:
        path: dotted name of the class; an unknown one fails.
        kwargs: its arguments; an unknown one fails.
        channels: of the stimulus and of every layer.
        more: options of ours.
    """
    kind = path.rsplit(".", 1)[1]
    given = {
        "in_channels": channels[0],
        "n_sessions": len(kwargs.get("n_neurons_dict") or {"": 1}),
        "rngs": nnx.Rngs(0),
    }
    if kind == "DummyCore":
        return CORES.make({"kind": "identity", "cut_first_frames": kwargs.get("cut_first_n_frames", 0) or 0}, given)
    names = _COMMON | {"SimpleCoreWrapper": _SIMPLE, "ConvGRUCore": _GRU, "ConditionedGRUCore": _GRU}[kind]
    options = {names[name]: value for name, value in kwargs.items() if names[name] is not None}
    options |= {"hidden_channels": channels[1:]}
    if kind == "SimpleCoreWrapper":
        options = {"kind": "simple", "hidden_padding": True, "cut_first_frames": 30} | options
        if isinstance(options["hidden_padding"], list):
            options["hidden_padding"] = tuple(options["hidden_padding"])
    else:
        options = {"kind": "gru"} | options | _gru_options(kwargs, len(channels) - 1)
    return CORES.make(options | more, given)


def _gru_options(kwargs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """What the reference's GRU core does with its options, said in ours."""
    half = [size // 2 for size in kwargs["spatial_kernel_sizes"]]
    # the second layer is never padded, each later one as the kernel of the layer before wants it
    hidden = [(0, half[n - 1] if n > 1 else 0, half[n - 1] if n > 1 else 0) for n in range(1, layers)]
    name = kwargs.get("nonlinearity", "ELU").lower()
    final = kwargs.get("final_nonlinearity", True)
    convolution = kwargs.get("convolution_type", "custom_separable")
    options: dict[str, Any] = {
        "input_padding": (0, half[0], half[0]) if kwargs.get("input_padding") else 0,
        "hidden_padding": tuple(hidden) if kwargs.get("hidden_padding", True) else 0,
        # without a final nonlinearity the first layer has none either
        "nonlinearity": tuple(name if final or 0 < n < layers - 1 else "identity" for n in range(layers)),
    }
    if convolution in _NO_TEMPORAL_KERNELS:
        options["gamma_temporal"] = 0.0
    if kwargs.get("use_gru"):
        options |= {ours: kwargs["gru_kwargs"][n] for n, ours in _CELL.items() if ours and n in kwargs["gru_kwargs"]}
    if not kwargs.get("batch_norm", True):
        options["condition_size"] = None  # conditions act on batch normalisation; the reference ignores them without
    return options


def core_arrays(arrays: Mapping[str, np.ndarray], sessions: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Parameters of a core of the reference (or their gradients) under names that ``torch_names`` knows.

    The speeds of all sessions become one table, 0 where there is none; the reference lists each of them once more for
    every layer.
    """
    result = {}
    for name, value in arrays.items():
        if re.search(r"conv\.log_speed_|projection.*log_speed", name):
            continue
        name = re.sub(r"features\.projection\.0\.conv\.weight", "projection.kernel", name)
        name = re.sub(r"^features\.gru\.gru\.|^gru\.", "gru.cell." if name.startswith("features") else "cell.", name)
        name = re.sub(r"_gate_(input|hidden)\.bias", r"_\1_bias", name)
        name = re.sub(r"_gate_(input|hidden)\.weight", r"_\1", name)
        name = re.sub(r"film_(\d+)", lambda match: f"films.{_film(int(match[1]), arrays)}", name)
        result[name] = value
    speeds = [result.pop(f"log_speed_{session}", None) for session in sessions]
    if any(speed is not None for speed in speeds):
        zero = np.zeros(1, np.float32)
        result["log_speed"] = np.concatenate([zero if speed is None else speed for speed in speeds])[None]
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class CoreCase(Case):
    """A case of a core with the names of ``core_arrays``."""

    arrays: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, case: Case) -> "CoreCase":
        """The same case."""
        sessions = list(case.kwargs.get("n_neurons_dict") or ())
        arrays, tolerances = {}, {}
        for prefix in {name.rpartition("/")[0] for name in case.names}:
            own = {
                name.rpartition("/")[2]: case.array(name) for name in case.names if name.rpartition("/")[0] == prefix
            }
            atol = {name: _tolerance(case, f"{prefix}/{name}".strip("/"), value) for name, value in own.items()}
            start = f"{prefix}/" if prefix else ""
            arrays |= {start + name: value for name, value in core_arrays(own, sessions).items()}
            tolerances |= {start + name: {"atol": value.max()} for name, value in core_arrays(atol, sessions).items()}
        return cls(case.directory, {**case.entry, "arrays": tolerances}, arrays)

    def array(self, name: str) -> np.ndarray:
        """The array of that name."""
        return self.arrays[name]

    def with_array(self, name: str, value: np.ndarray) -> "CoreCase":
        """The case with an array that the reference has no counterpart of."""
        entry = {**self.entry, "arrays": {**self.entry["arrays"], name: {}}}
        return CoreCase(self.directory, entry, {**self.arrays, name: value})


def _tolerance(case: Case, name: str, value: np.ndarray) -> np.ndarray:
    return np.full(value.shape or (1,), case.entry["arrays"][name].get("atol", 1e-6), np.float64)


def _film(feature: int, arrays: Mapping[str, np.ndarray]) -> int:
    """The layer that a film belongs to; the reference counts the projection as one."""
    return feature - (feature > 1 and any("projection" in name for name in arrays))
