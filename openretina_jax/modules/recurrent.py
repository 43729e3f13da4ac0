"""Convolutional gated recurrent unit: a state with a vector of channels at every pixel.

Source: Ballas et al. 2016, https://arxiv.org/abs/1511.06432, in the form of Sinz et al. 2018,
https://papers.nips.cc/paper/7950.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.convolutions import resolve_padding
from openretina_jax.modules.kernels.lowerings import convolve
from openretina_jax.modules.kernels.tiles import Padding
from openretina_jax.modules.regularizers import absolute
from openretina_jax.runtime import devices

GATES = ("reset", "update", "out")


class ConvGruCell(nnx.Module):
    """One step of the recurrence, for one frame.

    ``new = (1 - update) * old + update * tanh(out_input * x + out_hidden * (reset * old))``, where ``update`` and
    ``reset`` are sigmoids of such sums of two convolutions.

    Attributes:
        reset_input, update_input, out_input: ``(channel, in / groups, height, width)`` kernels for the input.
        reset_hidden, update_hidden, out_hidden: ``(channel, channel / groups, height, width)`` kernels for the state.
        reset_input_bias, ...: ``(channel,)`` for each of the six.

    Args:
        in_channels, channels: channels of the input and of the state.
        input_kernel, recurrent_kernel: pixels of the kernels.
        groups: groups of channels that do not mix.
        gamma: weight of the penalty.
        pad_input: whether the input is padded, so that the state has its size.
        rngs: random streams; kernels are drawn as Xavier's normals.

    Raises:
        UserError: the channels cannot be divided into the groups.
    """

    reset_hidden_bias: nnx.Param
    update_hidden: nnx.Param
    out_hidden_bias: nnx.Param

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        input_kernel: int,
        recurrent_kernel: int,
        groups: int = 1,
        gamma: float = 0.0,
        pad_input: bool = True,
        rngs: nnx.Rngs,
    ):
        for name, count in (("input", in_channels), ("recurrent", channels)):
            if count % groups:
                raise UserError(f"{count} {name} channels cannot be divided into {groups} groups")
        self.channels, self.groups, self.gamma = channels, groups, gamma
        self.input_padding = resolve_padding(pad_input, (1, input_kernel, input_kernel))
        self.recurrent_padding = resolve_padding("same", (1, recurrent_kernel, recurrent_kernel))
        for gate in GATES:
            for name, count, size in (("input", in_channels, input_kernel), ("hidden", channels, recurrent_kernel)):
                shape = (channels, count // groups, size, size)
                setattr(self, f"{gate}_{name}", nnx.Param(initial.glorot(rngs, shape)))
                setattr(self, f"{gate}_{name}_bias", nnx.Param(initial.full(channels, 0.0)))

    def of_input(self, x: Float[Array, "batch time height width in"]) -> list[Array]:
        """Contribution of the input to each gate, for all frames at once."""
        return self._convolved(x, [f"{gate}_input" for gate in GATES], self.input_padding)

    def next(
        self,
        of_input: Sequence[Float[Array, "batch height width channel"]],
        state: Float[Array, "batch height width channel"],
    ) -> Float[Array, "batch height width channel"]:
        """Advance the state by one frame.

        Args:
            of_input: contribution of the frame to each gate, see the method ``of_input``.
            state: state before the frame.
        """
        reset, update = self._of_state(state, ["reset_hidden", "update_hidden"])
        reset, update = jax.nn.sigmoid(of_input[0] + reset), jax.nn.sigmoid(of_input[1] + update)
        (out,) = self._of_state(state * reset, ["out_hidden"])
        return state * (1 - update) + jnp.tanh(of_input[2] + out) * update

    def __call__(
        self,
        x: Float[Array, "batch height width in"],
        state: Float[Array, "batch new_height new_width channel"] | None = None,
    ) -> Float[Array, "batch new_height new_width channel"]:
        """Advance the state by one frame (None: from zeros)."""
        of_input = [part[:, 0] for part in self.of_input(x[:, None])]
        return self.next(of_input, jnp.zeros_like(of_input[0]) if state is None else state)

    def penalty(self) -> Float32[Array, ""]:
        """Weighted penalty on two biases and one kernel of the state, the selection that openretina has."""
        penalized = (self.reset_hidden_bias, self.update_hidden, self.out_hidden_bias)
        return self.gamma * jnp.stack([absolute(variable[...]).mean() for variable in penalized]).mean()

    def _of_state(self, state: Array, names: Sequence[str]) -> list[Array]:
        return [part[:, 0] for part in self._convolved(state[:, None], names, self.recurrent_padding)]

    def _convolved(self, x: Array, names: Sequence[str], padding: Padding) -> list[Array]:
        """Convolve all frames with some of the kernels, stacked into one convolution per group of channels."""
        kernels = jnp.stack([getattr(self, name)[...] for name in names])  # (gate, channel, in, height, width)
        gates, channels, _, height, width = kernels.shape
        grouped = kernels.reshape(gates, self.groups, -1, *kernels.shape[2:]).transpose(1, 4, 5, 3, 0, 2)
        inputs = jnp.split(x, self.groups, axis=-1)
        outputs = []
        for part, kernel in zip(inputs, grouped, strict=True):
            dense = kernel.reshape(1, height, width, part.shape[-1], -1).astype(x.dtype)
            y = convolve(part, dense, padding)
            outputs.append(y.reshape(*y.shape[:-1], gates, channels // self.groups))
        joined = jnp.concatenate(outputs, axis=-1)
        return [joined[..., n, :] + getattr(self, f"{name}_bias")[...].astype(x.dtype) for n, name in enumerate(names)]


class ConvGru(nnx.Module):
    """Recurrent unit that applies a cell frame by frame, from a state of zeros.

    Attributes:
        cell: the recurrence of one frame.
    """

    def __init__(self, cell: ConvGruCell):
        self.cell = cell

    def __call__(
        self, x: Float[Array, "batch time height width in"]
    ) -> Float[Array, "batch time new_height new_width channel"]:
        """Compute the state after every frame."""
        # accelerators are fastest with one large convolution of all frames; on CPUs a single frame stays in the cache
        at_once = devices.backend() != "cpu"
        frames = [jnp.moveaxis(part, 1, 0) for part in (self.cell.of_input(x) if at_once else [x])]

        def step(state: Array, frame: list[Array]) -> tuple[Array, Array]:
            state = self.cell.next(frame, state) if at_once else self.cell(frame[0], state)
            return state, state

        first = devices.eval_shape(self.cell, x[:, 0])
        _, states = jax.lax.scan(step, jnp.zeros(first.shape, first.dtype), frames)
        return jnp.moveaxis(states, 0, 1)

    def penalty(self) -> Float32[Array, ""]:
        """Weighted penalty of the cell."""
        return self.cell.penalty()
