"""The recurrent unit and the cores with it, against the reference."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.modules.cores.gru import GruCore
from openretina_jax.modules.recurrent import ConvGru, ConvGruCell
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import channels_last, check_module
from tests.reference import make_core

CASES = cases("gru")
UNIT_OPTIONS = {
    "rec_channels": "channels",
    "input_channels": "in_channels",
    "input_kern": "input_kernel",
    "rec_kern": "recurrent_kernel",
    "gamma_rec": "gamma",
    "groups": "groups",
    "pad_input": "pad_input",
}


def check_unit(case: Case, kind: type[ConvGru | ConvGruCell]) -> None:
    options = {UNIT_OPTIONS[name]: value for name, value in case.kwargs.items()}
    one_frame = ConvGruCell(**options | {"gamma": float(options.get("gamma", 0))}, rngs=nnx.Rngs(0))
    unit = ConvGru(one_frame) if kind is ConvGru else one_frame
    if kind is ConvGru:
        call = without_batch if case.array("input/x").ndim == 4 else lambda unit, x: unit(x)
    else:
        state = channels_last(case.array("input/h")) if "input/h" in case.names else None
        call = functools.partial(cell, state=state)
    check_module(case, unit, call=call, penalty=lambda unit: unit.penalty())
    if "grad_input/h" in case.names:
        check_state_gradient(case, unit)


def without_batch(unit: ConvGru, x: jax.Array) -> jax.Array:
    """A movie ``(channel, time, height, width)``, whose channels the loader of cases has moved as if it had no time."""
    movie = jnp.moveaxis(jnp.moveaxis(x, -1, 1), 0, -1)
    return jnp.moveaxis(jnp.moveaxis(unit(movie[None])[0], -1, 0), 1, -1)


def cell(unit: ConvGruCell, x: jax.Array, state: jax.Array | None) -> jax.Array:
    return unit(x, state)


def check_state_gradient(case: Case, unit: ConvGruCell) -> None:
    x, state, cotangent = (channels_last(case.array(name)) for name in ("input/x", "input/h", "cotangent"))
    gradients = jax.jit(jax.grad(lambda x, state: (unit(x, state) * cotangent).sum(), argnums=(0, 1)))(x, state)
    for name, gradient in zip("xh", gradients, strict=True):
        case.check(f"grad_input/{name}", np.moveaxis(np.asarray(gradient), -1, 1))


def check_core(case: Case) -> None:
    core = make_core(case.entry["path"], case.kwargs, case.kwargs["channels"])
    names = list(case.kwargs.get("n_neurons_dict") or ())
    key = re.search(r"data_key='(\w+)'", case.entry["call"])
    options = {"session": jnp.asarray([names.index(key[1])])} if key else {}
    if "input/conditioning" in case.names and core.conditions is not None:
        options["condition"] = jnp.asarray(case.array("input/conditioning"))
    # where the reference's penalty is a plain number it is 0; ours judges those kernels
    penalty = None if case.entry.get("regularizer_is_python_number") else lambda core: core.regularizer()
    check_module(
        case,
        core,
        call=lambda core, x: core(x, **options),
        train_call=lambda core, x: core(x, train=True, **options),
        penalty=penalty,
    )


@every_case(CASES)
def test_gru_group(case: Case) -> None:
    """Every case of the group; one that is not known fails."""
    kind = case.entry["path"].rsplit(".", 1)[1]
    if kind in ("ConvGRUCell", "GRU_Module"):
        check_unit(case, ConvGru if kind == "GRU_Module" else ConvGruCell)
    else:
        assert kind in ("ConvGRUCore", "ConditionedGRUCore")
        check_core(case)


def gru_core(**options: object) -> GruCore:
    defaults = {"hidden_channels": (4, 3), "temporal_kernel_sizes": (6, 3), "spatial_kernel_sizes": (3, 3)}
    return GruCore(2, **(defaults | options), rngs=nnx.Rngs(0))


def test_even_kernels_keep_the_size() -> None:
    """The reference's own configuration asks for kernels of 4 pixels, for which its unit fails."""
    unit = ConvGru(ConvGruCell(2, 3, input_kernel=4, recurrent_kernel=4, rngs=nnx.Rngs(0)))
    assert unit(jnp.ones((1, 5, 6, 7, 2))).shape == (1, 5, 6, 7, 3)


def test_states_depend_on_all_frames_before() -> None:
    unit = ConvGru(ConvGruCell(1, 2, input_kernel=3, recurrent_kernel=3, rngs=nnx.Rngs(0)))
    movie = np.random.default_rng(0).standard_normal((1, 4, 5, 5, 1)).astype(np.float32)
    states = jax.jit(lambda movie: unit(movie))
    whole, changed = (np.asarray(states(x)) for x in (movie, np.concatenate([movie[:, :2], movie[:, 2:] + 1], axis=1)))
    np.testing.assert_array_equal(whole[:, :2], changed[:, :2])
    assert (whole[:, 2:] != changed[:, 2:]).any()


@pytest.mark.slow
@pytest.mark.parametrize("convolution", ["custom_separable", "separable", "full", "time_independent"])
def test_penalties_have_gradients(convolution: str) -> None:
    """The reference's penalties are 0 for all convolutions but one, and its GRU's is never added; ours all count."""
    names = {"input", "hidden", "in_sparse", "temporal", "recurrent"}
    if convolution in ("full", "time_independent"):
        names -= {"temporal"}
    core = gru_core(convolution=convolution, recurrent_channels=3, **{f"gamma_{name}": 1.0 for name in names})
    core.gru.cell.out_hidden_bias[...] = jnp.ones(3)
    graph, params, rest = nnx.split(core, nnx.Param, ...)

    @jax.jit
    @jax.jacrev
    def of_each(params: nnx.State) -> dict[str, jax.Array]:
        return nnx.merge(graph, params, rest, copy=True).penalties()

    gradients = of_each(params)
    assert gradients.keys() == names
    for gradient in gradients.values():
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0


@pytest.mark.slow
def test_conditions_and_speeds_follow_the_session_of_each_part() -> None:
    conditions = np.asarray([[0.0, 1.0], [2.0, -1.0]], np.float32)
    core = gru_core(condition_size=2, conditions=conditions, adapt_speed=True, n_sessions=2)
    core.log_speed[...] = jnp.asarray([0.0, 0.3])
    core.films[0].gamma.kernel[...] += 0.5
    movie = np.random.default_rng(0).standard_normal((4, 9, 6, 6, 2)).astype(np.float32)
    maps = jax.jit(lambda movie, session: core(movie, session=session))
    both = np.asarray(maps(movie, jnp.asarray([1, 0])))
    for part, session in ((slice(0, 2), 1), (slice(2, 4), 0)):
        alone = maps(movie[part], jnp.asarray([session]))
        np.testing.assert_allclose(both[part], alone, rtol=1e-4, atol=1e-5)
    assert not np.allclose(maps(movie[:2], jnp.asarray([0])), both[:2], atol=1e-3)
