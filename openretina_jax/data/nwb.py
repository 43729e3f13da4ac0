"""Files of Neurodata Without Borders (NWB) as plain arrays, read by pynwb (extra ``nwb``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.errors import UserError, nearest, require

_TIMES = ("spike_times", "obs_intervals", "waveforms")  # of units; no column of facts


def read_nwb(file: str | Path, series: Sequence[str] | None = None) -> dict[str, Any]:
    """Read units, series and intervals of an NWB file, with all times in seconds on the clock of the file.

    Args:
        file: file ending in ``.nwb``.
        series: names of the series to read (None: all); movies may be large.

    Returns:
        A dictionary of

        * ``spike_times``: a list of an array for each unit, for ``count_spikes``;
        * ``units``: facts about the units by name, with the ids of the table as ``unit``;
        * ``series``: stimuli, templates, traces and other series by name, each with ``data``, whose first axis is time,
          in the unit that the file names, and ``times``. Frames lie as they were written, which NWB calls
          ``(time, width, height)`` and many programs write as ``(time, height, width)``. The data of an IndexSeries
          are frames of the series or images called ``movie``. Images have no times, and a movie in another file has
          its names in ``external_file``;
        * ``intervals``: trials, epochs and the like by name, each with its columns (``start_time``, ...).

    Raises:
        UserError: pynwb is not installed, the file is missing or no NWB, or has no series of a name.
    """
    require("pynwb", "nwb", "read_nwb reads files of Neurodata Without Borders")
    import pynwb

    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        with pynwb.NWBHDF5IO(path, "r") as opened:
            return _contents(path, opened.read(), series)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is no NWB file that pynwb can read ({' '.join(str(error).split())})") from error


def _contents(path: Path, nwb: Any, wanted: Sequence[str] | None) -> dict[str, Any]:
    import pynwb

    found = {}
    for item in nwb.objects.values():
        if isinstance(item, pynwb.TimeSeries | pynwb.base.Images):
            # containers may hold series of one name
            name = f"{item.parent.name}/{item.name}" if item.name in found else item.name
            found[name] = item
    for name in wanted or ():
        if name not in found:
            raise UserError(f'{path}: has no series "{name}"; {nearest(name, sorted(found))}')
    tables = {"trials": nwb.trials, "epochs": nwb.epochs, "invalid_times": nwb.invalid_times, **(nwb.intervals or {})}
    units = nwb.units
    timed = units is not None and "spike_times" in units.colnames
    return {
        "spike_times": [np.asarray(units.get_unit_spike_times(row)) for row in range(len(units))] if timed else [],
        "units": {} if units is None else {"unit": np.asarray(units.id[:]), **_columns(units)},
        "series": {name: _series(item) for name, item in found.items() if wanted is None or name in wanted},
        "intervals": {name: _columns(table) for name, table in tables.items() if table is not None},
    }


def _series(item: Any) -> dict[str, Any]:
    import pynwb

    if isinstance(item, pynwb.base.Images):
        images = item.order_of_images[:] if item.order_of_images is not None else list(item.images.values())
        return {"data": np.stack([np.asarray(image.data) for image in images])}
    data = np.asarray(item.data[()] if hasattr(item.data, "shape") else item.data)
    if item.conversion != 1 or item.offset:
        data = data * item.conversion + item.offset
    count = item.num_samples if len(data) == 0 and item.timestamps is None else len(data)
    times = item.starting_time + np.arange(count or 0) / item.rate if item.timestamps is None else item.timestamps[:]
    result: dict[str, Any] = {"data": data, "times": np.asarray(times)}
    if getattr(item, "external_file", None) is not None:
        result["external_file"] = [str(name) for name in item.external_file[:]]
    if isinstance(item, pynwb.image.IndexSeries):
        result["movie"] = (item.indexed_images or item.indexed_timeseries).name
    return result


def _columns(table: Any) -> dict[str, np.ndarray]:
    """Columns of a table that have one number or word in each row."""
    found = {}
    for name in table.colnames:
        column = table[name]
        if name in _TIMES or type(column).__name__ not in ("VectorData", "EnumData"):
            continue
        values = np.asarray(column[:])
        if values.ndim == 1 and (values.dtype.kind in "biufU" or all(isinstance(word, str) for word in values)):
            found[name] = values.astype(str) if values.dtype == object else values
    return found
