"""The experiments of openretina, from frozen numbers."""

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from openretina_jax.insilico import decomposition
from openretina_jax.insilico import reference as theirs
from openretina_jax.insilico.vector_field import coordinates, principal_components
from openretina_jax.models.core_readout import CoreReadout
from tests import goldens_case, reference
from tests.goldens_case import Case, case, cases
from tests.module_goldens import channels_first, channels_last, with_gradients

find = functools.partial(case, "insilico")


@functools.cache
def tiny_model() -> CoreReadout:
    """The model of all cases."""
    tiny = find("tiny_model")
    model = reference.make_core_readout(tiny.kwargs["model"])
    reference.load_model(model, tiny.under("param"))
    return model


def slice_mean(axis: int, start: int, length: int) -> theirs.Reducer:
    return functools.partial(theirs.slice_mean, start=start, length=length, axis=axis)


# the reference's objects by the names of their classes
MAKERS: dict[str, Callable[..., Any]] = {
    "MeanReducer": lambda axis: functools.partial(jnp.mean, axis=axis),
    "SliceMeanReducer": slice_mean,
    "SGD": lambda lr: optax.sgd(lr),
    "Adam": lambda lr: optax.adam(lr),
    "OptimizationStopper": lambda max_iterations: {},
    "EarlyStopper": lambda patience, min_delta: {"patience": patience, "min_delta": float(min_delta)},
    "ChangeNormJointlyClipRangeSeparately": lambda ranges, norm: functools.partial(
        theirs.change_norm, ranges=ranges, norm=norm
    ),
    "TemporalGaussianLowPassFilterProcessor": lambda sigma, kernel_size: functools.partial(
        theirs.low_pass, sigma=sigma, size=kernel_size
    ),
    "RangeRegularizationLoss": lambda ranges, max_norm, factor: functools.partial(
        theirs.range_penalty, ranges=ranges, max_norm=max_norm, factor=factor
    ),
}


def made(text: str) -> Any:
    """What a call such as ``"torch.optim.SGD(lr=1.0)"`` makes."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    name = ast.unparse(call.func).split(".")[-1]
    arguments = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    return MAKERS[name](*map(ast.literal_eval, call.args), **arguments)


def objective_of(options: dict[str, Any]) -> theirs.Objective:
    """The objective that a case describes."""
    reducer = made(options.get("reducer", "MeanReducer(0)"))
    session = options["data_key"]
    match options["cls"]:
        case "IncreaseObjective":
            return theirs.increase_objective(tiny_model(), options["neuron_indices"], session, reducer)
        case "ContrastiveNeuronObjective":
            on, off = options["on_cluster_idc"], options["off_cluster_idc_list"]
            return theirs.contrastive_objective(tiny_model(), on, off, session, reducer, options["temperature"])
        case "InnerNeuronVisualizationObjective":
            core, features, layer, kind = options["layer"].split("_")
            assert (core, features, layer[:5], kind) == ("core", "features", "layer", "nonlin")
            return theirs.inner_objective(tiny_model(), int(layer[5:]), options["channel"], reducer)
    raise KeyError(options["cls"])


def checked_gradient(
    case: Case, output: str, cotangent: str, call: Callable[[jax.Array], jax.Array], x: jax.Array
) -> jax.Array:
    """Compare a value, and return the gradient of the input."""
    value, gradient = jax.jit(with_gradients(call))(jnp.asarray(case.array(cotangent)), x)
    case.check(output, value)
    return gradient


def test_model() -> None:
    case, model = find("tiny_model"), tiny_model()
    x = channels_last(case.array("input/x"))
    predict = jax.jit(lambda x: {session: model(x, session=session) for session in model.data_info.sessions})
    for session, responses in predict(x).items():
        case.check(f"output/{session}", responses)


@pytest.mark.parametrize("name", ["norm_and_clip", "clip_partial", "norm_only"])
def test_change_norm(name: str) -> None:
    case = find(f"change_norm_{name}")
    options = case.kwargs
    x = channels_last(case.array("input/x"))
    case.check("output", channels_first(theirs.change_norm(x, options["min_max_values"], options["norm"])))


@pytest.mark.parametrize("name", ["odd", "even"])
def test_low_pass(name: str) -> None:
    case = find(f"temporal_lowpass_{name}")
    sigma, size = case.kwargs["sigma"], case.kwargs["kernel_size"]
    case.check("output/kernel", theirs.low_pass_kernel(sigma, size))
    case.check("output/filtered", channels_first(theirs.low_pass(channels_last(case.array("input/x")), sigma, size)))


@pytest.mark.parametrize("name", ["no_norm", "norm"])
def test_range_penalty(name: str) -> None:
    case = find(f"range_regularization_{name}")
    options = case.kwargs
    penalty = functools.partial(
        theirs.range_penalty,
        ranges=options["min_max_values"],
        max_norm=options["max_norm"],
        factor=options["factor"],
    )
    gradient = checked_gradient(case, "output", "cotangent", penalty, channels_last(case.array("input/x")))
    case.check("grad_input", channels_first(gradient))


def test_reducers(caplog: pytest.LogCaptureFixture) -> None:
    case = find("reducers")
    x = jnp.asarray(case.array("input/x"))
    gradients = []
    for name, options in case.kwargs.items():
        kwargs = dict(options)
        reducer = MAKERS[kwargs.pop("class", "SliceMeanReducer")](**kwargs)
        gradients.append(checked_gradient(case, f"output/{name}", f"cotangent/{name}", reducer, x))
    case.check("grad_input", sum(gradients[1:], start=gradients[0]))
    too_late = [name for name, options in case.kwargs.items() if options.get("start", 0) >= x.shape[options["axis"]]]
    assert len(caplog.records) == len(too_late)


def test_contrast_of_scores() -> None:
    case = find("contrastive_objective_fn")
    call = functools.partial(theirs.contrast_of_scores, temperature=case.kwargs["temperature"])
    scores = jnp.asarray(case.array("input/scores"))
    case.check("grad_input", checked_gradient(case, "output", "cotangent", call, scores))


@pytest.mark.parametrize("name", ["increase", "increase_all_sessions", "contrastive", "inner"])
def test_objective(name: str) -> None:
    case = find(f"objective_{name}")
    x = channels_last(case.array("input/x"))
    value, gradient = jax.jit(jax.value_and_grad(objective_of(case.kwargs)))(x)
    case.check("output", value)
    case.check("grad_input", channels_first(gradient))


@pytest.mark.parametrize("name", ["sgd_lr1", "sgd_lr1_norm_clip", "adam", "adam_filter_norm", "sgd_early_stop"])
def test_trajectory(name: str) -> None:
    case = find(f"optimize_{name}")
    options = case.kwargs
    found = theirs.optimize_as_openretina(
        objective_of(options["objective"]),
        channels_last(case.array("input/x")),
        made(options["optimizer"]),
        theirs.Stopper(options["max_iterations"], **made(options["stopper"])),
        processors=[made(text) for text in options["postprocessors"]],
        penalties=[made(text) for text in options["regularization"]],
    )
    case.check("losses", found.losses)
    case.check("output", channels_first(found.stimulus))


def test_early_stop() -> None:
    case = find("early_stopper")
    sequences = case.under("input")
    for name, losses in sequences.items():
        for number, options in enumerate(case.kwargs["variants"]):
            stopper = theirs.Stopper(len(losses), **options)
            case.check(f"output/{name}_{number}", [stopper.stop(loss) for loss in losses.tolist()])


@pytest.mark.parametrize("step", ["0p4", "0p5"])
def test_gradient_grid(step: str) -> None:
    case = find(f"response_gradient_grid_step_{step}")
    x = channels_last(case.array("input/x"))
    found = theirs.gradient_grid(objective_of(case.kwargs["objective"]), x, case.kwargs["step_size"])
    case.check("grid", found.gradient)
    case.check("resp_grid", found.response)
    case.check("norm_grid", found.norm)
    for axis in ("green", "uv"):
        case.check(f"{axis}_contrast_values", found.contrasts)


def test_equalize_channels() -> None:
    case = find("equalize_channels")
    x = channels_last(case.array("input/x"))
    case.check("output/plain", channels_first(theirs.equalize_channels(x)))
    case.check("output/flip_green", channels_first(theirs.equalize_channels(x, flip_first=True)))


def test_prepare_movies() -> None:
    case = find("prepare_movies_dataset")
    images = np.moveaxis(case.array("input/image_library"), 1, -1)
    norms, shown, lag = case.kwargs["movie_norm_dict"], case.kwargs["n_image_frames"], tiny_model().lag
    case.check("output/temporal_padding", lag)
    for name in case.under("output"):
        if name.startswith("movies_"):
            session = name.removeprefix("movies_")
            norm = {} if session == "not_normalized" else norms.get(session, norms["default"])
            movies, grey_frames = theirs.prepare_movies(images, lag, shown_frames=shown, **norm)
            expected = case.array(f"output/{name}")
            case.check(f"output/{name}", np.moveaxis(movies, -1, 1)[: len(expected)])
            case.check("output/n_empty_frames", grey_frames)


def test_lsta_library() -> None:
    case = find("lsta_vector_field")
    options = case.kwargs
    movies = np.moveaxis(case.array("input/movies"), 1, -1)
    window = tuple(options["integration_window"])
    gradients, responses = theirs.lsta_library(tiny_model(), movies, options["session_id"], options["cell_id"], window)
    case.check("lsta_library", np.moveaxis(gradients, -1, 1))
    case.check("response_library", responses)
    channel = options["pca_channel"]
    components, explained = principal_components(gradients[..., channel])
    flat = components.reshape(2, -1)
    expected = [case.array(name) for name in ("pc1", "pc2")]
    signs = np.sign((flat * np.stack(expected)).sum(axis=1))  # those of the reference are arbitrary
    for name, component, sign in zip(("pc1", "pc2"), flat, signs, strict=True):
        case.check(name, sign * component)
    case.check("explained_variance_ratio", explained)
    case.check("images_coordinate", signs * coordinates(case.array("input/images")[:, channel], components))
    case.check("arrowheads", signs * coordinates(gradients[..., channel], components))


def test_video_analysis() -> None:
    case = goldens_case.case("data", "video_analysis")
    options = case.kwargs
    kernel = case.array("input/kernel")
    rate, cutoff = options["sampling_frequency"], options["lowpass_cutoff"]
    case.check("output/filtered", decomposition.low_pass(kernel, rate, cutoff, options["order"]))
    frequencies, amplitudes = decomposition.spectrum(kernel, rate, cutoff)
    case.check("output/fft_frequencies", frequencies)
    case.check("output/fft_weights", amplitudes)
    case.check("output/main_frequency", decomposition.main_frequency(frequencies, amplitudes))
    temporal, spatial = theirs.decompose_kernel(case.array("input/space_time"))
    case.check("output/temporal", temporal)
    case.check("output/spatial", spatial)
    rest = case.array("input/space_time") - temporal[:, None, None] * spatial
    case.check("output/second_singular_value", np.linalg.norm(rest.reshape(len(rest), -1), 2))


def test_every_case_has_a_test() -> None:
    """Cases whose names end as no text of this file does would pass unseen."""
    texts = {
        node.value
        for node in ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    ends = tuple(f"_{text}" for text in texts if isinstance(text, str) and text)
    assert [case.name for case in cases("insilico") if not f"_{case.name}".endswith(ends)] == []
