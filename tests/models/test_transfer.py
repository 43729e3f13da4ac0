"""Sessions that are added to a trained model."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.info import DataInfo
from openretina_jax.data.sta import gaussian_2d
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.transfer import add_sessions, merge, read_sta_filters
from tests import tiny

OPTIONS = tiny.MODEL | {"core": tiny.MODEL["core"] | {"adapt_speed": True}}


def info_of(sessions: dict[str, int]) -> DataInfo:
    """Facts of data with these sessions."""
    return dataclasses.replace(
        tiny.dataset().info,
        sessions=sessions,
        mean_activity={name: [0.5] * count for name, count in sessions.items()},
        neurons={},
    )


@pytest.fixture(scope="module")
def trained() -> CoreReadout:
    """A model none of whose numbers are those that it began with."""
    model = make_core_readout(OPTIONS, tiny.dataset().info)
    rng = np.random.default_rng(0)
    for _, variable in nnx.to_flat_state(nnx.state(model)):
        variable[...] = variable[...] + jnp.asarray(0.1 * rng.random(variable.shape), variable.dtype)
    return model


@pytest.mark.slow
def test_known_sessions_answer_as_before(trained: CoreReadout) -> None:
    model = add_sessions(trained, info_of({"new": 2, "newer": 6}))
    assert list(model.data_info.sessions) == ["new", "newer", *trained.data_info.sessions]
    movie = np.random.default_rng(1).standard_normal(trained.stimulus_shape(20)).astype(np.float32)
    for session in trained.data_info.sessions:
        found, expected = (tiny.predict(one, movie, session=session) for one in (model, trained))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(model.readout.bias[...][:8], np.full(8, 0.5, np.float32))
    np.testing.assert_array_equal(model.core.log_speed[...], [0, 0, *np.asarray(trained.core.log_speed[...])])
    assert model.data_info.n_neurons == 8 + trained.data_info.n_neurons


def test_other_sessions_instead_of_the_trained_ones(trained: CoreReadout) -> None:
    """Names say nothing then: a session of the same name may be another recording."""
    model = add_sessions(trained, info_of({"left": 5, "new": 2}), keep=False)
    assert dict(model.data_info.sessions) == {"left": 5, "new": 2}
    np.testing.assert_array_equal(model.readout.bias[...], np.full(7, 0.5, np.float32))
    np.testing.assert_array_equal(model.core.layers[0].conv.spatial[...], trained.core.layers[0].conv.spatial[...])


@pytest.mark.slow
def test_a_session_that_comes_again_keeps_its_rows(trained: CoreReadout) -> None:
    model = add_sessions(trained, info_of({"left": 4, "new": 2}))
    assert list(model.data_info.sessions) == ["left", "new", "right_1", "right_2"]
    movie = np.random.default_rng(1).standard_normal(trained.stimulus_shape(20)).astype(np.float32)
    found, expected = (tiny.predict(one, movie, session="left") for one in (model, trained))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert model.data_info.mean_activity["left"] == [0.5] * 4


def test_masks_and_channels_of_both() -> None:
    trained = dataclasses.replace(info_of({"a": 2, "b": 2}), packed_roi_masks={"a": "old", "b": "old"})
    new = dataclasses.replace(info_of({"a": 2, "c": 1}), packed_roi_masks={"a": "new"}, channels=["green", "UV"])
    both = merge(new, trained)
    assert both.packed_roi_masks == {"a": "new", "b": "old"}
    assert both.channels == ["green", "UV"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("readout", "sessions"),
    [
        ({"kind": "cloned", "source": {"kind": "gaussian_mask"}}, {"b": 2}),
        ({"kind": "cloned", "source": {"kind": "gaussian_mask"}}, {"new": 2, "b": 2}),
        ({"kind": "point_gaussian", "position_ids": [0, 1, 0, 1]}, {"b": 2}),
    ],
    ids=["cloned", "cloned-new", "point_gaussian"],
)
def test_what_is_relative_to_a_session_stays_so(readout: dict[str, Any], sessions: dict[str, int]) -> None:
    """Gains, offsets and maps are relative to the first session, also where that is no longer the first."""
    options = {"core": {"kind": "identity"}, "readout": readout}
    known = make_core_readout(options, info_of({"a": 2, "b": 2}))
    rng = np.random.default_rng(0)
    for _, variable in nnx.to_flat_state(nnx.state(known, nnx.Param)):
        variable[...] = variable[...] + jnp.asarray(0.5 * rng.random(variable.shape), variable.dtype)
    known.project(jnp.ones(4, bool))
    model = add_sessions(known, info_of(sessions))
    assert list(model.data_info.sessions) == [*sessions, "a"]
    model.project(jnp.ones(model.data_info.n_neurons, bool))  # as a step does
    movie = rng.standard_normal(known.stimulus_shape(3)).astype(np.float32)
    answers = tiny.predict(known, movie)
    for session in ("a", "b"):
        first, _ = known.rows(session)
        found = tiny.predict(model, movie, session=session)
        np.testing.assert_allclose(found, answers[..., first : first + 2], rtol=1e-6, err_msg=session)


def test_sessions_that_do_not_fit(trained: CoreReadout) -> None:
    with pytest.raises(UserError, match="left: has 5 neurons, but 4 in the trained model; rename the session"):
        add_sessions(trained, info_of({"left": 5}))
    other = dataclasses.replace(info_of({"new": 2}), input_shape=(12, 10, 1))
    with pytest.raises(UserError, match=r"\(12, 10, 1\), the trained model needs \(12, 10, 2\)"):
        add_sessions(trained, other)


def test_patches_do_not_hang_on_the_rounding_of_a_fit(tmp_path: Path) -> None:
    """An average centred on a pixel is fitted a little before or behind it; its patch begins at the same pixel."""
    centres = [(6.0, 5.0), (4.0, 3.0), (7.0, 6.0)]
    frames = np.linspace(0.2, 1, 4)[:, None, None]
    for cell, centre in enumerate(centres):
        spatial = gaussian_2d((tiny.HEIGHT, tiny.WIDTH), centre, (1.5, 1.2), 0.3 * cell, 1.0)
        np.save(tmp_path / f"{cell}.npy", (frames * spatial).astype(np.float32))
    info = dataclasses.replace(
        info_of({"left": 3}), input_shape=(tiny.HEIGHT, tiny.WIDTH, 1), neurons={"left": {"cell_index": [0, 1, 2]}}
    )
    readout = {"temporal_frames": 4, "patch": (3, 3), "sta_folder": str(tmp_path), "sta_pattern": "{cell_index}.npy"}
    model = make_core_readout({"core": {"kind": "identity"}, "readout": {"kind": "spatial_contrast", **readout}}, info)
    read_sta_filters(model)
    np.testing.assert_array_equal(model.readout.corner[...], np.subtract(centres, 1))
