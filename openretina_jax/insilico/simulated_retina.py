"""Simulated retinas as models: the noise-free neurons of ``simulation`` in JAX, which can be differentiated.

Before a stimulus begins, neurons have always seen 0 in the units of the stimulus. The mean of Höfling's movies, grey,
is 0 there; where a data set keeps raw pixels, 0 is black.
"""

import abc
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from openretina_jax.data.info import DataInfo
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.modules.layers import Constant, NeuronConstant
from openretina_jax.simulation import retina, spiking
from openretina_jax.simulation.movies import HEIGHT, WIDTH
from openretina_jax.sources.hoefling_2024.traces import FRAME_RATE_HZ


class SimulatedRetina(Model):
    """Neurons of a simulated retina, which answer without noise to any stimulus; there is nothing to train.

    A subclass writes ``all_rates``, ``rates`` and ``receptive_field``.

    Args:
        lag: frames at the start of a stimulus for which no response is given. A neuron could answer to these too, but
            with the lag of a trained model both give as many responses to the same stimulus. The last response belongs
            to the last frame, whatever the lag.
        data_info: facts about its neurons.
    """

    def __init__(self, lag: int, data_info: DataInfo):
        super().__init__({"kind": type(self).__name__, "lag": lag}, data_info)
        self._lag = lag

    @property
    def per_session(self) -> bool:
        """False: a neuron sees what it is shown, whatever its session."""
        return False

    @abc.abstractmethod
    def all_rates(self, stimulus: Float[Array, "time height width channel"]) -> Float[Array, "time neuron"]:
        """Compute the responses of all neurons at every frame."""

    @abc.abstractmethod
    def rates(
        self, stimulus: Float[Array, "time height width channel"], rows: Int[Array, " member"]
    ) -> Float[Array, "time member"]:
        """Compute the responses of some neurons at every frame, without those of the others."""

    def respond(
        self,
        stimulus: Float[Array, "part batch time height width channel"],
        first: Int[Array, " part"],
        width: int,
        session: Int[Array, " part"] | None = None,
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        condition: Float[Array, "windows condition"] | None = None,
    ) -> Float[Array, "part batch new_time neuron"]:
        """Compute the responses of a slice of neurons, see ``Model``; nothing depends on what is not a stimulus."""
        del session, train, key, condition
        responses = jax.vmap(jax.vmap(self.all_rates))(stimulus)[:, :, self._lag :]
        return jax.vmap(lambda part, row: jax.lax.dynamic_slice_in_dim(part, row, width, axis=-1))(responses, first)

    def respond_rows(
        self,
        stimulus: Float[Array, "target time height width channel"],
        rows: Int[Array, "target member"],
        session: Int[Array, " target"] | None = None,
    ) -> Float[Array, "target new_time member"]:
        """Compute the responses of chosen neurons alone, see ``Model``."""
        del session
        return jax.vmap(self.rates)(stimulus, rows)[:, self._lag :]


class SubunitRetina(SimulatedRetina):
    """Neurons of ``simulation/retina.py``: rectified subunits, gain control and an indicator.

    Gain control and indicator are averages over all of the past, so that the receptive field has no end in time.
    Subunits are rectified. At 0, where a rectifier has a kink, its derivative is taken for 1/2, so that the gradient at
    grey is the mean of those towards bright and dark.

    Neurons of a type and a preferred direction share their subunits, which sit on a grid. All parts of the subunits are
    Gaussians, so that rows and columns of a frame are filtered one after the other.

    Args:
        neurons: parameters of the neurons by name, see ``Neurons`` and ``Scaling``; ``cell_type`` holds their names.
        lag, data_info: see ``SimulatedRetina``.
    """

    def __init__(self, neurons: Mapping[str, np.ndarray], lag: int, data_info: DataInfo):
        super().__init__(lag, data_info)
        types = {kind.name: kind for kind in retina.CELL_TYPES}
        names = [str(name, "utf-8") for name in neurons["cell_type"].tolist()]
        kinds = [types[name] for name in names]
        own = list(zip(names, neurons["direction_deg"].tolist(), strict=True))
        variants = sorted(set(own))
        parts = [_subunit_parts(types[name], direction) for name, direction in variants]
        self.colour, self.row_weights, self.column_weights, self.kernels = map(Constant, _stacked(parts))
        variant = np.array([variants.index(one) for one in own], np.int32)
        members = [np.flatnonzero(variant == number) for number in range(len(variants))]
        widest = max(map(len, members))
        self.members = Constant(jnp.asarray([np.resize(rows, widest) for rows in members], jnp.int32))
        place = np.array(
            [variant[row] * widest + np.searchsorted(members[variant[row]], row) for row in range(len(own))]
        )
        self.place, self.variant = (NeuronConstant(jnp.asarray(index, jnp.int32)) for index in (place, variant))

        def table(values: Any) -> NeuronConstant:
            return NeuronConstant(jnp.asarray(np.asarray(values), jnp.float32))

        unit = neurons["subunit_unit"][:, None]
        self.near = table(retina.pool(neurons["centre_px"], neurons["pool_px"]).T / unit)
        self.wide = table(retina.pool(neurons["centre_px"], retina.WIDE_POOL * neurons["pool_px"]).T / unit)
        self.polarity = table([kind.polarity for kind in kinds])
        self.suppression = table([kind.suppression for kind in kinds])
        self.gain_control, self.threshold = table(neurons["gain_control"]), table(neurons["threshold"])
        self.drive_mean, self.drive_scale = table(neurons["drive_mean"]), table(neurons["drive_scale"])

    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a response depends on: all of the past."""
        return ReceptiveField(None, HEIGHT, WIDTH)

    def all_rates(self, stimulus: Float[Array, "time height width channel"]) -> Float[Array, "time neuron"]:
        """Compute the responses of all neurons at every frame, from the subunits of every kind."""
        variants = jnp.arange(len(self.members))
        light = jax.vmap(self._light, in_axes=(None, 0))(stimulus, variants)
        rates = jax.vmap(self._output)(light, self.members[...])
        return jnp.moveaxis(rates, 0, 1).reshape(len(stimulus), -1)[:, self.place[...]]

    def rates(
        self, stimulus: Float[Array, "time height width channel"], rows: Int[Array, " member"]
    ) -> Float[Array, "time member"]:
        """Compute the responses of some neurons at every frame, from their own subunits."""

        def rate(row: Array) -> Array:
            return self._output(self._light(stimulus, self.variant[row]), row[None])[:, 0]

        return jax.vmap(rate, out_axes=-1)(rows)

    def _light(self, stimulus: Array, variant: Array) -> Array:
        """Output (time, subunit) of the subunits of one kind before they are rectified."""
        rows, columns = self.row_weights[variant], self.column_weights[variant]
        coloured = jnp.einsum("thwc,kc->kthw", stimulus, self.colour[variant])
        seen = jnp.einsum("ktyw,kxw->ktyx", jnp.einsum("kthw,kyh->ktyw", coloured, rows), columns)
        return filtered(seen.reshape(*seen.shape[:2], -1), self.kernels[variant]).sum(axis=0)

    def _output(self, light: Array, rows: Array) -> Array:
        """Responses (time, neuron) of neurons to what their subunits see; the code follows ``Retina.rates``."""
        bright, dark = jnp.maximum(light, 0.0), jnp.maximum(-light, 0.0)
        near, wide = self.near[rows].T, self.wide[rows].T
        on, off = self.polarity[rows].T
        contrast = _low_pass((bright + dark) @ wide, retina.CONTRAST_TIME_S, jnp.zeros(len(rows)))
        drive = (on * (bright @ near) + off * (dark @ near)) / (1.0 + self.gain_control[rows] * contrast)

        def output(drive: Array) -> Array:
            above = (drive - self.drive_mean[rows]) / self.drive_scale[rows] - self.threshold[rows]
            return jnp.logaddexp(retina.OUTPUT_SLOPE * above, 0.0) / retina.OUTPUT_SLOPE

        rate, resting = output(drive - self.suppression[rows] * contrast), output(jnp.zeros(len(rows)))
        for time_s in retina.INDICATOR_TIMES_S:
            rate = _low_pass(rate, time_s, resting)
        return rate


class SpikingRetina(SimulatedRetina):
    """Neurons of ``simulation/spiking.py``: a receptive field, a temporal kernel and a softplus.

    Responses are mean numbers of spikes in the unit of the recordings.

    Args:
        neurons: parameters of the neurons by name, see ``SpikingNeurons`` and ``Scaling``, and the ``channel`` that
            each sees.
        lag, data_info: see ``SimulatedRetina``; its normalisation tells what pixels a stimulus stands for (not known:
            its own values).
    """

    def __init__(self, neurons: Mapping[str, np.ndarray], lag: int, data_info: DataInfo):
        super().__init__(lag, data_info)
        cells = spiking.SpikingNeurons(**{name: neurons[name] for name in SPIKING_PARAMETERS})
        height, width, channels = data_info.input_shape
        fields = np.moveaxis(cells.receptive_fields(height, width), -1, 0)
        seen = neurons["channel"][:, None] == np.arange(channels)
        self.fields = NeuronConstant(jnp.asarray(fields[..., None] * seen[:, None, None], jnp.float32))
        kernels = cells.temporal_kernels(data_info.frame_rate_hz or 0.0)
        self.frames = len(kernels)
        self.kernels = NeuronConstant(jnp.asarray(np.stack([_banded(kernel) for kernel in kernels.T]), jnp.float32))
        # a stimulus of 0 stands for pixels of norm_mean; the drive is linear in them
        shown, scale = data_info.norm_mean or 0.0, data_info.norm_std or 1.0
        resting = shown * fields.sum(axis=(1, 2), dtype=np.float64) * kernels.sum(axis=0)
        self.drive_mean = NeuronConstant(jnp.asarray((neurons["drive_mean"] - resting) / scale, jnp.float32))
        self.drive_scale = NeuronConstant(jnp.asarray(neurons["drive_scale"] / scale, jnp.float32))
        self.threshold = NeuronConstant(jnp.asarray(neurons["threshold"], jnp.float32))
        self.gain = NeuronConstant(jnp.asarray(neurons["gain"], jnp.float32))

    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a response depends on."""
        height, width, _ = self.data_info.input_shape
        return ReceptiveField(self.frames, height, width)

    def all_rates(self, stimulus: Float[Array, "time height width channel"]) -> Float[Array, "time neuron"]:
        """Compute the responses of all neurons at every frame."""
        return self.rates(stimulus, jnp.arange(self.data_info.n_neurons))

    def rates(
        self, stimulus: Float[Array, "time height width channel"], rows: Int[Array, " member"]
    ) -> Float[Array, "time member"]:
        """Compute the responses of some neurons at every frame."""
        light = jnp.einsum("thwc,nhwc->nt", stimulus, self.fields[rows])
        drive = filtered(light[..., None], self.kernels[rows])[..., 0].T
        above = (drive - self.drive_mean[rows]) / self.drive_scale[rows] - self.threshold[rows]
        return self.gain[rows] * jnp.logaddexp(spiking.OUTPUT_SLOPE * above, 0.0)


SPIKING_PARAMETERS = tuple(spiking.SpikingNeurons.__dataclass_fields__)


def filtered(
    signal: Float[Array, "part time place"], kernels: Float[Array, "part frame both_frames"]
) -> Float[Array, "part time place"]:
    """Filter signals in time, each by its kernel, with zeros before their beginning.

    Blocks of as many frames as the kernel has are products of a matrix with the block and the one before it.

    Args:
        signal: the signals.
        kernels: matrices that ``_banded`` makes of kernels.
    """
    parts, time, places = signal.shape
    frames = kernels.shape[1]
    blocks = -(-time // frames)
    padded = jnp.pad(signal, ((0, 0), ((blocks + 1) * frames - time, 0), (0, 0)))
    cut = padded.reshape(parts, blocks + 1, frames, places)
    both = jnp.concatenate([cut[:, :-1], cut[:, 1:]], axis=2)
    return jnp.einsum("dij,dnjp->dnip", kernels, both).reshape(parts, -1, places)[:, blocks * frames - time :]


def _banded(kernel: np.ndarray) -> np.ndarray:
    """Matrix (frame, frames of the block before and of its own) that filters a block by a kernel."""
    frames = len(kernel)
    ago = frames + np.arange(frames)[:, None] - np.arange(2 * frames)
    return np.where((ago >= 0) & (ago < frames), kernel[np.clip(ago, 0, frames - 1)], 0.0)


def _low_pass(signal: Array, time_s: float, before: Array) -> Array:
    """Exponential average (time, neuron) over the past, which was always ``before``."""
    memory = np.float32(np.exp(-1 / (time_s * FRAME_RATE_HZ)))

    def step(average: Array, value: Array) -> tuple[Array, Array]:
        average = memory * average + (1 - memory) * value
        return average, average

    return jax.lax.scan(step, before, signal)[1]


def _subunit_parts(kind: retina.CellType, direction_deg: int) -> list[tuple[np.ndarray, ...]]:
    """Weights of the colours, rows and columns, and the temporal filter, of every Gaussian that subunits consist of."""
    return [
        (
            np.float32(sign) * field.weights,
            *(
                _unit_sum(retina.profile(places + shift, field.deviation_px, pixels))
                for places, shift, pixels in zip(retina.subunit_grid(), moved, (HEIGHT, WIDTH), strict=True)
            ),
            _banded(retina.temporal_kernel(kind, field.delay)),
        )
        for field in retina.fields_of(kind, direction_deg)
        for sign, moved in field.places
    ]


def _unit_sum(profiles: np.ndarray) -> np.ndarray:
    return profiles / profiles.sum(axis=1, keepdims=True)


def _stacked(variants: list[list[tuple[np.ndarray, ...]]]) -> list[Array]:
    """Arrays (variant, part, ...) of each of the parts' arrays; variants of fewer parts get some that are 0."""
    most = max(map(len, variants))
    filled = [parts + [tuple(map(np.zeros_like, parts[0]))] * (most - len(parts)) for parts in variants]
    return [
        jnp.asarray(np.array([[part[number] for part in parts] for parts in filled]), jnp.float32)
        for number in range(len(filled[0][0]))
    ]
