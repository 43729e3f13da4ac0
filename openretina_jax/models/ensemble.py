"""The mean of several models of one structure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.core import ReceptiveField


class Ensemble(Model):
    """Mean of models that differ only in their numbers; one program computes all of them.

    Attributes:
        members: a model whose variables have a leading axis, the member.
        n_members: number of members.

    Args:
        members: the models.

    Raises:
        UserError: there is none, or they are built differently or for other sessions.
    """

    def __init__(self, members: Sequence[Model]):
        if not members:
            raise UserError("an ensemble needs at least one member")
        first = members[0]
        for number, other in enumerate(members[1:], start=1):
            if _built_as(other) != _built_as(first):
                raise UserError(
                    f"member {number} of the ensemble has other options or sessions than member 0; "
                    "take models that differ in their seeds, penalties or training alone"
                )
        super().__init__({"members": [member.options for member in members]}, first.data_info)
        states = [nnx.state(member) for member in members]
        self.members = nnx.merge(nnx.graphdef(first), jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
        self.n_members = len(members)

    @property
    def per_session(self) -> bool:
        """Whether the members depend on the session beyond the rows of its neurons."""
        return self.members.per_session

    @property
    def reads_behaviour(self) -> bool:
        """Whether the members have shifters."""
        return self.members.reads_behaviour

    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a prediction depends on, see ``Model``."""
        return self.unstacked()[0].receptive_field()

    def unstacked(self) -> list[Model]:
        """The members, each as a model of its own."""
        graph, states = nnx.split(self.members)
        return [
            nnx.merge(graph, jax.tree.map(lambda leaf, n=n: leaf[n], states), copy=True) for n in range(self.n_members)
        ]

    def each(
        self,
        stimulus: Float[Array, "part batch time height width channel"],
        first: Int[Array, " part"],
        width: int,
        session: Int[Array, " part"] | None = None,
        *,
        condition: Float[Array, "windows condition"] | None = None,
        behaviour: Float[Array, "part batch time behaviour"] | None = None,
    ) -> Float[Array, "member part batch new_time neuron"]:
        """Compute the responses of every member, see ``Model.respond``."""
        given: dict[str, Any] = {} if behaviour is None else {"behaviour": behaviour}
        return self._vmapped(
            lambda member: member.respond(stimulus, first, width, session, condition=condition, **given)
        )

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
        behaviour: Float[Array, "part batch time behaviour"] | None = None,
    ) -> Float[Array, "part batch new_time neuron"]:
        """Compute the mean response of the members, see ``Model``."""
        del train, key
        return self.each(stimulus, first, width, session, condition=condition, behaviour=behaviour).mean(axis=0)

    def each_rows(
        self,
        stimulus: Float[Array, "target time height width channel"],
        rows: Int[Array, "target neuron"],
        session: Int[Array, " target"] | None = None,
    ) -> Float[Array, "member target new_time neuron"]:
        """Compute the responses of chosen neurons by every member, see ``Model.respond_rows``."""
        return self._vmapped(lambda member: member.respond_rows(stimulus, rows, session))

    def respond_rows(
        self,
        stimulus: Float[Array, "target time height width channel"],
        rows: Int[Array, "target neuron"],
        session: Int[Array, " target"] | None = None,
    ) -> Float[Array, "target new_time neuron"]:
        """Compute the mean response of the members for chosen neurons, see ``Model``."""
        return self.each_rows(stimulus, rows, session).mean(axis=0)

    def begin(self) -> Any:
        """Make the members' histories before the first frame, stacked."""
        history = self.unstacked()[0].begin()
        return jax.tree.map(lambda array: jnp.broadcast_to(array, (self.n_members, *array.shape)), history)

    def advance(
        self,
        history: Any,
        frame: Float[Array, "1 1 height width channel"],
        first: Int[Array, "1"],
        width: int,
        session: Int[Array, "1"] | None = None,
    ) -> tuple[Float[Array, " neuron"], Any]:
        """Compute the mean response of the members to one more frame, see ``Model``."""
        graph, states = nnx.split(self.members)

        def advance(state: nnx.State, history: Any) -> tuple[Array, Any]:
            return nnx.merge(graph, state, copy=True).advance(history, frame, first, width, session)

        responses, history = jax.vmap(advance)(states, history)
        return responses.mean(axis=0), history

    def spread(
        self,
        stimulus: Float[Array, "batch time height width channel"]
        | Float[np.ndarray, "batch time height width channel"],
        session: str | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Standard deviation of the members' responses; arguments as for a call."""
        self.check_stimulus(stimulus)
        return self.each(jnp.asarray(stimulus)[None], *self.slice_of(session)).std(axis=0)[0]

    def _vmapped(self, function: Callable[[Model], Array]) -> Float[Array, "member *rest"]:
        """Apply a function to every member, as one program."""
        graph, states = nnx.split(self.members)
        return jax.vmap(lambda state: function(nnx.merge(graph, state, copy=True)))(states)


def _built_as(model: Model) -> tuple[dict[str, Any], dict[str, int]]:
    """Sessions and options that members must share; weights of penalties may differ, since predictions ignore them."""

    def without_penalties(options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: without_penalties(value) if isinstance(value, Mapping) else value
            for name, value in options.items()
            if not name.startswith("gamma")
        }

    return without_penalties(model.options), dict(model.data_info.sessions)
