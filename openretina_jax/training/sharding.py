"""Distribution of a run over a mesh of devices."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from openretina_jax.data.batches import DataArrays
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import EpochWindows
from openretina_jax.errors import UserError
from openretina_jax.modules.layers import NeuronConstant, NeuronParam
from openretina_jax.runtime import devices
from openretina_jax.runtime.devices import DATA, NEURON

_log = logging.getLogger(__name__)


class Sharding:
    """Spreads a run over the devices of all processes; on one device everything stays as it is.

    Rows of readouts, their optimiser state, and columns of responses are spread along "neuron"; windows along "data".
    Movies and all other parameters are on every device. Tables whose size the devices cannot share equally get more
    rows or columns, which no batch uses; checkpoints and results are without them.

    Args:
        axes: numbers of devices along "data" and along "neuron"; -1: all that are left, see ``for_windows``.
        n_neurons: rows of the model's readout.
        available: devices to choose from (None: all).

    Raises:
        UserError: there are not so many devices, or a process would be without one.
    """

    def __init__(self, axes: Mapping[str, int], n_neurons: int, available: Sequence[jax.Device] | None = None):
        available = jax.devices() if available is None else available
        shape = mesh_shape(axes, len(available), jax.process_count(), all_of_them=not _are_cores(available))
        self.n_neurons = n_neurons
        self.mesh = None
        self._available = available if axes[DATA] == -1 and _are_cores(available) else None
        if shape != (1, 1):
            chosen = available[: shape[0] * shape[1]]
            self.mesh = jax.make_mesh(shape, (DATA, NEURON), (AxisType.Auto,) * 2, devices=chosen)
            self._whole = jax.jit(lambda state: state, out_shardings=NamedSharding(self.mesh, PartitionSpec()))

    def active(self) -> contextlib.AbstractContextManager[Any]:
        """Make a context in which compiled functions see the mesh."""
        return (
            contextlib.nullcontext() if self.mesh is None else jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)
        )

    def for_windows(self, windows: EpochWindows) -> "Sharding":
        """This distribution, of devices that can share the windows of a step.

        Of the cores of a CPU, of which the configuration wants all that are left, as many as can share are taken.

        Raises:
            UserError: the devices cannot share them, see ``check_shares``.
        """
        if self.mesh is None:
            return self
        _, timelines, each = windows.start.shape
        along_data, along_neuron = self.mesh.shape[DATA], self.mesh.shape[NEURON]
        if self._available is None or can_share(timelines, each, along_data):
            check_shares(timelines, each, along_data)
            return self
        fewer = next(n for n in range(along_data, 0, -1) if can_share(timelines, each, n))
        return Sharding({DATA: fewer, NEURON: along_neuron}, self.n_neurons, self._available)

    def state(self, state: Any) -> Any:
        """Spread the variables of a model, or a whole training state, over the devices."""
        if self.mesh is None:
            return state

        def put(value: Array, per_neuron: bool) -> Array:
            if not per_neuron:
                return self._put(value)
            rows = np.asarray(value)
            return self._put(np.pad(rows, [(0, self._padding)] + [(0, 0)] * (rows.ndim - 1), mode="edge"), NEURON)

        return by_kind(put, state)

    def whole(self, state: Any) -> Any:
        """Gather a state on this process's first device, the inverse of ``state``."""
        if self.mesh is None:
            return state

        def take(value: Array, per_neuron: bool) -> Array:
            return jnp.asarray(np.asarray(value)[: self.n_neurons] if per_neuron else np.asarray(value))

        return by_kind(take, self._whole(state))

    def recordings(self, tables: Tables, frames_on_device: bool = True) -> DataArrays:
        """Put the data on the devices, each of which holds the responses of its neurons only.

        Rows are not split: windows begin anywhere, so that every step would have to send the responses to all of its
        windows to all devices.
        """
        if self.mesh is None:
            return DataArrays.of(tables, frames_on_device)
        more = self.n_neurons + self._padding - tables.responses.shape[1]
        padded = np.pad(tables.responses, ((0, 0), (0, more)), constant_values=np.nan) if more else tables.responses
        arrays = dataclasses.replace(DataArrays.for_devices(tables, frames_on_device), responses=padded)
        arrays = jax.tree.map(lambda value: self._put(value, *(None, NEURON) if value is padded else ()), arrays)
        if self.mesh.devices.flat[0].platform == "cpu":
            _log.info("%d cores share every step (config.mesh)", self.mesh.size)
        else:
            each = padded.nbytes / self.mesh.shape[NEURON] / 1e6
            _log.info("%d devices; each holds %d MB of responses", self.mesh.size, each)
        return arrays

    @property
    def _padding(self) -> int:
        """Number of rows without a neuron at the end of a readout's table."""
        return 0 if self.mesh is None else -self.n_neurons % self.mesh.shape[NEURON]

    def _put(self, value: Array | np.ndarray, *axes: str | None) -> Array:
        """Spread an array that every process has over the devices; those of a CPU read it where it lies, if aligned."""
        assert self.mesh is not None
        whole = np.asarray(value)
        return jax.make_array_from_callback(
            whole.shape, NamedSharding(self.mesh, PartitionSpec(*axes)), whole.__getitem__
        )


def in_place(state: Any) -> Any:
    """Constrain a state in a compiled function to the sharding of ``Sharding.state``."""
    if devices.count(DATA, NEURON) == 1:
        return state

    def constrain(value: Array, per_neuron: bool) -> Array:
        return jax.lax.with_sharding_constraint(value, PartitionSpec(NEURON) if per_neuron else PartitionSpec())

    return by_kind(constrain, state)


def check_mesh(axes: Mapping[str, int]) -> None:
    """Check that there are as many devices as a mesh needs, see ``mesh_shape``."""
    mesh_shape(axes, jax.device_count(), jax.process_count(), all_of_them=not _are_cores(jax.devices()))


def _are_cores(available: Sequence[jax.Device]) -> bool:
    """Whether the devices are cores of this process: a run need not take all of them, as of accelerators."""
    return available[0].platform == "cpu" and jax.process_count() == 1


def mesh_shape(
    axes: Mapping[str, int], n_devices: int, n_processes: int = 1, all_of_them: bool = True
) -> tuple[int, int]:
    """Resolve the numbers of devices along "data" and along "neuron".

    Args:
        axes: numbers of devices; -1: all that are left.
        n_devices: number of devices of all processes.
        n_processes: number of processes, each of which must take part.
        all_of_them: whether "all that are left" may leave none out.

    Raises:
        UserError: the numbers do not fit.
    """
    given = f"config.mesh is {dict(axes)}"
    if set(axes) != {DATA, NEURON}:
        raise UserError(f'{given}; give devices along "{DATA}" and along "{NEURON}"')
    numbers = [axes[DATA], axes[NEURON]]
    if any(n < 1 and n != -1 for n in numbers) or numbers == [-1, -1]:
        raise UserError(f"{given}; numbers of devices are at least 1, and one of them may be -1: all that are left")
    if -1 in numbers:
        numbers[numbers.index(-1)] = max(n_devices // max(numbers), 1)
    used = numbers[0] * numbers[1]
    none_left = n_processes > 1 or (-1 in axes.values() and all_of_them)
    if used > n_devices or (none_left and used != n_devices):
        raise UserError(
            f"{given}, but there are {n_devices} devices in {n_processes} processes; choose numbers whose product is "
            f"{n_devices}"
        )
    return numbers[0], numbers[1]


def check_shares(timelines: int, windows: int, n_devices: int) -> None:
    """Check that each device has whole timelines of a step, or an equal part of the windows of one.

    Raises:
        UserError: the devices cannot share the windows equally.
    """
    if not can_share(timelines, windows, n_devices):
        raise UserError(
            f'{n_devices} devices along "data" (config.mesh) cannot share a step of {timelines} x {windows} windows: '
            f"each needs whole timelines or an equal part of one; take as many devices as a factor of {timelines}, or "
            f"{timelines} times a factor of windows_per_step"
        )


def can_share(timelines: int, windows: int, n_devices: int) -> bool:
    """Whether each device has whole timelines of a step, or an equal part of the windows of one."""
    return timelines % n_devices == 0 or (n_devices % timelines == 0 and windows % (n_devices // timelines) == 0)


def by_kind(function: Callable[[Array, bool], Array], state: Any) -> Any:
    """Apply a function to every array of a state, with a flag that says whether its rows are neurons."""

    def apply(node: Any) -> Any:
        if isinstance(node, nnx.Variable):
            return node.replace(function(node[...], isinstance(node, NeuronParam | NeuronConstant)))
        return function(node, False)

    return jax.tree.map(apply, state, is_leaf=lambda node: isinstance(node, nnx.Variable))
