"""Tables of two sessions against the reference's readouts of many sessions: rows stand for modules."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.interop.weights import assign, readout_state_to_ours, under
from tests import reference
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import channels_first, channels_last, close
from tests.reference import make_readout

MULTI_CASES = cases("multi")
CONTRAST_CASES = [case for case in cases("sta") if case.entry["path"].endswith("SpatialContrastCoreReadout")]


class Table:
    """A readout and where the rows of its sessions lie: in sorted order, as the reference joins their responses.

    Args:
        case: parameters and arguments of the reference.
        prefix: of the names of parameters before the name of the session.
    """

    def __init__(self, case: Case, prefix: str = ""):
        self.case, self.prefix = case, prefix
        sizes = dict(sorted(case.kwargs["n_neurons_dict"].items()))
        ends = np.cumsum(list(sizes.values()))
        self.rows = {name: slice(int(end) - sizes[name], int(end)) for name, end in zip(sizes, ends, strict=True)}
        options: dict[str, Any] = {}
        temporal = [array for name, array in case.under("param").items() if name.endswith("temporal_filters")]
        if temporal:
            options["temporal_frames"] = temporal[0].shape[1]
        if "Sampled" in case.entry["path"] or "LNP" in case.entry["path"]:
            options["session_sizes"] = tuple(sizes.values())
        channels, _, height, width = case.kwargs["in_shape"]
        n_neurons = int(ends[-1])
        self.readout = make_readout(case.entry["path"], case.kwargs, (channels, height, width), n_neurons, **options)
        states = {session: under(f"{prefix}{session}.", case.under("param")) for session in sizes}
        values, problems = readout_state_to_ours(self.readout, sizes, states)
        assert problems == []
        assign(self.readout, values)

    def check(self, prefix: str, state: nnx.State) -> None:
        """Compare the arrays under a prefix with the rows of their session."""
        found = reference.variables(state)
        for session, own_rows in self.rows.items():
            start = f"{self.prefix}{session}."
            arrays = under(start, self.case.under(prefix))
            for name, (path, rows, expected) in reference.places(self.readout, arrays, rows=own_rows).items():
                close(self.case, f"{prefix}/{start}{name}", found[path][rows], expected)


def check_responses(table: Table, skip_frames: int = 0) -> None:
    """Responses of single sessions, as slices of rows, and of all; their gradients; constrained parameters."""
    case = table.case
    graph, params, rest = nnx.split(table.readout, nnx.Param, ...)
    cotangents = {name: jnp.asarray(array) for name, array in case.under("cotangent").items()}

    @jax.jit
    def run(params: nnx.State, x: jax.Array) -> Any:
        def scalar(params: nnx.State, x: jax.Array) -> Any:
            readout, maps = nnx.merge(graph, params, rest, copy=True), x[:, skip_frames:]
            outputs = {}
            for name in cotangents:
                rows = table.rows.get(name, slice(0, readout.n_neurons))
                outputs[name] = readout(maps, rows.start, rows.stop - rows.start)
            readout.project(jnp.ones(readout.n_neurons, bool))
            total = sum((output * cotangents[name]).sum() for name, output in outputs.items())
            return total, (outputs, nnx.state(readout))

        return jax.grad(scalar, argnums=(0, 1), has_aux=True)(params, x)

    (gradients, gradient_x), (outputs, state) = run(params, channels_last(case.array("input/x")))
    assert set(case.under("output")) == set(outputs) <= {*table.rows, "all"}
    for name, output in outputs.items():
        case.check(f"output/{name}", output)
    case.check("grad_input", channels_first(gradient_x))
    table.check("grad", gradients)
    table.check("after_eval", state)


def check_penalty(table: Table) -> None:
    """The penalty of one session, in a slice that other sessions' rows fill up, and its gradients."""
    case = table.case
    named = re.search(r"regularizer\('(\w+)'\)", case.entry.get("doc", ""))
    session = named[1] if named else next(iter(table.rows))
    number = np.ones(table.readout.n_neurons, np.int32)
    number[table.rows[session]] = 0
    graph, params, rest = nnx.split(table.readout, nnx.Param, ...)

    def penalty(params: nnx.State) -> jax.Array:
        return nnx.merge(graph, params, rest, copy=True).penalty(0, jnp.asarray(number), 1)

    value, gradients = jax.jit(jax.value_and_grad(penalty))(params)
    case.check("regularizer", value)
    table.check("grad_reg", gradients)
    for path, gradient in nnx.to_flat_state(gradients):
        assert not np.asarray(gradient[...])[number == 1].any(), path


@every_case(MULTI_CASES)
def test_multi_group(case: Case) -> None:
    table = Table(case)
    if "input/x" in case.names:
        check_responses(table)
    check_penalty(table)


@every_case(CONTRAST_CASES)
def test_spatial_contrast_of_many_cells(case: Case) -> None:
    table = Table(case, prefix="readout.")
    check_responses(table, case.kwargs["cut_first_n_frames"])
    check_penalty(table)


def test_no_case_is_missed() -> None:
    names = {case.name for case in cases("sta") if case.name.startswith("sc_core")}
    assert names == {case.name for case in CONTRAST_CASES} != set()
