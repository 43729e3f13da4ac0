import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico import experiments
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.targets import groups
from openretina_jax.models.ensemble import Ensemble
from tests import tiny
from tests.insilico.models import CHANNELS, convolutional, lnp

OPTIONS = {
    "constraint": Constraint.of(CHANNELS, norm=3.0, low=-1.0, high=1.0),
    "window": 2,
    "ascent": Ascent(steps=10, patience=None),
}


@pytest.mark.slow
def test_exciting_and_suppressive_stimuli_move_responses_apart() -> None:
    most = experiments.most_exciting(lnp(), "all", **OPTIONS)
    least = experiments.most_suppressive(lnp(), "all", **OPTIONS)
    assert (most.activation[:, 0] > most.grey).all()
    assert (least.activation[:, 0] > least.grey).all()
    assert (most.activation[:, 0] > -least.activation[:, 0]).all()


def test_selective_targets_weigh_the_others_of_the_session() -> None:
    targets = experiments.selective(lnp(), [1, 4])
    assert targets.rows[:, 0].tolist() == [1, 4]
    np.testing.assert_allclose(targets.weights, [[1, -0.5, -0.5], [1, -1, 0]])


@pytest.mark.slow
def test_discriminative_stimuli_favour_their_group() -> None:
    members = {"a": [0, 2], "b": [1], "c": [3, 4]}
    found = experiments.most_discriminative(lnp(), members, normalise=False, **OPTIONS)
    responses = np.asarray(lnp()(found.best))[:, -2:].mean(axis=1)
    by_group = np.stack([responses[:, rows].mean(axis=1) for rows in members.values()], axis=1)
    assert by_group.argmax(axis=1).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="two groups"):
        experiments.most_discriminative(lnp(), {"a": [0]}, **OPTIONS)


@pytest.mark.slow
def test_clusters_are_found_by_their_stimuli() -> None:
    found = experiments.cluster_by_stimuli(lnp(), "all", count=2, iterations=4, **OPTIONS)
    assert set(found.cluster.tolist()) == {0, 1}
    assert found.selectivity.shape == (5, 2)
    if found.moved[-1] == 0:
        np.testing.assert_array_equal(found.selectivity.argmax(axis=1), found.cluster)
    with pytest.raises(UserError, match="number of clusters"):
        experiments.cluster_by_stimuli(lnp(), "all", count=6)


@pytest.mark.slow
def test_a_surround_leaves_the_centre_and_changes_the_response() -> None:
    centre = experiments.most_exciting(lnp(), [0, 3], **OPTIONS)
    found = experiments.contextual(lnp(), centre, [0, 3], sign=-1, ascent=OPTIONS["ascent"])
    mask = experiments.centre_mask(centre.best)
    for number in range(2):
        np.testing.assert_array_equal(found.best[number][:, mask[number]], centre.best[number][:, mask[number]])
    assert (found.activation[:, 0] > found.grey).all()


@pytest.mark.slow
def test_controversial_stimuli_part_two_members() -> None:
    ensemble = Ensemble([convolutional(0), convolutional(1)])
    found = experiments.controversial(ensemble, [0, 1], **OPTIONS)
    first, second = (np.asarray(member(found.best))[:, -2:].mean(axis=1) for member in ensemble.unstacked())
    np.testing.assert_allclose(found.activation[:, 0], (first - second)[[0, 1], [0, 1]], rtol=1e-4, atol=1e-6)
    both = experiments.most_exciting(ensemble, [0, 1], **OPTIONS)
    np.testing.assert_allclose(both.members.mean(axis=2), both.activation, rtol=1e-4)


@pytest.mark.slow
def test_centred_neurons_of_a_type_look_at_the_middle() -> None:
    model = experiments.centred(convolutional())
    assert np.abs(model.readout.mask_mean[...]).max() == 0
    assert np.abs(convolutional().readout.mask_mean[...]).max() > 0
    assert len(experiments.most_exciting(model, groups(model), **OPTIONS)) == 3
    with pytest.raises(UserError, match="no positions"):
        experiments.centred(lnp())


def test_natural_windows_lie_within_clips() -> None:
    dataset = tiny.dataset()
    movie = dataset.stimuli["train"].frames
    starts = {movie[start].tobytes(): start for start in range(len(movie))}
    for window in experiments.natural_windows(dataset, 10, 20):
        start = starts[window[0].tobytes()]
        assert start % tiny.CLIP_LENGTH + 10 <= tiny.CLIP_LENGTH
        np.testing.assert_array_equal(window, movie[start : start + 10])
    with pytest.raises(UserError, match="no training movie"):
        experiments.natural_windows(dataset, 10_000)
