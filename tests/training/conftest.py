"""Pictures that runs make stay blank here; tests/visualize draws them."""

from collections.abc import Iterator

import pytest
from matplotlib.figure import Figure


@pytest.fixture(scope="module", autouse=True)
def blank() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw", lambda figure, renderer: None)
        yield
