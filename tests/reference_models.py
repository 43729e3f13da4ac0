"""Our core + readout models from the arguments and parameters of the reference's, for tests against frozen numbers."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.data.dataset import DataInfo
from openretina_jax.models.core_readout import CoreReadout, output_shape
from tests import torch_names
from tests.reference_cores import core_arrays, make_core
from tests.reference_readouts import make_readout


def make_core_readout(kwargs: Mapping[str, Any]) -> CoreReadout:
    """Our counterpart of the reference's UnifiedCoreReadout; readouts of all sessions are one table."""
    channels, _, height, width = kwargs["in_shape"]
    sessions = kwargs["n_neurons_dict"]
    core_options = {name: value for name, value in kwargs["core"].items() if not name.startswith("_")}
    readout_options = {name: value for name, value in kwargs["readout"].items() if not name.startswith("_")}
    hidden = kwargs.get("hidden_channels", ())
    core = make_core(kwargs["core"]["_target_"], core_options, (channels, *hidden))
    _, map_height, map_width, features = output_shape(core, (height, width, channels))
    readout = make_readout(
        kwargs["readout"]["_target_"],
        readout_options,
        (features, map_height, map_width),
        sum(sessions.values()),
        **({"session_sizes": tuple(sessions.values())} if "Sampled" in kwargs["readout"]["_target_"] else {}),
    )
    return CoreReadout(core, readout, {}, make_info(sessions, (height, width, channels)))


def make_info(sessions: Mapping[str, int], input_shape: tuple[int, int, int]) -> DataInfo:
    """Facts of data that nobody knows more of."""
    return DataInfo(
        sessions=sessions,
        mean_activity={name: [0.0] * count for name, count in sessions.items()},
        input_shape=input_shape,
        frame_rate_hz=30.0,
        pixel_size_um=None,
        norm_mean=None,
        norm_std=None,
        neurons={},
        source={},
    )


def model_arrays(arrays: Mapping[str, np.ndarray], sessions: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The reference's parameters of a core + readout model with the readouts of all sessions as one table."""
    ours = _core(arrays)
    rows = {
        session: torch_names.translated(
            {n.removeprefix(f"readout.{session}."): v for n, v in arrays.items() if n.startswith(f"readout.{session}.")}
        )
        for session in sessions
    }
    for name in next(iter(rows.values())):
        ours[f"readout.{name}"] = np.concatenate([rows[session][name] for session in sessions])
    return ours


def core_variables(arrays: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of the reference's core by our names and in the shapes of our variables."""
    return torch_names.fit_kernels(_core(arrays), variables)


def load(model: nnx.Module, values: Mapping[str, np.ndarray]) -> None:
    """Give a model the values; fails unless every variable is given once, in its shape."""
    variables = dict(torch_names.paths(model))
    values = torch_names.fit_kernels(dict(values), variables)
    # only our separable convolutions have a speed: the others store the reference's number and never use it
    values = {name: value for name, value in values.items() if name in variables or not name.endswith("log_speed")}
    assert set(variables) == set(values), set(variables) ^ set(values)
    state = []
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        value = values[".".join(map(str, path))]
        assert value.shape == variable.shape, (path, value.shape, variable.shape)
        state.append((path, variable.replace(jnp.asarray(value))))
    nnx.update(model, nnx.from_flat_state(state))


def _core(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    core = core_arrays({n.removeprefix("core."): v for n, v in arrays.items() if n.startswith("core.")})
    return {f"core.{name}": value for name, value in torch_names.translated(core).items()}
