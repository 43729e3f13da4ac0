"""Cell types and positions of the neurons of Höfling et al. 2024."""

import numpy as np
from jaxtyping import Float32, Int32, Integer, Shaped

# Groups of Baden et al. 2016 (doi:10.1038/nature16468): 1 to 32 are ganglion cells, 33 to 46 amacrine cells.
CELL_TYPE_NAMES = {
    1: "OFF local, OS",
    2: "OFF DS",
    3: "OFF step",
    4: "OFF slow",
    5: "OFF alpha sust.",
    6: "(ON-)OFF Jam-B mix",
    7: "OFF sust",
    8: "OFF alpha trans",
    9: "OFF mini alpha trans",
    10: "ON-OFF local-edge W3",
    11: "ON-OFF local",
    12: "ON-OFF DS 1",
    13: "ON-OFF DS 2",
    14: "(ON-)OFF local, OS",
    15: "ON step",
    16: "ON DS trans",
    17: "ON local trans, OS",
    18: "ON trans",
    19: "ON trans, large",
    20: "ON high freq",
    21: "ON low freq",
    22: "ON sust",
    23: "ON mini alpha",
    24: "ON alpha",
    25: "ON DS sust 1",
    26: "ON DS sust 2",
    27: "ON slow",
    28: "ON contrast suppr.",
    29: "ON DS sust 3",
    30: "ON local sust Os",
    31: "OFF suppr. 1",
    32: "OFF suppr. 2",
    33: "OFF AC",
    34: "ON high freq. sust. 1 AC",
    35: "ON high freq. trans. AC",
    36: "ON-OFF high freq. AC",
    37: "ON high freq. sust. 2 AC",
    38: "ON sust. 1 AC",
    39: "ON sust. 2 AC",
    40: "ON sust. 3 AC",
    41: "ON sust. 4 AC",
    42: "ON starburst AC",
    43: "ON-OFF local AC",
    44: "ON step AC",
    45: "ON local 1 AC",
    46: "ON local 2 AC",
}

GANGLION_CELL_TYPES = tuple(range(1, 33))

# broader classes of the same publication; AC: amacrine cells
CELL_CLASSES = {
    "OFF": range(1, 10),
    "ON-OFF": range(10, 15),
    "fast ON": range(15, 21),
    "slow ON": range(21, 29),
    "uncertain RGC": range(29, 33),
    "AC": range(33, 47),
}


def cell_class(cell_type: int) -> str:
    """Name the class of a cell type; "unknown" if it has none."""
    return next((name for name, types in CELL_CLASSES.items() if cell_type in types), "unknown")


def roi_mask(published: Shaped[np.ndarray, "row column"]) -> Int32[np.ndarray, "row column"]:
    """Make ``Session.roi_mask`` of a published mask, which holds ``-id`` at the pixels of an ROI, and 1 elsewhere."""
    return np.where(published < 0, -published, 0).astype(np.int32)


def roi_position(
    roi: Shaped[np.ndarray, "row column"],
    *,
    roi_pixel_um: float = 2.0,
    readout_pixel_um: float = 50.0,
    offset: tuple[float, float] = (2.75, 2.75),
    readout_size: float = 8.0,
) -> Float32[np.ndarray, "2"]:
    """Find the centre of a region of interest (ROI) in the coordinates of a readout.

    The recorded field lies inside the readout's map. A coordinate is -1 at the top or left border of the map and +1 at
    the bottom or right one.

    Args:
        roi: mask, which is not zero where the ROI is.
        roi_pixel_um: side of a pixel of ``roi``.
        readout_pixel_um: side of a pixel of the readout's map.
        offset: where the recorded field begins on the map, ``(y, x)`` in pixels of the map.
        readout_size: side of the map in its own pixels.

    Returns:
        ``(y, x)``; NaN for an ROI without pixels.
    """
    pixels = np.argwhere(roi)
    if len(pixels) == 0:
        return np.full(2, np.nan, np.float32)
    centre = (pixels * (roi_pixel_um / readout_pixel_um) + offset).mean(axis=0)
    return (2 * (centre / readout_size - 0.5)).astype(np.float32)


def roi_positions(
    mask: Shaped[np.ndarray, "row column"], roi_ids: Integer[np.ndarray, " neuron"]
) -> Float32[np.ndarray, "neuron 2"]:
    """Find ``roi_position`` of every neuron; the mask holds ``-id`` at the pixels of the ROI ``id``."""
    positions = [roi_position(mask == -int(roi)) for roi in roi_ids]
    return np.stack(positions) if positions else np.empty((0, 2), np.float32)
