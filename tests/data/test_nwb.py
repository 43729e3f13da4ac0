"""NWB files, written by pynwb: units, series, templates and trials become arrays."""

import datetime
import sys
from pathlib import Path

import numpy as np
import pynwb
import pytest

from openretina_jax.data.arrays import ArrayRecording, from_arrays
from openretina_jax.data.nwb import read_nwb
from openretina_jax.data.spikes import count_spikes
from openretina_jax.errors import UserError

RNG = np.random.default_rng(0)
MOVIE = RNG.integers(256, size=(40, 4, 3), dtype=np.uint8)
TEMPLATES = RNG.integers(256, size=(5, 4, 3), dtype=np.uint8)
SPIKES = [np.sort(RNG.uniform(2.0, 6.0, count)) for count in (30, 50)]
TRACES = RNG.normal(size=(20, 2))


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    from pynwb.base import ImageReferences, Images
    from pynwb.image import GrayscaleImage, IndexSeries, OpticalSeries

    now = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    nwb = pynwb.NWBFile(session_description="a retina", identifier="retina_1", session_start_time=now)
    nwb.add_unit_column("cell_type", "type of the cell")
    nwb.add_unit_column("position", "place on the array")
    for unit, (times, cell_type) in enumerate(zip(SPIKES, ("on", "off"), strict=True)):
        nwb.add_unit(spike_times=times, cell_type=cell_type, position=[1.0, 2.0], id=10 + unit)
    shown = {"distance": 0.1, "field_of_view": [1.0, 1.0], "orientation": "up", "unit": "n.a."}
    nwb.add_stimulus(OpticalSeries(name="noise", data=MOVIE, starting_time=2.0, rate=10.0, **shown))
    images = [GrayscaleImage(name=f"image_{number}", data=image) for number, image in enumerate(TEMPLATES)]
    nwb.add_stimulus_template(
        Images(
            name="images",
            images=images,
            description="flashed",
            order_of_images=ImageReferences(name="order_of_images", data=images),
        )
    )
    nwb.add_stimulus(
        IndexSeries(
            name="flashes",
            data=np.array([3, 1, 3], np.uint32),
            timestamps=[7.0, 8.0, 9.5],
            unit="N/A",
            indexed_images=nwb.get_stimulus_template("images"),
        )
    )
    nwb.add_acquisition(
        pynwb.TimeSeries(name="calcium", data=TRACES, timestamps=2 + 0.2 * np.arange(20), unit="a.u.", conversion=2.0)
    )
    for start in (2.0, 4.0):
        nwb.add_trial(start_time=start, stop_time=start + 1.5)
    path = tmp_path_factory.mktemp("nwb") / "retina.nwb"
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def test_all_of_a_file(file):
    found = read_nwb(file)
    for one, expected in zip(found["spike_times"], SPIKES, strict=True):
        np.testing.assert_array_equal(one, expected)
    assert {name: values.tolist() for name, values in found["units"].items()} == {
        "unit": [10, 11],
        "cell_type": ["on", "off"],
    }
    series = found["series"]
    np.testing.assert_array_equal(series["noise"]["data"], MOVIE, strict=True)
    np.testing.assert_allclose(series["noise"]["times"], 2 + np.arange(40) / 10)
    np.testing.assert_allclose(series["calcium"]["data"], 2 * TRACES)
    np.testing.assert_array_equal(series["flashes"]["times"], [7.0, 8.0, 9.5])
    assert series["flashes"]["movie"] == "images"
    np.testing.assert_array_equal(series["images"]["data"][series["flashes"]["data"]], TEMPLATES[[3, 1, 3]])
    np.testing.assert_array_equal(found["intervals"]["trials"]["stop_time"], [3.5, 5.5])


def test_a_data_set_of_it(file):
    found = read_nwb(file, ["noise"])
    assert list(found["series"]) == ["noise"]
    noise = found["series"]["noise"]
    counts = count_spikes(found["spike_times"], noise["times"])
    recording = ArrayRecording(noise["data"], counts, frame_times=noise["times"], neurons=found["units"])
    (session,) = from_arrays({"retina": recording}).sessions
    assert session.responses.sum() == 80
    assert session.neurons["unit"].tolist() == [10, 11]


def test_mistakes(file, tmp_path, monkeypatch):
    with pytest.raises(UserError, match='has no series "noize"; did you mean "noise"'):
        read_nwb(file, ["noize"])
    with pytest.raises(UserError, match=r"gone\.nwb: there is no such file"):
        read_nwb(tmp_path / "gone.nwb")
    (tmp_path / "text.nwb").write_text("nothing")
    with pytest.raises(UserError, match=r"text\.nwb: is no NWB file that pynwb can read"):
        read_nwb(tmp_path / "text.nwb")
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(UserError, match=r"is not installed; run pip install .*\[nwb\]"):
        read_nwb(file)
