"""Cores and readouts, chosen by flags alone: each trains, is saved, and comes back to the bit; all fit each other."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.batches import DataArrays, Timelines, batches_of
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import SessionSampler
from openretina_jax.errors import UserError
from openretina_jax.experiment.recipe import make_recipe, resolved, start_model
from openretina_jax.models.model import Model
from openretina_jax.models.saving import load_model
from openretina_jax.models.transfer import filters_of
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.shifters import SHIFTERS
from openretina_jax.runtime.registry import signature
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.trainer import Trainer
from tests import tiny
from tests.experiment.configuration import configuration

CONFIG = Path(__file__).parents[2] / "configs" / "hoefling_low_res.py"
NEURONS_PER_SESSION, STA_FRAMES, STEPS = 3, 6, 3
SMALL = {
    "core.simple.hidden_channels": (4, 3),
    "core.simple.temporal_kernel_sizes": (6, 3),
    "core.simple.spatial_kernel_sizes": (5, 3),
    "core.simple.hidden_padding": (0, 1, 1),
    "core.gru.hidden_channels": (4, 3),
    "core.gru.temporal_kernel_sizes": (6, 3),
    "core.gru.spatial_kernel_sizes": (5, 3),
    "core.gru.hidden_padding": (0, 1, 1),
    "core.gru.recurrent_channels": 3,
    "core.identity.cut_first_frames": 5,
    "readout.separable_lnp.spatial_size": (5, 4),
    "readout.separable_lnp.temporal_frames": 4,
    "readout.spatial_contrast.temporal_frames": STA_FRAMES,
}
ONE_CHANNEL = {  # what a spatial contrast readout needs of a core
    "simple": {"core.simple.hidden_channels": (4, 1)},
    "gru": {"core.gru.recurrent_channels": 1},
    "identity": {"core.identity.color_weights": (0.5, 0.5)},
}
COMBINATIONS = list(itertools.product(CORES.kinds(), READOUTS.kinds()))
# every core and every readout; in other combinations they meet in the shape of the maps alone
TRAINED = [pair for pair in COMBINATIONS if pair[0] == "identity" or pair[1] == "gaussian_mask"]
OTHERS = [pair for pair in COMBINATIONS if pair not in TRAINED]


@functools.cache
def dataset() -> Dataset:
    """The tiny data set with as many neurons in each session, whose cells have numbers."""
    equal = tiny.equal_dataset(NEURONS_PER_SESSION)
    numbers = {"cell_index": np.arange(1, NEURONS_PER_SESSION + 1)}
    sessions = tuple(dataclasses.replace(session, neurons=numbers) for session in equal.sessions)
    return dataclasses.replace(equal, sessions=sessions)


@pytest.fixture(scope="module")
def sta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spike-triggered averages of all cells, one file each."""
    folder = tmp_path_factory.mktemp("sta")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: tiny.HEIGHT, : tiny.WIDTH]
    for session, cell in itertools.product(dataset().sessions, range(1, NEURONS_PER_SESSION + 1)):
        blob = np.exp(-((y - 6 + rng.uniform(-1, 1)) ** 2 + (x - 5 + rng.uniform(-1, 1)) ** 2) / 6)
        sta = np.sin(np.arange(STA_FRAMES + 2))[:, None, None] * blob + 0.01 * rng.standard_normal(blob.shape)
        np.save(folder / f"cell_data_{session.name}_WN_stas_cell_{cell}.npy", sta)
    return folder


def settings_of(core: str, readout: str, more: dict[str, Any]) -> dict[str, Any]:
    """The configuration as the command line makes it."""
    chosen = {"core.kind": core, "readout.kind": readout, **SMALL, **more}
    overrides = (f"--config.model.{name}={value}" for name, value in chosen.items())
    return resolved(configuration(str(CONFIG), *overrides).to_dict())


def build(core: str, readout: str, sta_folder: Path) -> tuple[Model, dict[str, Any]]:
    more = {}
    if readout == "spatial_contrast":
        more = ONE_CHANNEL[core] | {"readout.spatial_contrast.sta_folder": sta_folder}
    settings = settings_of(core, readout, more)
    return start_model(settings, dataset().info, filters_of(dataset())), settings


def steps_of(model: Model, settings: dict[str, Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The program of a few steps, and its arguments."""
    trainer = Trainer(model, make_recipe(settings, model))
    tables = Tables(dataset())
    timelines = tables.training()
    windows = SessionSampler(timelines, window_frames=20, windows_per_step=3, seed=0)[0]
    return trainer.epoch(20), (
        trainer.init(),
        DataArrays.of(tables),
        Timelines.of(timelines),
        windows.timeline[:STEPS],
        windows.start[:STEPS],
        jnp.asarray(0),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("core", "readout"), TRAINED)
def test_a_model_trains_and_is_saved(core: str, readout: str, sta_folder: Path, tmp_path: Path) -> None:
    model, settings = build(core, readout, sta_folder)
    train, arguments = steps_of(model, settings)
    state, metrics = train(*arguments)
    assert int(state.step) == STEPS
    assert np.isfinite(float(metrics["objective"]))
    about = {"config": settings | {"model": model.options}, "data_info": json.loads(model.data_info.to_json())}
    Checkpoints(tmp_path / "checkpoints", json.loads(json.dumps(about))).save(1, state, 0.5, seconds=1.0)
    before = {name: np.asarray(leaf) for name, leaf in leaves(model).items()}
    nnx.update(model, *state.evaluated)
    assert any((leaf != before[name]).any() for name, leaf in leaves(model).items())
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(24)).astype(np.float32)
    loaded = load_model(tmp_path)
    assert_predicts(loaded)
    for session in (None, "left"):
        answers = [tiny.predict(one, movie, session=session) for one in (loaded, model)]
        np.testing.assert_array_equal(*answers)


@pytest.mark.slow
@pytest.mark.parametrize(("core", "readout"), OTHERS)
def test_a_model_meets_its_objective(core: str, readout: str, sta_folder: Path) -> None:
    """Constraints, predictions and penalties are traced, but neither compiled nor run."""
    model, settings = build(core, readout, sta_folder)
    recipe = make_recipe(settings, model)
    batch = next(iter(batches_of(dataset(), window_frames=20, windows_per_step=3)))
    rows = jnp.ones(model.data_info.n_neurons, bool)
    graph, variables = nnx.split(model)

    def step(variables: nnx.State, key: jax.Array) -> Any:
        model = nnx.merge(graph, variables, copy=True)
        model.project(rows)
        return recipe.objective(model, batch, train=True, key=key)

    value, metrics = jax.eval_shape(step, variables, jax.random.key(0))
    assert {value.shape, *(metric.shape for metric in metrics.values())} == {()}
    assert_predicts(model)


def assert_predicts(model: Model) -> None:
    """What a model answers has the shape and the type that it promises, also where 64 bits are the default."""
    movie = jax.ShapeDtypeStruct(model.stimulus_shape(24), jnp.float32)
    for wide in (False, True):
        with jax.enable_x64(wide), jax.numpy_dtype_promotion("standard" if wide else "strict"):
            responses = nnx.eval_shape(lambda model, movie: model(movie), model, movie)
        assert responses.shape == (1, 24 - model.lag, model.data_info.n_neurons)
        assert responses.dtype == jnp.float32


def leaves(model: Model) -> dict[str, Any]:
    return {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))}


@pytest.mark.parametrize(
    "kind",
    [("core", kind) for kind in CORES.kinds()] + [("readout", k) for k in READOUTS.kinds()] + [("shifter", "mlp")],
)
def test_the_configuration_names_every_option(kind: tuple[str, str]) -> None:
    """What the constructors take and what ``configs/common.py`` lists are the same."""
    part, name = kind
    of_readout = {"in_shape", "n_neurons", "session_sizes", "mean_activity", "rf_location", "map_location", "rngs"}
    registry, given = {
        "core": (CORES, {"in_channels", "n_sessions", "conditions", "rngs"}),
        "readout": (READOUTS, of_readout),
        "shifter": (SHIFTERS, {"mean", "deviation", "rngs"}),
    }[part]
    chosen = {"core": "simple", "readout": "gaussian_mask"} | {part: name}
    more = {"shifter.kind": name} if part == "shifter" else {}
    settings = settings_of(chosen["core"], chosen["readout"], more)
    assert set(settings["model"][part]) - {"kind"} == signature(registry[name])[0].keys() - given


def test_a_kind_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r'config\.model\.core\.kind is "grru"; choose among gru, identity, simple'):
        settings_of("grru", "gaussian_mask", {})


def test_a_spatial_contrast_readout_of_many_features(sta_folder: Path) -> None:
    settings = settings_of("simple", "spatial_contrast", {"readout.spatial_contrast.sta_folder": sta_folder})
    with pytest.raises(UserError, match="color_weights"):
        start_model(settings, dataset().info, filters_of(dataset()))


def test_filters_come_from_the_files(sta_folder: Path) -> None:
    model, _ = build("identity", "spatial_contrast", sta_folder)
    np.testing.assert_allclose(np.linalg.norm(model.readout.temporal[...], axis=1), 1, rtol=1e-5)
    assert np.asarray(model.readout.spatial[...]).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("readout", "more"),
    [("separable_lnp", {}), ("spatial_contrast", {"filters": "trained", "patch": (6, 6)})],
)
def test_filters_start_at_the_data(readout: str, more: dict[str, Any]) -> None:
    """With ``start_at_sta`` single cells begin elsewhere than without."""
    chosen = {f"readout.{readout}.{name}": value for name, value in more.items()} | ONE_CHANNEL["identity"]
    plain, located = (
        start_model(
            settings_of("identity", readout, chosen | {f"readout.{readout}.start_at_sta": at_sta}),
            dataset().info,
            filters_of(dataset()),
        )
        for at_sta in (False, True)
    )
    assert (np.asarray(plain.readout.corner[...]) != np.asarray(located.readout.corner[...])).any()
    assert np.isfinite(located.readout.spatial[...]).all()


@pytest.mark.parametrize(("folder", "message"), [(None, "needs sta_folder"), ("nowhere", "nowhere")])
def test_filters_that_are_missing(folder: str | None, message: str) -> None:
    more = ONE_CHANNEL["identity"] | ({"readout.spatial_contrast.sta_folder": folder} if folder else {})
    with pytest.raises(UserError, match=message):
        start_model(settings_of("identity", "spatial_contrast", more), dataset().info, filters_of(dataset()))
