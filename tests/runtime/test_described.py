"""Objects in a line, and in a notebook as a small table."""

import dataclasses

from openretina_jax.evaluation.evaluate import evaluate
from openretina_jax.evaluation.tables import SummaryOptions
from openretina_jax.runtime.described import Described
from tests import tiny


@dataclasses.dataclass(frozen=True, repr=False)
class Cell(Described):
    """Anything with facts."""

    kind: str

    def _facts(self) -> dict[str, str]:
        return {"kind": self.kind, "size": "3 < 4"}


def test_a_line_and_a_table() -> None:
    assert repr(Cell("On")) == str(Cell("On")) == "Cell(kind: On, size: 3 < 4)"
    table = Cell("On")._repr_html_()
    assert table.startswith("<table><caption>Cell</caption>")
    assert table.count("<tr>") == 2
    assert "3 &lt; 4" in table


def test_large_objects_are_short() -> None:
    dataset, model = tiny.dataset(), tiny.model()
    assert repr(dataset) == (
        "Dataset(neurons: 12 in 3 sessions, frames: 12 x 10 pixels, 2 channels at 30 Hz, "
        "training: 192 frames of train, validation: 2 of 8 clips, tests: test (30 frames, 3 repeats))"
    )
    assert repr(dataset.sessions[2]) == (
        'Session(name: left, neurons: 4, stimulus: 192 frames of "train", mirrored, tests: test (3 repeats))'
    )
    assert repr(dataset.info) == (
        "DataInfo(neurons: 12 in 3 sessions, frames: 12 x 10 pixels, 2 channels at 30 Hz, "
        "metadata of neurons: cell_type, roi_coords)"
    )
    assert repr(model) == (
        "CoreReadout(core: simple, readout: gaussian_mask, neurons: 12 in 3 sessions, "
        "stimulus: 12 x 10 pixels, 2 channels at 30 Hz, parameters: 352, receptive field: 7 frames, 5 x 5 pixels)"
    )
    shown = repr(evaluate(model, dataset, options=SummaryOptions(resamples=20)))
    assert shown.startswith("Evaluation(test: correlation ")
    assert shown.endswith("(12 neurons))")
