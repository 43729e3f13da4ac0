"""Scores against the truth: a perfect model reaches them all, and one whose neurons are exchanged misses them."""

import numpy as np
import pytest

from openretina_jax.insilico import against_truth, score
from openretina_jax.insilico.against_truth import RULES, Answers, Columns, Questions
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.controls import shuffled_rows
from openretina_jax.insilico.presentation import Screen
from openretina_jax.insilico.simulated_retina import SimulatedRetina
from openretina_jax.insilico.truth import truth_model
from tests.insilico import known_retina
from tests.insilico.known_retina import as_stimulus, clips

pytestmark = pytest.mark.slow
LAG, WINDOW = 20, 4


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRetina:
    path = known_retina.write(tmp_path_factory.mktemp("simulated"))
    return truth_model(path, known_retina.info_of_trained_model(path), lag=LAG)


@pytest.fixture(scope="module")
def questions(truth: SimulatedRetina) -> Questions:
    movies = [as_stimulus(clip) for clip in clips()[1:]]
    return Questions(
        screen=Screen.of(truth, pixel_size_um=50.0),
        windows=np.stack([movie[: LAG + 31] for movie in movies[:2]]),
        natural=np.stack([movie[: LAG + WINDOW] for movie in movies]),
        chosen=[0, 3],
        constraint=Constraint.of(2, norm=20.0, low=-3.0, high=3.0),
        seeds=2,
        window=WINDOW,
        ascent=Ascent(steps=10),
        sta_frames=1000,
    )


@pytest.fixture(scope="module")
def true(truth: SimulatedRetina, questions: Questions) -> Answers:
    return against_truth.answers(truth, truth, LAG, questions)


@pytest.fixture(scope="module")
def perfect(truth: SimulatedRetina, true: Answers, questions: Questions) -> Columns:
    return against_truth.neuron_columns(truth, truth, true, questions)


def test_a_perfect_model_passes_all(perfect: Columns, truth: SimulatedRetina) -> None:
    found = {one.name: one for one in against_truth.metrics(perfect)}
    assert found.keys() == RULES.keys()
    exact = {"closed_loop", "spatial_map", "temporal_kernel", "time_to_peak", "mean_gradient", "single_gradient"}
    for name in exact | {"direction_curve", "area_curve", "preferred_radius", "surround", "colour"}:
        assert found[name].value == pytest.approx(1, abs=1e-4), name
    # a thousand frames of noise leave the centre of an average uncertain
    assert [one.name for one in found.values() if not one.passes and not one.name.startswith("sta")] == []
    table = against_truth.neuron_table(truth, perfect)
    assert len(table) == truth.data_info.n_neurons
    assert table["closed_loop"].notna().tolist() == [row in (0, 3) for row in range(len(table))]


def test_exchanged_neurons_miss_them(
    perfect: Columns, truth: SimulatedRetina, true: Answers, questions: Questions
) -> None:
    broken = against_truth.neuron_columns(shuffled_rows(truth), truth, true, questions)
    good, bad = against_truth.metrics(perfect), against_truth.metrics(broken)
    missed = {one.name for one in bad if not one.passes}
    assert {"closed_loop", "spatial_map", "temporal_kernel", "mean_gradient", "single_gradient"} <= missed
    blind = [line for line in score.failures(good, {"shuffled rows": bad}) if "cannot tell" in line]
    assert len(blind) == len({one.name for one in bad if one.passes})


def test_thresholds_can_be_given(perfect: Columns) -> None:
    found = {one.name: one for one in against_truth.metrics(perfect, {"closed_loop": 1.5})}
    assert not found["closed_loop"].passes
    assert found["closed_loop"].threshold == 1.5
    without = {name: values for name, values in perfect.items() if name != "true_colour"}
    assert {one.name for one in against_truth.metrics(without)} == RULES.keys() - {"colour"}


def test_metrics_can_be_left_out(perfect: Columns) -> None:
    found = against_truth.metrics(perfect, {"direction_auc": None})
    assert {one.name for one in found} == RULES.keys() - {"direction_auc"}


def test_imaging_blurs_the_true_gradients(true: Answers, truth: SimulatedRetina) -> None:
    one = np.zeros_like(true.gradients)
    one[:, :, 10] = 1
    blurred = against_truth.as_imaged(true._replace(gradients=one), 0.25, truth.data_info.frame_rate_hz)
    course = blurred.gradients[0, 0, :, 0, 0, 0]
    np.testing.assert_allclose(course[6:15], np.array([0, 1, 2, 3, 4, 3, 2, 1, 0]) / 16, atol=1e-6)
    same = score.cosine(against_truth.as_imaged(true, 0.999, 30.0).gradients, true.gradients)
    np.testing.assert_allclose(same[np.isfinite(same)], 1, atol=1e-3)
