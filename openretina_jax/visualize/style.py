"""The common look: colours that colour-blind readers tell apart (Okabe and Ito 2008), and open axes."""

from matplotlib.axes import Axes

BLACK, VERMILION, BLUE, GREEN = "black", "#D55E00", "#0072B2", "#009E73"
LIGHT = "0.8"

ROUND_STEPS = [1, 2, 5, 10]  # between ticks at whole numbers


def open_axes(axes: Axes) -> None:
    """Leave out the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
