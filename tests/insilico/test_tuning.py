import functools

import numpy as np
import pytest

from openretina_jax.data import artificial_patterns as patterns
from openretina_jax.data.artificial_stimuli import drifting_grating
from openretina_jax.errors import UserError
from openretina_jax.insilico import presentation, tuning
from openretina_jax.insilico.tuning import curves
from openretina_jax.models.build import make_core_readout
from tests import tiny
from tests.insilico import known
from tests.insilico.known import DIRECTIONAL, OFF, ON, ORIENTED

UNIT = known.INFO.norm_mean / known.INFO.norm_std


@functools.cache
def direction(padded: bool = False) -> tuning.Tuning:
    model = known.model(padded=padded)
    return tuning.direction(model, speed_um_per_s=1500.0, bar_width_um=100.0, permutations=200)


def test_direction():
    found = direction()
    assert found.curve.shape == (4, 8)
    selectivity, preferred = found.indices["selectivity"], found.indices["preferred_deg"]
    assert selectivity[[ON, OFF]].max() < 0.02
    assert selectivity[DIRECTIONAL] > 0.2
    assert abs((preferred[DIRECTIONAL] + 180) % 360 - 180) < 2
    assert found.indices["opposite"][DIRECTIONAL] > 0.5
    assert found.indices["opposite"][ON] < 0.05
    assert found.indices["p"][DIRECTIONAL] < 0.02


def test_models_with_and_without_lag_have_the_same_tuning():
    assert (known.model().lag, known.model(padded=True).lag) == (known.FRAMES - 1, 0)
    np.testing.assert_allclose(direction(padded=True).curve, direction().curve, atol=1e-5)


def test_orientation():
    angles, phases = (0.0, 45.0, 90.0, 135.0), (0.0, 90.0)
    found = tuning.orientation(known.model("identity"), angles, phases_deg=phases, permutations=100)
    gratings = [[patterns.grating(13, 11, orientation_deg=a, phase_deg=p) for p in phases] for a in angles]
    drive = np.abs(np.einsum("aphw,hw->ap", gratings, known.spatial(ORIENTED))).mean(axis=1)
    in_time = np.abs(known.kernel() @ np.exp(-4j * np.pi * np.arange(known.FRAMES) / known.RATE_HZ))
    np.testing.assert_allclose(found.curve[ORIENTED], 2 * UNIT * in_time * drive, rtol=1e-4)
    selectivity, preferred = found.indices["selectivity"], found.indices["preferred_deg"]
    assert selectivity[ON] < 0.05 < 0.3 < selectivity[ORIENTED]
    assert abs((preferred[ORIENTED] + 90) % 180 - 90) < 2


def test_speed():
    found = tuning.speed(known.model(), (500.0, 1500.0, 4500.0), directions_deg=(0.0, 180.0))
    assert found.indices["preferred_um_per_s"][DIRECTIONAL] == 1500  # a pixel a frame


def test_temporal_frequency_is_the_spectrum_of_the_kernel():
    found = tuning.temporal_frequency(known.model("identity", biphasic=0.8))
    frames = np.arange(known.FRAMES)
    spectrum = np.abs(known.kernel(0.8) @ np.exp(-2j * np.pi * np.outer(frames, found.values) / known.RATE_HZ))
    pixels = known.spatial(ON).sum() * known.COLOURS[ON].sum()
    np.testing.assert_allclose(found.curve[ON], UNIT * pixels * spectrum, rtol=1e-4)
    assert found.indices["preferred_hz"][ON] == found.values[spectrum.argmax()]
    assert found.indices["doubling"].max() < 1e-3  # linear


def test_spatial_frequency_is_the_spectrum_of_the_filter():
    found = tuning.spatial_frequency(known.model("identity"), (150.0, 300.0, 600.0, 1200.0), directions_deg=(0.0,))
    np.testing.assert_allclose(found.values, 1000 / np.array([1200.0, 600.0, 300.0, 150.0]))
    size, drive = known.INFO.input_shape, []
    for frequency in found.values:
        movie = drifting_grating(*size, period_um=1000 / frequency, temporal_frequency_hz=2.0, duration_s=0.5)
        in_space = np.einsum("thwc,hwc->t", movie, known.filters()[ON].sum(axis=0) / known.kernel().sum())
        in_time = np.abs(known.kernel() @ np.exp(-4j * np.pi * np.arange(known.FRAMES) / known.RATE_HZ))
        drive.append(UNIT * np.sqrt(2) * in_space.std() * in_time)
    np.testing.assert_allclose(found.curve[ON], drive, rtol=2e-3)
    assert found.indices["preferred_cycles_per_mm"][ON] == found.values[np.argmax(drive)]


def test_contrast_response_is_the_nonlinearity():
    found = tuning.contrast(known.model("softplus"))
    drive = UNIT * known.filters()[[ON, OFF]].sum(axis=(1, 2, 3, 4))[:, None] * found.values
    np.testing.assert_allclose(found.curve[[ON, OFF]], np.logaddexp(0, drive) - np.log(2), atol=1e-5)
    np.testing.assert_allclose(found.grey, np.log(2), rtol=1e-5)
    assert found.indices["on_off"][ON] == 1
    assert found.indices["on_off"][OFF] == -1
    linear = tuning.contrast(known.model("identity"))
    np.testing.assert_allclose(linear.indices["half_contrast"][[ON, OFF]], 0.5, rtol=1e-5)


def test_colour():
    found = tuning.colour(known.model())
    expected = (known.COLOURS[:, 0] - known.COLOURS[:, 1]) / known.COLOURS.sum(axis=1)
    np.testing.assert_allclose(found.indices["index"][:3], expected[:3], atol=1e-5)
    assert found.indices["contrast"][:3].tolist() == [1, -1, 1]
    assert found.indices["preferred_channel"][:2].tolist() == [0, 1]


def test_area():
    radii = np.array([25.0, 50, 75, 100, 150, 200, 400])
    found = tuning.area(known.model(), known.CENTRES_PX, radii)
    discs = [
        patterns.disc(known.HEIGHT, known.WIDTH, radius_um=float(r), pixel_size_um=50.0, centre_px=known.CENTRES_PX[ON])
        for r in radii
    ]
    drive = UNIT * known.COLOURS[ON].sum() * known.kernel().sum() * np.einsum("rhw,hw->r", discs, known.spatial(ON))
    np.testing.assert_allclose(found.curve[ON], drive, rtol=1e-4)
    assert found.indices["preferred_um"][ON] == radii[drive.argmax()] < 150
    np.testing.assert_allclose(found.indices["surround"][ON], 1 - drive[-1] / drive.max(), rtol=1e-4)
    assert found.indices["contrast"][:2].tolist() == [1, -1]


def test_annuli():
    settings = {"spot_um": 75.0, "contrasts": (1.0, -1.0)}
    found = tuning.annuli(known.model(), known.CENTRES_PX, (75.0, 150.0, 250.0), **settings)
    assert found.curve.shape == (4, 3)
    assert 0 < found.indices["suppression"][ON] < 1
    assert found.indices["strongest_um"][ON] == 75 or found.indices["strongest_um"][ON] == 150
    opposite = tuning.annuli(known.model(), known.CENTRES_PX, (75.0, 150.0, 250.0), surround=-1.0, **settings)
    excited = opposite.curve[ON] - opposite.indices["alone"][ON]
    np.testing.assert_allclose(excited, found.indices["alone"][ON] - found.curve[ON], atol=1e-5)  # linear above 0


def test_chirp_and_flashes():
    sustained, transient = (tuning.chirp(known.model(biphasic=b)) for b in (0.0, 1.0))
    assert sustained.indices["on_off"][[ON, OFF]].tolist() == [1, -1]
    np.testing.assert_allclose(sustained.indices["transience"][[ON, OFF]], 0, atol=1e-4)
    np.testing.assert_allclose(transient.indices["transience"][[ON, OFF]], 1, atol=0.02)
    assert sustained.indices["cutoff_hz"][ON] < transient.indices["cutoff_hz"][ON]
    np.testing.assert_allclose(sustained.indices["half_contrast"][ON], 0.5, atol=0.1)
    flash = tuning.flashes(known.model())
    assert flash.curve.shape == (4, 120)
    rise = np.cumsum(known.kernel()[::-1]) / known.kernel().sum()
    half = np.interp(0.5, rise, np.arange(known.FRAMES)) / known.RATE_HZ
    np.testing.assert_allclose(flash.indices["latency_s"][[ON, OFF]], half, rtol=1e-4)
    np.testing.assert_allclose(flash.indices["transience"][[ON, OFF]], 0, atol=1e-4)


def test_nonlinearity_along_the_own_filter_and_along_another():
    own = tuning.nonlinearity(known.model(), known.filters())
    assert own.indices["explained"].min() > 0.95
    assert (own.curve[:, own.values < -0.3] == 0).all()
    steps = np.diff(own.curve[:, own.values > 0.5], axis=1)
    np.testing.assert_allclose(steps / steps.mean(axis=1, keepdims=True), 1, atol=0.3)
    other = tuning.nonlinearity(known.model(), np.roll(known.filters(), 6, axis=2))
    assert other.indices["explained"].max() < 0.3


def test_one_program_serves_all_blocks(monkeypatch):
    monkeypatch.setattr(presentation, "BLOCK_VALUES", 3 * 5 * known.HEIGHT * known.WIDTH * known.CHANNELS)
    model = known.Known(known.filters(), "relu")
    before = presentation._alike._cache_size(), presentation._each._cache_size()
    blocks = tuning.contrast(model, duration_s=5 / known.RATE_HZ)
    centred = tuning.area(model, known.CENTRES_PX, (50.0, 100.0), duration_s=5 / known.RATE_HZ)
    assert presentation._alike._cache_size() == before[0] + 1
    assert presentation._each._cache_size() == before[1] + 1
    monkeypatch.undo()
    np.testing.assert_allclose(blocks.curve, tuning.contrast(model, duration_s=5 / known.RATE_HZ).curve, atol=1e-5)
    assert centred.curve.shape == (4, 2)


@pytest.mark.slow
def test_cores_of_single_sessions():
    core = {"kind": "simple", "hidden_channels": (2,), "temporal_kernel_sizes": (5,), "spatial_kernel_sizes": (3,)}
    core |= {"convolution": "custom_separable", "adapt_speed": True}
    model = make_core_readout({"core": core, "readout": {"kind": "factorized"}}, known.INFO)
    model.core.log_speed[...] = np.array([0.3, -0.3], np.float32)
    found = tuning.contrast(model, (-1.0, 1.0), duration_s=0.3)
    movies = np.stack([np.full((9, *known.INFO.input_shape), sign, np.float32) for sign in (-1, 1)])
    shown = UNIT * np.pad(movies, ((0, 0), (5, 0), (0, 0), (0, 0), (0, 0)))
    expected = np.concatenate(
        [np.asarray(tiny.predict(model, shown, session=name)) for name in known.INFO.sessions], axis=2
    )
    expected = expected.transpose(2, 0, 1)
    np.testing.assert_allclose(found.grey, expected[:, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found.curve, curves.extreme(expected[:, :, 1:] - expected[:, :1, :1]), atol=1e-5)
    area = tuning.area(model, known.CENTRES_PX, (1e4,), contrasts=(1.0,), duration_s=0.3)
    np.testing.assert_allclose(area.curve[:, 0], (expected[:, 1, 1:] - expected[:, 1, :1]).max(axis=1), atol=1e-5)


def test_table():
    steps = []
    found = tuning.tunings(
        known.model(),
        centres_px=known.CENTRES_PX,
        experiments=("contrast", "area"),
        progress=lambda *step: steps.append(step),
    )
    table = tuning.table(known.model(), found)
    assert table["session"].tolist() == ["one", "one", "one", "two"]
    assert table["neuron"].tolist() == [0, 1, 2, 0]
    assert {"contrast_on_off", "contrast_half_contrast", "area_surround"} < set(table)
    assert steps == [("tuning", 1, 2), ("tuning", 2, 2)]


def test_light_of_the_screen():
    assert tuning.Screen.of(known.model()).contrast_unit == 2
    screen = tuning.Screen.of(known.model(), mid_grey=60.0)
    assert (screen.grey, screen.contrast_unit) == (1, 3)
    assert tuning.Screen.in_model_units(known.model()).contrast_unit == 1


def test_probability_by_permutation():
    angles = np.arange(8) * 45.0
    tuned = 1 + np.cos(np.deg2rad(angles - 90))
    flat = np.random.default_rng(0).uniform(1, 2, (200, 2, 8))
    by_chance = curves.permutation_p(flat, angles, permutations=200)
    assert 0.02 < (by_chance < 0.1).mean() < 0.2  # evenly distributed
    assert curves.permutation_p(np.tile(tuned, (1, 2, 1)), angles)[0] < 0.01


def test_crossings():
    curve = np.array([[0.0, 1.0, 4.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0], [4.0, 4.0, 3.0, 0.0, 0.0]])
    values = np.arange(5.0)
    np.testing.assert_allclose(curves.crossing(curve, values), [4 / 3, np.nan, 0])
    np.testing.assert_allclose(curves.crossing(curve, values, last=True), [3, np.nan, 2 + 1 / 3])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: tuning.flashes(known.model(seconds=False)), "frame rate .* screen=Screen.of"),
        (lambda: tuning.area(known.model(seconds=False), known.CENTRES_PX), "size of its pixels; give pixel_size_um"),
        (lambda: tuning.area(known.model(), known.CENTRES_PX[:2]), "2 centres are given for 4 neurons"),
        (lambda: tuning.annuli(known.model(), known.CENTRES_PX, (50.0,)), "within the spot of 100 µm"),
        (lambda: tuning.spatial_frequency(known.model(), (80.0,)), "shorter than two pixels"),
        (lambda: tuning.temporal_frequency(known.model(), (20.0,)), "cannot be shown at 30.0 frames"),
        (lambda: tuning.temporal_frequency(known.model(), (0.2,)), "2 s hold no cycle of 0.2 Hz"),
        (lambda: tuning.nonlinearity(known.model(), known.filters()[:, :, 1:]), "filters have the shape"),
        (lambda: tuning.tunings(known.model(), experiments=("direktion",)), 'no tuning experiment "direktion"'),
        (lambda: tuning.tunings(known.model(), experiments=("area",)), "give centres_px"),
    ],
)
def test_mistakes(run, message):
    with pytest.raises(UserError, match=message):
        run()
