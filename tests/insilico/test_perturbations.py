import functools

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico import perturbations as p
from tests.insilico import known

RNG = np.random.default_rng(0)
MOVIE = RNG.standard_normal((40, *known.INFO.input_shape)).astype(np.float32)


def test_blur_keeps_the_mean_and_what_is_even():
    even = np.ones((6, 5, 4, 2), np.float32)
    np.testing.assert_allclose(p.blurred(even, 1.5), even, rtol=1e-6)
    np.testing.assert_allclose(p.low_passed(even, 1.5), even, rtol=1e-6)
    dot = np.zeros((9, 9, 9, 1), np.float32)
    dot[4, 4, 4] = 1
    in_space, in_time = p.blurred(dot, 1.0), p.low_passed(dot, 1.0)
    np.testing.assert_allclose([in_space[4].sum(), in_time[:, 4, 4].sum()], 1, rtol=1e-3)
    assert np.count_nonzero(in_space.any(axis=(1, 2, 3))) == 1
    assert np.count_nonzero(in_time.any(axis=(0, 3))) == 1


def test_channels_and_mirrors():
    one = p.one_channel(MOVIE, 1, grey=0.5)
    np.testing.assert_array_equal(one[..., 1], MOVIE[..., 1])
    assert (one[..., 0] == 0.5).all()
    for change in (p.swapped_channels, p.time_reversed, p.mirrored):
        assert not np.array_equal(change(MOVIE), MOVIE)
        np.testing.assert_array_equal(change(change(MOVIE)), MOVIE)
    np.testing.assert_array_equal(p.mirrored(MOVIE)[:, :, 0], MOVIE[:, :, -1])


def test_contrast():
    scaled = p.contrast_scaled(MOVIE, 0.5)
    np.testing.assert_allclose(scaled.mean(axis=(0, 1, 2)), MOVIE.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=(0, 1, 2)), MOVIE.std(axis=(0, 1, 2)) / 2, rtol=1e-5)


def test_cuts():
    order = p.cut_order(10, 4, seed=1)
    assert sorted(order) == list(range(10))
    assert (np.diff(order) == 1).sum() >= 7  # frames of a clip stay together


def test_centre_and_surround_add_up():
    centre, surround = (
        p.masked(MOVIE, part, centre_px=(6.0, 5.0), radius_px=2.5, grey=0.3) for part in ("centre", "surround")
    )
    np.testing.assert_allclose(centre + surround - 0.3, MOVIE, atol=1e-5)
    np.testing.assert_allclose(centre[:, 6, 5], MOVIE[:, 6, 5], atol=1e-6)
    np.testing.assert_allclose(centre[:, 0], 0.3, atol=1e-6)


def test_effect():
    changes = {
        "none": lambda movie: movie,
        "half": functools.partial(p.contrast_scaled, factor=0.5),
        "first": functools.partial(p.one_channel, channel=0),
        "scrambled": p.cut_order(40, 20, seed=0),
        "backwards": np.arange(40)[::-1],
    }
    table = p.effect(known.model("identity"), MOVIE, changes)
    assert len(table) == 5 * 4
    assert table[["session", "neuron"]][:4].to_numpy().tolist() == [["one", 0], ["one", 1], ["one", 2], ["two", 0]]
    of = {name: rows for name, rows in table.groupby("perturbation")}
    np.testing.assert_allclose(of["none"][["correlation", "gain"]], 1, rtol=1e-5)
    np.testing.assert_allclose(of["half"]["correlation"], 1, atol=0.05)  # grey comes before the mean of a movie
    np.testing.assert_allclose(of["half"]["gain"], 0.5, atol=0.05)
    np.testing.assert_allclose(of["none"]["mean_change"], 0, atol=1e-6)
    on, off = of["first"]["correlation"].to_numpy()[:2]
    assert on > off  # the OFF neuron sees the second channel
    scrambled, backwards = (of[name]["correlation"].to_numpy()[:2] for name in ("scrambled", "backwards"))
    assert (scrambled > backwards).all()  # history changes at the cuts only


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: p.one_channel(MOVIE, 2), "channel is 2, but the movie has channels 0 to 1"),
        (lambda: p.cut_order(10, 0), "clip_frames is 0"),
        (lambda: p.masked(MOVIE, "center", centre_px=(1.0, 1.0), radius_px=1.0), "choose among centre, surround"),
        (lambda: p.effect(known.model(), MOVIE, {"cut": lambda m: m[1:]}), '"cut" returns a movie of shape'),
        (lambda: p.effect(known.model(), MOVIE, {"twice": np.zeros(40, int)}), "each of the 40 frames once"),
    ],
)
def test_mistakes(run, message):
    with pytest.raises(UserError, match=message):
        run()
