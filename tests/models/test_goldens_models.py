"""Whole models of the reference: core + readout by kind, autoencoder, ensemble."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.data.batches import Batch
from openretina_jax.interop.weights import under
from openretina_jax.models.autoencoder import AutoencoderModel, SparseAutoencoder
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.modules.cores.identity import IdentityCore
from openretina_jax.modules.readouts.readout import Readout, Row
from openretina_jax.training.objective import Poisson, ReconstructionObjective, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer
from tests import reference
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import channels_first, channels_last, close

ELSEWHERE = ("lnp_cell_",)  # tests/modules/test_goldens_free_readouts.py
CASES = [case for case in cases("model") if not case.name.startswith(ELSEWHERE)]


def session_of(case: Case, text: str, sessions: Any = None) -> str:
    """The session that the text of a case names in quotes."""
    return next(name for name in sessions or case.kwargs["n_neurons_dict"] if f"'{name}'" in text)


def check_gradients(case: Case, prefix: str, gradient: nnx.State, model: CoreReadout) -> None:
    """Gradients of all parameters; rows of sessions that the reference has no gradient for are 0."""
    arrays = case.under(prefix)
    assert arrays
    found = {path: np.array(value[...]) for path, value in reference.variables(gradient).items()}
    places = reference.places_in_model(model, arrays)
    for name, (path, rows, expected) in places.items():
        close(case, f"{prefix}/{name}", found[path][rows], expected)
        found[path][rows] = 0
    for path in {place.path for place in places.values()}:
        np.testing.assert_array_equal(found[path], 0, err_msg=path)


def check_core_readout(case: Case) -> None:
    model = reference.make_core_readout(case.kwargs)
    reference.load_model(model, case.under("param"))
    if case.name == "hoefling_lowres_eval":
        return check_all_sessions(case, model)
    session = session_of(case, case.entry["call"])
    x, cotangent = channels_last(case.array("input/x")), jnp.asarray(case.array("cotangent"))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    modes = {mode: mode == "train/" for mode in ("", "train/") if f"{mode}output" in case.names}

    def scalar(train: bool, params: nnx.State, x: jax.Array) -> Any:
        model = nnx.merge(graph, params, rest, copy=True)
        first, width, number = model.slice_of(session)
        output = model.respond(x[None], first, width, number, train=train)[0]
        return (output * cotangent).sum(), output

    @jax.jit
    def run(params: nnx.State, x: jax.Array) -> Any:
        gradient = jax.grad(scalar, argnums=(1, 2), has_aux=True)
        of_modes = {mode: gradient(train, params, x) for mode, train in modes.items()}
        return of_modes, regularizer(graph, session, params, rest) if "regularizer" in case.names else None

    of_modes, judged = run(params, x)
    for mode, ((gradient, gradient_x), output) in of_modes.items():
        case.check(f"{mode}output", output)
        check_gradients(case, f"{mode}grad", gradient, model)
        if f"{mode}grad_input" in case.names:
            case.check(f"{mode}grad_input", channels_first(gradient_x))
    if judged is not None:
        check_regularizer(case, model, *judged)
    return None


def regularizer(graph: nnx.GraphDef, session: str, params: nnx.State, rest: nnx.State) -> tuple[jax.Array, nnx.State]:
    """The penalties of a session, and their gradient."""

    def penalty(params: nnx.State) -> jax.Array:
        model = nnx.merge(graph, params, rest, copy=True)
        first, count = model.rows(session)
        return model.core.regularizer() + model.readout.penalty(first, jnp.zeros(count, int), 1)

    return jax.value_and_grad(penalty)(params)


def check_regularizer(case: Case, model: CoreReadout, value: jax.Array, gradient: nnx.State) -> None:
    case.check("regularizer", value)
    check_gradients(case, "grad_reg", gradient, model)


def check_all_sessions(case: Case, model: CoreReadout) -> None:
    x = channels_last(case.array("input/x"))
    sessions = list(case.kwargs["n_neurons_dict"])
    own = session_of(case, case.entry["doc"])
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def run(params: nnx.State, x: jax.Array) -> Any:
        model = nnx.merge(graph, params, rest, copy=True)
        each = {session: model(x, session=session) for session in sessions}
        return each, model(x), model.core(x), regularizer(graph, own, params, rest)

    each, everything, maps, judged = run(params, x)
    for session in sessions:
        case.check(f"output/{session}", each[session])
    case.check("output/all", np.concatenate([each[session] for session in sorted(sessions)], axis=-1))
    everything = np.asarray(everything)
    np.testing.assert_array_equal(
        everything, np.concatenate([everything[..., slice(*_rows(model, session))] for session in sessions], axis=-1)
    )
    case.check("core_output", channels_first(maps))
    check_regularizer(case, model, *judged)


def _rows(model: CoreReadout, session: str) -> tuple[int, int]:
    first, count = model.rows(session)
    return first, first + count


def check_logged_values(case: Case) -> None:
    """What a training step sees, and what the reference would validate (our own loss is a mean; theirs is not)."""
    model = reference.make_core_readout(case.kwargs)
    reference.load_model(model, case.under("param"))
    x, targets = channels_last(case.array("input/x")), case.array("input/targets")
    first, count = model.rows(session_of(case, case.entry["call"]))
    case.check("test/model_cut_frames", model.lag)
    batch = Batch(
        stimulus=x[None],
        responses=jnp.asarray(targets)[None],
        first_neuron=jnp.asarray([first]),
        neuron_mask=jnp.ones((1, count), bool),
        own_order=jnp.ones((1, len(x), count), bool),
        clip_time=jnp.zeros((1, *x.shape[:2]), jnp.int32),
        n_sessions=jnp.ones(1, jnp.int32),
        session=jnp.zeros(1, jnp.int32),
        neuron_session=jnp.zeros((1, count), jnp.int32),
    )
    frames = x.shape[1] - model.lag
    for mode, prefix in (("training", ""), ("validation", "val_")):
        reference.load_model(model, case.under("param"))
        # the reference clips the features of a step's session before it looks at the penalty
        model.project(jnp.arange(model.readout.n_neurons) < count)
        value, logged = ResponseObjective(Poisson(samples=float(len(x) * frames)))(
            model, batch, train=mode == "training", key=None
        )
        case.check(f"{mode}/log/{prefix}regularization_loss_core", logged["penalty_core"])
        case.check(f"{mode}/log/{prefix}regularization_loss_readout", logged["penalty_readout"])
        case.check(f"{mode}/log/{prefix or 'train_'}evaluation_loss", logged["correlation"])
        total = logged["loss"] * len(x) * frames * count
        if mode == "training":
            case.check("training/log/train_loss", total)
            case.check("training/log/train_total_loss", value)
            case.check("training/returned", value)
        else:  # the reference divides by the sum of the output's shape
            case.check("validation/log/val_loss", total / (len(x) + frames + count))


def autoencoder(arrays: dict[str, np.ndarray]) -> SparseAutoencoder:
    """Our autoencoder with the reference's weights."""
    inputs, hidden = arrays["decoder.weight"].shape
    module = SparseAutoencoder(inputs, hidden=hidden, rngs=nnx.Rngs(0))
    reference.load(module, arrays)
    return module


def check_autoencoder_arrays(case: Case, prefix: str, module: SparseAutoencoder, state: Any) -> None:
    """Compare the arrays under a prefix with a state of the autoencoder."""
    arrays = case.under(prefix)
    assert set(arrays) == {"bias", "encoder.weight", "encoder.bias", "decoder.weight"}
    for name, (path, _, expected) in reference.places(module, arrays).items():
        close(case, f"{prefix}/{name}", state[path][...], expected)


def check_autoencoder(case: Case) -> None:
    module = autoencoder(case.under("param"))
    x, cotangent = jnp.asarray(case.array("input/x")), jnp.asarray(case.array("cotangent"))
    graph, params = nnx.split(module)

    def scalar(params: nnx.State, x: jax.Array) -> Any:
        output = nnx.merge(graph, params, copy=True)(x)
        return (output * cotangent).sum(), output

    (gradient, gradient_x), output = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(params, x)
    case.check("output", output)
    case.check("grad_input", gradient_x)
    check_autoencoder_arrays(case, "grad", module, gradient)
    case.check("encoded", module.encode(x))
    (sparsity,) = re.findall(r"sparsity_factor=([\d.e+-]+)", case.kwargs["loss"])
    objective = ReconstructionObjective(float(sparsity))
    total, logged = objective(passing_on(module), batch_of_responses(x), train=False, key=None)
    case.check("loss/mse", logged["loss"])
    case.check("loss/sparsity", logged["sparsity"])
    case.check("loss/total", total)


class PassOn(Readout):
    """Responses that are the stimulus: a pixel for each neuron."""

    def __init__(self, n_neurons: int):
        self.n_neurons = n_neurons

    def __call__(self, maps: jax.Array, first: Row = 0, width: int | None = None, *, key: Any = None) -> jax.Array:
        del first, width, key
        return maps[:, :, 0, :, 0]


def passing_on(module: SparseAutoencoder) -> AutoencoderModel:
    """A model whose responses, before the autoencoder, are its stimulus."""
    n_neurons = module.bias.shape[0]
    info = reference.make_info({"all": n_neurons}, (1, n_neurons, 1))
    return AutoencoderModel(CoreReadout(IdentityCore(1), PassOn(n_neurons), {}, info), module, {})


def batch_of_responses(x: jax.Array) -> Batch:
    """A batch whose stimulus are responses ``(..., neuron)``, for a model that passes them on."""
    n_neurons = x.shape[-1]
    x = x.reshape(1, -1, *x.shape[-2:])
    return Batch(
        stimulus=x[:, :, :, None, :, None],
        responses=jnp.zeros((*x.shape[:3], n_neurons)),
        first_neuron=jnp.zeros(1, jnp.int32),
        neuron_mask=jnp.ones((1, n_neurons), bool),
        own_order=jnp.ones((1, x.shape[1], n_neurons), bool),
        clip_time=jnp.zeros(x.shape[:3], jnp.int32),
        n_sessions=jnp.ones(1, jnp.int32),
        session=jnp.zeros(1, jnp.int32),
        neuron_session=jnp.zeros((1, n_neurons), jnp.int32),
    )


def check_autoencoder_training(case: Case) -> None:
    """Steps of our own trainer on a model whose responses are the frozen batches."""
    model = passing_on(autoencoder(case.under("param")))
    trainer = Trainer(
        model,
        Recipe(
            objective=ReconstructionObjective(case.kwargs["sparsity_factor"]),
            optimizer=AdamW(weight_decay=0.0),
            learning_rate=case.kwargs["learning_rate"],
        ),
    )
    state = trainer.init()
    step = jax.jit(trainer.step)
    losses = []
    for number in range(case.kwargs["steps"]):
        batch = batch_of_responses(jnp.asarray(case.array(f"input/batch_{number}")))
        if number == 0:
            check_first_step(case, model, batch)
        state, metrics = step(state, batch)
        losses.append(float(metrics["objective"]))
        if number == 0:
            case.check("step0/log/mse_loss", metrics["loss"])
            case.check("step0/log/sparsity_loss", metrics["sparsity"])
            case.check("step0/log/active_neurons", metrics["active_patterns"])
            case.check("step0/log/train_loss", metrics["objective"])
    case.check("losses", losses)
    check_autoencoder_arrays(case, "after", model.autoencoder, state.params["autoencoder"])


def check_first_step(case: Case, model: AutoencoderModel, batch: Batch) -> None:
    """The normalised patterns, and the gradient before and after what changes their norm is taken away."""
    model = nnx.clone(model)
    model.project(jnp.ones(1, bool))
    case.check("step0/decoder_normalized", model.autoencoder.decoder[...].T)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    objective = ReconstructionObjective(case.kwargs["sparsity_factor"])
    gradient = jax.jit(
        jax.grad(lambda params: objective(nnx.merge(graph, params, rest, copy=True), batch, train=False, key=None)[0])
    )(params)
    check_autoencoder_arrays(case, "step0/grad_before_projection", model.autoencoder, gradient["autoencoder"])
    decoder = model.project_gradient(gradient)["autoencoder"]["decoder"][...]
    case.check("step0/grad_after_projection/decoder.weight", decoder.T)


def check_autoencoder_with_model(case: Case) -> None:
    kwargs = case.kwargs["model"]
    # the reference encodes the sessions in the order of their names
    kwargs["n_neurons_dict"] = dict(sorted(kwargs["n_neurons_dict"].items()))
    base = reference.make_core_readout(kwargs)
    params = case.under("param")
    reference.load_model(base, under("model.", params))
    model = AutoencoderModel(base, autoencoder(under("autoencoder.", params)), {})
    x, cotangent = channels_last(case.array("input/x")), jnp.asarray(case.array("cotangent"))

    @functools.partial(jax.grad, has_aux=True)
    def scalar(x: jax.Array) -> Any:
        code = model.encode(x)
        return (code * cotangent).sum(), code

    gradient, code = jax.jit(scalar)(x)
    case.check("output", code)
    case.check("grad_input", channels_first(gradient))


def check_ensemble(case: Case) -> None:
    members = []
    for number, kwargs in enumerate(case.kwargs["members"]):
        member = reference.make_core_readout(kwargs)
        reference.load_model(member, under(f"members.{number}.", case.under("param")))
        members.append(member)
    model, x = Ensemble(members), channels_last(case.array("input/x"))
    session = session_of(case, case.entry["call"], kwargs["n_neurons_dict"])
    cotangent = jnp.asarray(case.array("cotangent"))

    @functools.partial(jax.grad, has_aux=True)
    def scalar(x: jax.Array) -> Any:
        output = model(x, session=session)
        each = jnp.stack([member(x, session=session) for member in members])
        return (output * cotangent).sum(), (output, each, model.spread(x, session=session))

    gradient, (output, each, spread) = jax.jit(scalar)(x)
    case.check("output", output)
    case.check("grad_input", channels_first(gradient))
    np.testing.assert_allclose(spread, each.std(axis=0), rtol=1e-4, atol=1e-6)


CHECKS: dict[str, Callable[[Case], None]] = {
    "logged_step_values": check_logged_values,
    "autoencoder_training": check_autoencoder_training,
    "autoencoder_with_model": check_autoencoder_with_model,
    "autoencoder_2d": check_autoencoder,
    "autoencoder_3d": check_autoencoder,
    "ensemble_of_models": check_ensemble,
}


@every_case(CASES)
def test_model_group(case: Case) -> None:
    """Every case of the group; one that is not known fails."""
    if case.name in CHECKS:
        CHECKS[case.name](case)
    else:
        assert case.entry["path"].endswith(("UnifiedCoreReadout", "ExampleCoreReadout")), case.name
        check_core_readout(case)
