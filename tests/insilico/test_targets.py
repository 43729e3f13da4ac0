import jax
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico.targets import groups, neuron_names, neurons
from tests import tiny
from tests.insilico.models import CHANNELS, FRAMES, HEIGHT, WIDTH, convolutional, lnp


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("best:2", [1, 3]),
        ("best:9", [0, 1, 2, 3, 4]),
        ("every:2", [0, 2, 4]),
        ("one:0,2", [0, 2]),
        ("two", [3, 4]),
        ("type:28", [0, 2]),
        ([4, 0], [4, 0]),
    ],
)
def test_words_choose_neurons(chosen: str | list[int], rows: list[int]) -> None:
    targets = neurons(lnp(), chosen)
    assert targets.rows[:, 0].tolist() == rows
    assert targets.names == tuple(neuron_names(lnp())[row] for row in rows)
    assert targets.session.tolist() == [int(row > 2) for row in rows]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("best:0", "a number from 1 on"),
        ("three:1", "choose among one, two"),
        ("one:3", "neurons 0 to 2"),
        ("type:29", 'no neuron is of type "29"'),
        ([5], "rows from 0 to 4"),
        ([], "none"),
    ],
)
def test_wrong_choices_are_one_line(chosen: str | list[int], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        neurons(lnp(), chosen)
    assert "\n" not in str(raised.value)


def test_groups_are_means_of_their_neurons() -> None:
    model = convolutional()
    targets = groups(model)
    assert targets.names == ("1", "3", "28")
    stimulus = np.random.default_rng(0).standard_normal((3, FRAMES + 2, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    mean = targets.mean(jax.jit(lambda stimulus: targets.respond(model, stimulus))(stimulus))
    responses = np.asarray(tiny.predict(model, stimulus))
    for number, rows in enumerate(([1, 3], [4], [0, 2])):
        np.testing.assert_allclose(mean[number], responses[number][:, rows].mean(axis=1), rtol=1e-5)


def test_alike_is_every_target_at_every_stimulus() -> None:
    model, targets = convolutional(), groups(convolutional())
    stimulus = np.random.default_rng(1).standard_normal((2, FRAMES + 1, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    alike = np.asarray(jax.jit(lambda stimulus: targets.respond_alike(model, stimulus))(stimulus))
    respond = jax.jit(lambda stimulus: targets.respond(model, stimulus))
    for number in range(2):
        each = respond(np.repeat(stimulus[number : number + 1], 3, axis=0))
        np.testing.assert_allclose(alike[number], each, rtol=1e-5, atol=1e-6)
