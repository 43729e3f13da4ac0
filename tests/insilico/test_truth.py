"""The simulated retina as a model: it is the simulator, differentiable, and in the order of a trained model."""

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.insilico.simulated_retina import SimulatedRetina
from openretina_jax.insilico.truth import truth_model
from openretina_jax.simulation import retina
from openretina_jax.simulation.cache import simulate, simulated_files
from openretina_jax.simulation.publications.sridhar_2025 import simulate as simulate_sridhar_2025
from openretina_jax.simulation.spiking import OUTPUT_SLOPE, SpikingNeurons
from openretina_jax.sources.hdf5 import load_hdf5
from openretina_jax.sources.hoefling_2024.sessions import load_hoefling_2024
from openretina_jax.sources.sridhar_2025.sessions import load_sridhar_2025
from tests.insilico import known_retina
from tests.insilico.known_retina import FRAMES, KEPT, NEURONS, ROI_IDS, as_stimulus, clips
from tests.presets import TWO_SESSIONS
from tests.sources import sridhar_2025_files

predict = nnx.jit(lambda model, stimulus: model(stimulus))
predict_rows = nnx.jit(lambda model, stimulus, rows: model.respond_rows(stimulus, rows))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known_retina.write(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def everyone(path: Path) -> SimulatedRetina:
    return truth_model(path)


def seen(name: str) -> np.ndarray:
    """The clips after grey as a session saw them, one after the other (time, height, width, channel)."""
    movie = as_stimulus(np.concatenate(clips()[1:]))
    return movie[:, :, ::-1] if known_retina.simulated()[name][1].mirrored else movie


@pytest.mark.parametrize("name", ["first", "second"])
def test_it_answers_as_the_simulator_does(everyone: SimulatedRetina, name: str) -> None:
    """The first clip is grey, which is what the model assumes to come before a stimulus."""
    wanted = known_retina.simulated()[name][0][FRAMES:]
    first, count = everyone.rows(name)
    found = np.asarray(predict(everyone, jnp.asarray(seen(name)[None])))[0][:, first : first + count]
    assert wanted.std(axis=0).min() > 0.05
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_chosen_neurons_answer_as_all_of_them_do(everyone: SimulatedRetina) -> None:
    rows = np.array([[0, 9], [13, 2], [5, 5]])
    stimulus = as_stimulus(clips()[1:, :40].reshape(3 * 40, *clips().shape[2:])).reshape(3, 40, 18, 16, 2)
    found = predict_rows(everyone, jnp.asarray(stimulus), jnp.asarray(rows))
    wanted = np.take_along_axis(np.asarray(predict(everyone, jnp.asarray(stimulus))), rows[:, None], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_rows_are_in_the_order_of_the_trained_model(path: Path, everyone: SimulatedRetina) -> None:
    trained = known_retina.info_of_trained_model(path)
    model = truth_model(path.parent, trained)
    place = {roi: row for row, roi in enumerate(ROI_IDS.tolist())}
    rows = [everyone.rows(name)[0] + place[roi] for name, rois in KEPT.items() for roi in rois]
    movie = jnp.asarray(seen("first")[None, :40])
    np.testing.assert_allclose(predict(model, movie)[0], predict(everyone, movie)[0][:, np.array(rows)], atol=1e-6)
    assert model.data_info.sessions == trained.sessions
    assert everyone.data_info.sessions == {"first": NEURONS, "second": NEURONS}
    for name, rois in KEPT.items():
        session = known_retina.simulated()[name][1].neurons
        for row, roi in enumerate(rois):
            facts = {column: values[row] for column, values in model.data_info.neurons[name].items()}
            assert facts["roi_id"] == roi
            assert facts["centre_px"] == session["centre_px"][place[roi]].tolist()
            assert facts["true_type"].encode() == session["cell_type"][place[roi]]
            kind = next(kind for kind in retina.CELL_TYPES if kind.name == facts["true_type"])
            wanted = session["direction_deg"][place[roi]] if kind.directional else None
            assert facts["preferred_deg"] == wanted
    assert DataInfo.from_json(model.data_info.to_json()) == model.data_info


@pytest.mark.slow
def test_with_the_lag_of_a_trained_model_the_last_responses_stay(path: Path, everyone: SimulatedRetina) -> None:
    late = truth_model(path, lag=30)
    assert (everyone.lag, late.lag) == (0, 30)
    movie = jnp.asarray(seen("first")[None, :40])
    np.testing.assert_array_equal(predict(late, movie), predict(everyone, movie)[:, 30:])
    assert not late.per_session
    assert late.is_causal()


def last(model: SimulatedRetina, stimulus: jax.Array) -> jax.Array:
    """Mean of the last responses, of every neuron to a stimulus of its own."""
    rows = jnp.arange(model.data_info.n_neurons)[:, None]
    return model.respond_rows(stimulus, rows)[:, -5:].mean(axis=(1, 2))


def test_gradients_are_those_of_finite_differences(everyone: SimulatedRetina) -> None:
    """At grey too, where rectifiers have a kink: differences to both sides see the mean of the two slopes."""
    answer = nnx.jit(last)
    gradient_at = nnx.jit(nnx.grad(lambda model, stimulus: last(model, stimulus).sum(), argnums=1))
    noise = np.random.default_rng(1).standard_normal((2 * NEURONS, 40, 18, 16, 2)).astype(np.float32)
    for stimulus in (noise, np.zeros_like(noise)):
        gradient = np.asarray(gradient_at(everyone, jnp.asarray(stimulus)))
        slope = np.sqrt(np.square(gradient).sum(axis=(1, 2, 3, 4)))
        assert slope.min() > 1e-3
        assert np.isfinite(slope).all()
        step = 0.005 * gradient / slope[:, None, None, None, None]  # larger ones see the curvature
        there, back = (answer(everyone, jnp.asarray(stimulus + sign * step)) for sign in (1, -1))
        np.testing.assert_allclose((there - back) / 0.01, slope, rtol=0.015, atol=2e-5)


SMALL = {"n_sessions": 2, "neurons_per_session": 4, "clips": 3, "clip_length": 30, "n_repeats": 2}


def expected_spikes(file: Path, session: str, movie: np.ndarray, frame_rate_hz: float) -> np.ndarray:
    """Mean responses (time, neuron) that the simulator's own functions compute from the numbers in the file."""
    with h5py.File(file) as opened:
        known = {name: values[()] for name, values in opened[session].items() if isinstance(values, h5py.Dataset)}
    neurons = SpikingNeurons(**{field.name: known[field.name] for field in dataclasses.fields(SpikingNeurons)})
    drives = [neurons.drive(movie[..., channel], frame_rate_hz)[:, n] for n, channel in enumerate(known["channel"])]
    above = (np.stack(drives, axis=1) - known["drive_mean"]) / known["drive_scale"] - known["threshold"]
    return known["gain"] * np.logaddexp(0, OUTPUT_SLOPE * above)


def test_cells_that_see_noise_in_colours_answer_as_the_simulator_does(tmp_path: Path) -> None:
    recordings = simulate("hdf5", tmp_path, SMALL)["path"]
    data = load_hdf5(recordings, test_names=["random_noise_3"], clip_length=30, validation_clips=1)
    model = truth_model(recordings, data.info)
    assert model.receptive_field().frames == 12
    movie = data.stimuli["train"]
    raw = movie.frames if movie.raw else movie.frames * movie.norm_std + movie.norm_mean
    found = np.asarray(predict(model, jnp.asarray(movie.normalized()[None])))[0]
    wanted = [expected_spikes(tmp_path / "truth.h5", name, raw, 30.0) for name in data.info.sessions]
    np.testing.assert_allclose(found[12:], np.concatenate(wanted, axis=1)[12:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        found[:90].mean(axis=0), np.concatenate(list(model.data_info.mean_activity.values())), rtol=0.05
    )
    rows = jnp.asarray([[6], [1]])
    alone = predict_rows(model, jnp.asarray(movie.normalized()[None, :50].repeat(2, axis=0)), rows)
    np.testing.assert_allclose(alone[..., 0].T, found[:50, np.array([6, 1])], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stimulus", ["natural_movie", "white_noise"])
def test_cells_of_cropped_movies_answer_as_the_simulator_does(tmp_path: Path, stimulus: str) -> None:
    size = sridhar_2025_files.small(stimulus)
    data = load_sridhar_2025(
        sridhar_2025_files.write(tmp_path, stimulus),
        stimulus=stimulus,
        retinas=("01", "03"),
        screen=size.screen,
        crops=dict.fromkeys(
            ("01", "03"), (size.margin_rows, size.margin_rows, size.margin_columns, size.margin_columns)
        ),
        excluded_cells={"01": (0, 1)},
    )
    model = truth_model(tmp_path, data.info)
    session = data.sessions[0]
    movie = data.stimuli[session.stimulus].normalized()
    found = np.asarray(predict(model, jnp.asarray(movie[None])))[0][:, : session.n_neurons]
    wanted = expected_spikes(tmp_path / "truth.h5", session.name, movie, data.info.frame_rate_hz or 0.0)
    np.testing.assert_allclose(found, wanted[:, session.neurons["cell_index"]], rtol=1e-5, atol=1e-5)
    mean = found.mean(axis=0)
    assert (np.abs(session.responses.mean(axis=0) - mean) < 4 * np.sqrt(mean / len(found))).all()
    if stimulus == "white_noise":  # the files of another seed have the same names, cells and frames
        simulate_sridhar_2025(tmp_path / "other", dataclasses.replace(size, seed=size.seed + 1))
        with pytest.raises(UserError, match=r"was not written with the files in .*/white_noise; .*another seed"):
            truth_model(tmp_path / "other", data.info)


@pytest.mark.slow
def test_it_answers_as_in_the_simulated_recordings(simulated: Path) -> None:
    files = simulated_files("hoefling_2024", TWO_SESSIONS, simulated)
    folder = Path(files["responses_path"]).parent
    data = load_hoefling_2024(**files)
    model = truth_model(folder, data.info)
    movie = jnp.asarray(data.stimuli["test"].normalized()[None])
    with h5py.File(folder / "truth.h5") as file:
        for session in data.sessions:
            shown = movie[:, :, :, ::-1] if session.mirrored else movie
            first, count = model.rows(session.name)
            found = predict(model, shown)[0, 100:, first : first + count]
            rois = np.asarray(session.neurons["roi_id"]) - 1
            np.testing.assert_allclose(found, file[session.name]["test"][100:][:, rois], rtol=0, atol=1e-5)
            recorded = session.repeats["test"].mean(axis=0)[100:]
            assert (
                np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(found.T, recorded.T, strict=True)]) > 0.7
            )


def changed(info: DataInfo, **columns: Any) -> DataInfo:
    """Facts of a model whose first session has other columns."""
    return dataclasses.replace(info, neurons=info.neurons | {"second": info.neurons["second"] | columns})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: dataclasses.replace(info, sessions={"third": 2}), 'no session "third", but first, second'),
        (lambda info: changed(info, roi_id=[21, 5]), r"second has no neurons with roi_id \[5\]"),
        (lambda info: changed(info, cell_type=[1, 46]), 'another "cell_type".*another seed'),
        (lambda info: dataclasses.replace(info, sessions=info.sessions | {"second": 3}), "has 2 neurons, the model 3"),
        (lambda info: dataclasses.replace(info, input_shape=(72, 64, 2)), r"\(18, 16, 2\) at 30 Hz.*\(72, 64, 2\)"),
    ],
)
def test_models_of_other_recordings_are_refused(path: Path, change: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        truth_model(path, change(known_retina.info_of_trained_model(path)))


def test_files_that_cannot_be_used_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"truth\.h5; write it with the recordings by openretina-jax simulate"):
        truth_model(tmp_path)
    file = tmp_path / "truth.h5"
    file.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="is damaged"):
        truth_model(file)
    for change, message in {
        lambda opened: opened["second"].pop("pool_px"): "another version of the simulator: second lacks pool_px",
        lambda opened: opened.attrs.update(constants="[]"): r"numbers in simulation/retina.py have changed",
        lambda opened: opened.attrs.pop("kind"): "it does not say kind; write it",
        lambda opened: opened.attrs.update(kind="cones"): '"cones" is not known',
    }.items():
        file.write_bytes(path.read_bytes())
        with h5py.File(file, "a") as opened:
            change(opened)
        with pytest.raises(UserError, match=message):
            truth_model(file)
