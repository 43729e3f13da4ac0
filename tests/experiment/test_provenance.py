"""Where scores come from, as their page says it."""

import json
from pathlib import Path
from typing import Any

from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.evaluation.tables import SummaryOptions
from openretina_jax.experiment import provenance
from openretina_jax.models.saving import with_hashes
from tests import tiny
from tests.experiment.configuration import configuration

TEMPLATE = "configs/template.py"


def test_settings_that_differ_from_their_preset() -> None:
    changed = configuration(TEMPLATE, "--config.optimizer.adamw.b2=0.9", "--config.train.epochs=3")
    found = provenance.origin("template", configuration(TEMPLATE).to_dict(), changed.to_dict())
    assert found == {"preset": "template", "changed": {"optimizer.b2": 0.9, "train.epochs": 3}}
    same = provenance.origin("template", changed.to_dict(), changed.to_dict())
    assert same["changed"] == {}


def test_topics_of_a_run_and_of_a_model_from_elsewhere(tmp_path: Path) -> None:
    data = tiny.dataset()
    about = {"epoch": 4, "validation_correlation": 0.5, "preset": "template", "changed": {"seed": 3}}
    about |= {provenance.CONTENT: fingerprint(data), "versions": {"jax": "0.1"}}

    def found(checkpoint: Path | str, **changes: Any) -> dict[str, dict[str, str]]:
        (tmp_path / "about").mkdir(exist_ok=True)
        (tmp_path / "about" / "metadata").write_text(json.dumps(with_hashes(about | changes, {})))
        return provenance.provenance(str(checkpoint), data, SummaryOptions(resamples=5))

    run = found(tmp_path)
    assert len(run["Model"].pop("SHA-256 of its arrays")) == 64
    assert run["Model"] == {
        "checkpoint": str(tmp_path),
        "epoch": "4",
        "validation correlation": "0.5000",
        "trained with": "jax 0.1",
    }
    assert run["Settings"] == {"preset": "template", "config.seed": "3"}
    assert run["Data"]["SHA-256 in training"] == "the same"
    other = found(tmp_path, **{provenance.CONTENT: "other", "changed": {}})
    assert other["Data"]["SHA-256 in training"] == "other"
    assert other["Settings"] == {"preset": "template", "changed": "nothing"}
    elsewhere = found("hoefling_2024_low_res")
    assert elsewhere["Model"] == {"checkpoint": "hoefling_2024_low_res"}
    assert "Settings" not in elsewhere
    assert elsewhere["Evaluation"]["resamples"] == "5"
