import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico import ascent, objectives
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.optimize import optimize_stimuli, stimulus_frames
from openretina_jax.insilico.stimuli import Stimuli, agreement
from openretina_jax.insilico.targets import groups, neurons
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from tests.insilico.models import CHANNELS, FRAMES, HEIGHT, INFO, WIDTH, convolutional, filters, lnp

SHORT = Ascent(steps=6, block=3, patience=None)
UNBOUNDED = Constraint.of(CHANNELS, norm=2.0)


def norms(movies: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(movies, dtype=np.float64).sum(axis=(-4, -3, -2, -1)))


@pytest.mark.slow
def test_the_best_stimulus_of_an_lnp_model_is_its_filter() -> None:
    found = optimize_stimuli(lnp(), neurons(lnp()), constraint=UNBOUNDED, window=1)
    wanted = filters(lnp())
    assert found.movies.shape == (5, 1, FRAMES, HEIGHT, WIDTH, CHANNELS)
    cosine = (found.best * wanted).sum(axis=(1, 2, 3, 4)) / (2.0 * norms(wanted))
    assert cosine.min() > 0.999
    np.testing.assert_allclose(found.linear, found.activation[:, 0], rtol=1e-3)
    least = optimize_stimuli(lnp(), neurons(lnp()), objectives.decrease, constraint=UNBOUNDED, window=1)
    cosine = (least.best * wanted).sum(axis=(1, 2, 3, 4)) / (2.0 * norms(wanted))
    assert cosine.max() < -0.999


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 3, 7])
def test_blocks_give_the_stimuli_of_single_runs(block: int) -> None:
    model = convolutional()
    options = {"constraint": UNBOUNDED, "window": 2, "start": "linear"}
    together = optimize_stimuli(model, neurons(model), ascent=dataclasses.replace(SHORT, block=block), **options)
    for row in range(5):
        alone = optimize_stimuli(model, neurons(model, [row]), ascent=SHORT, **options)
        np.testing.assert_allclose(together.movies[row], alone.movies[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(together.history[row], alone.history[0], rtol=1e-5)


@pytest.mark.slow
def test_results_have_their_norm_range_history_and_baselines() -> None:
    model = convolutional()
    natural = np.random.default_rng(0).standard_normal((7, FRAMES + 2, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    found = optimize_stimuli(model, groups(model), window=3, natural=natural, seeds=2, ascent=SHORT)
    expected = 0.2 * INFO.frame_norm * np.sqrt(FRAMES + 2)
    np.testing.assert_allclose(norms(found.movies), expected, rtol=1e-4)
    assert (found.movies >= found.low).all()
    assert (found.movies <= found.high).all()
    assert found.history.shape == (3, 2, 6)
    assert np.isfinite(found.history).all()
    np.testing.assert_allclose(found.activation, found.history.max(axis=2), rtol=1e-5)
    scaled = natural / norms(natural)[:, None, None, None, None] * expected
    responses = np.asarray(model(scaled))[:, -3:].mean(axis=1)
    of_types = np.stack([responses[:, [1, 3]].mean(axis=1), responses[:, 4], responses[:, [0, 2]].mean(axis=1)])
    np.testing.assert_allclose(found.natural, of_types.max(axis=1), rtol=1e-4)
    assert (found.activation.max(axis=1) > found.natural).all()
    table = found.table()
    assert table["target"].tolist() == ["1", "3", "28"]
    assert table["agreement"].between(-1, 1).all()


@pytest.mark.parametrize("make", [convolutional, lnp])
def test_no_frame_of_the_default_stimulus_is_without_gradient(make: Callable[[], CoreReadout]) -> None:
    model = make()
    frames = stimulus_frames(model, 10)
    stimulus = jax.random.normal(jax.random.key(0), (1, frames, HEIGHT, WIDTH, CHANNELS))
    gradient = jax.jit(jax.grad(lambda x: model(x)[0, -10:].mean()))(stimulus)
    assert (np.abs(gradient).max(axis=(0, 2, 3, 4)) > 0).all()
    assert frames == model.lag + 10


@pytest.mark.slow
def test_targets_that_end_early_make_room() -> None:
    model = lnp()
    early = Ascent(steps=200, patience=5, block=2)
    found = optimize_stimuli(model, neurons(model), constraint=UNBOUNDED, window=1, ascent=early, seeds=2)
    assert (found.steps < 200).all()
    assert (found.steps >= 10).all()
    assert np.isnan(found.history[0, 0, found.steps[0, 0] :]).all()
    assert found.agreement.min() > 0.99


@pytest.mark.slow
def test_an_experiment_compiles_once_and_the_next_not_at_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ascent.compiled_climb.cache_clear()
    model, count = convolutional(), 0
    climb = ascent.climb

    def counted(*arguments: object) -> object:
        nonlocal count
        count += 1
        return climb(*arguments)

    monkeypatch.setattr(ascent, "climb", counted)
    with caplog.at_level(logging.INFO, logger="openretina_jax"):
        for rows in ([0, 1, 2, 3, 4], [4, 3, 2]):
            optimize_stimuli(
                model, neurons(model, rows), constraint=UNBOUNDED, window=2, ascent=dataclasses.replace(SHORT, block=1)
            )
    assert count == 1
    assert "5 stimuli of 7 frames, 1 at a time" in caplog.text
    assert "MB" in caplog.text


@pytest.mark.slow
def test_adam_jitter_and_ones_own_objective() -> None:
    def peak(responses: jax.Array, targets: object) -> jax.Array:
        return targets.mean(responses).max(axis=1)

    model = convolutional()
    options = Ascent(steps=8, optimizer=optax.adam(0.3), jitter_px=1, jitter_frames=1)
    found = optimize_stimuli(model, neurons(model, [0, 1]), peak, window=3, ascent=options)
    np.testing.assert_allclose(found.activation[:, 0], found.responses[:, 0, -3:].max(axis=1), rtol=1e-5)
    assert (found.activation[:, 0] > found.grey).all()
    assert found.config["objective"] == "peak"


@pytest.mark.slow
def test_metamers_evoke_the_responses_that_are_wanted() -> None:
    model, targets = convolutional(), neurons(convolutional(), [0, 3])
    movie = np.random.default_rng(3).standard_normal((2, FRAMES + 3, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    wanted = np.asarray(targets.respond(model, jnp.asarray(movie)))
    found = optimize_stimuli(
        model,
        dataclasses.replace(targets, wanted=wanted),
        objectives.match,
        window=4,
        frames=FRAMES + 3,
        constraint=Constraint.of(CHANNELS, norm=norms(movie).astype(np.float32)),
        ascent=Ascent(steps=150, patience=None),
    )
    spread = np.square(wanted - wanted.mean(axis=1, keepdims=True)).mean(axis=(1, 2))
    assert (-found.activation[:, 0] < 0.02 * spread).all()
    assert np.corrcoef(found.best[0].ravel(), movie[0].ravel())[0, 1] < 0.9


SIMPLE = {"kind": "simple", "hidden_channels": (2,), "temporal_kernel_sizes": (3,), "spatial_kernel_sizes": (3,)}
CORES = {
    "gru": {"kind": "gru", "hidden_channels": (2, 2), "temporal_kernel_sizes": (3, 3), "spatial_kernel_sizes": (3, 3)},
    "per_session": {**SIMPLE, "adapt_speed": True},
    "padded": {**SIMPLE, "input_padding": "same"},
}


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_any_core(core: str) -> None:
    model = make_core_readout({"core": CORES[core], "readout": {"kind": "gaussian_mask"}}, INFO)
    natural = np.zeros((1, stimulus_frames(model, 3), HEIGHT, WIDTH, CHANNELS), np.float32) + 0.1
    found = optimize_stimuli(model, neurons(model, [0, 4]), window=3, natural=natural, ascent=SHORT)
    assert (found.activation[:, 0] > found.grey).all()
    assert np.isfinite(found.natural).all()


def test_files_bring_everything_back(tmp_path: Path) -> None:
    found = optimize_stimuli(lnp(), neurons(lnp(), [1]), constraint=UNBOUNDED, window=1, ascent=SHORT)
    for name in ("stimuli.h5", "stimuli.npz"):
        found.save(tmp_path / name)
        read = Stimuli.load(tmp_path / name)
        assert read.names == found.names
        assert read.config == found.config
        np.testing.assert_array_equal(read.movies, found.movies)
        assert read.members is None
    with pytest.raises(UserError, match="must end in"):
        found.save(tmp_path / "stimuli.txt")
    (tmp_path / "bad.h5").write_bytes(b"no")
    for name in ("bad.h5", "missing.npz"):
        with pytest.raises(UserError, match="cannot be read"):
            Stimuli.load(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "does not fit"),
        ({"frames": FRAMES, "window": 2}, "give 7 frames or more"),
        ({"constraint": Constraint.of(CHANNELS, norm=100.0, low=-1.0, high=1.0)}, "cannot be reached"),
        ({"constraint": Constraint.of(CHANNELS)}, "grows for ever"),
        ({"start": "natural"}, "no natural windows"),
        ({"start": "warm"}, "choose among noise, linear, natural"),
        ({"natural": np.zeros((1, 2, HEIGHT, WIDTH, CHANNELS), np.float32)}, "natural windows have the shape"),
        ({"seeds": 0}, "1 or more"),
    ],
)
def test_wrong_use_is_one_line_before_the_run(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        optimize_stimuli(lnp(), neurons(lnp(), [0]), **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"block": 0}, {"patience": 0}, {"learning_rate": 0.0}, {"jitter_px": -1}]
)
def test_wrong_ascents_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        Ascent(**wrong)


def test_agreement_is_the_mean_correlation_of_pairs() -> None:
    movies = np.random.default_rng(0).standard_normal((2, 3, 4, 2, 2, 1)).astype(np.float32)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [np.mean([np.corrcoef(one[a].ravel(), one[b].ravel())[0, 1] for a, b in pairs]) for one in movies]
    np.testing.assert_allclose(agreement(movies), expected, rtol=1e-5)
    assert np.isnan(agreement(movies[:, :1])).all()


@pytest.mark.slow
def test_an_interrupted_search_goes_on_to_the_same_stimuli() -> None:
    model = convolutional()
    options = {"constraint": UNBOUNDED, "window": 2, "ascent": SHORT, "seeds": 2}
    whole = optimize_stimuli(model, neurons(model), **options)
    told: list[tuple[str, int, int]] = []

    class Interrupted(dict[str, dict[str, np.ndarray]]):
        def __setitem__(self, name: str, found: dict[str, np.ndarray]) -> None:
            if len(self) == 4:
                raise KeyboardInterrupt
            super().__setitem__(name, found)

    kept = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        optimize_stimuli(model, neurons(model), kept=kept, **options)
    resumed = optimize_stimuli(
        model, neurons(model), kept=dict(kept), progress=lambda *done: told.append(done), **options
    )
    np.testing.assert_array_equal(resumed.movies, whole.movies)
    np.testing.assert_array_equal(resumed.history, whole.history)
    assert ("steps of 10 stimuli", 24, 60) in told
    assert ("steps of 10 stimuli", 60, 60) in told
