"""Pages are whole: one file, pictures inside, nothing that could be markup taken for it."""

import base64
import dataclasses
import re

import pandas as pd
import pytest

from openretina_jax.data.dataset import Dataset
from openretina_jax.evaluation.baselines.baselines import Baselines
from openretina_jax.evaluation.compare import compare
from openretina_jax.evaluation.evaluate import Evaluation
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.evaluation.tables import SummaryOptions, score_table, summarize
from openretina_jax.visualize.page import comparison_page, evaluation_page
from tests import tiny
from tests.evaluation.simulated import responses

OPTIONS = SummaryOptions(resamples=20)


def evaluation(name: str, **splits: list[SessionResponses]) -> Evaluation:
    tables = {split: score_table(given).assign(split=split, cell_type=1) for split, given in splits.items()}
    return Evaluation(
        name=name,
        lag=6,
        responses=splits,
        neurons=pd.concat(tables.values(), ignore_index=True),
        summaries={split: summarize(split, given, tables[split], OPTIONS) for split, given in splits.items()},
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny.dataset()


def pictures(page: str) -> list[bytes]:
    return [base64.b64decode(text) for text in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]


def check_whole(page: str) -> None:
    """One file for readers with or without eyes, on wide and narrow screens."""
    assert page.startswith("<!doctype html>")
    assert '<meta name="viewport"' in page
    assert all(len(alt) > 20 for alt in re.findall(r'<img [^>]*alt="([^"]*)"', page))
    assert page.count("<img") == len(re.findall('<img [^>]*alt="', page)) == len(pictures(page))
    assert page.count("<th ") == page.count("<th scope=")
    identities = re.findall(r'<h[23] id="([^"]*)"', page)
    assert len(set(identities)) == len(identities)
    assert re.findall('href="#([^"]*)"', page) == identities
    assert page.rstrip().endswith("</html>")
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(page))
    assert re.findall(r"https?://|<link|<script", page) == []


@pytest.mark.slow
def test_page_of_a_model(data: Dataset) -> None:
    of = evaluation("a <b> & c", test=responses(), validation=responses(trials=1))
    page = evaluation_page(of, data, {"Model": {"checkpoint": "runs/<a>"}})
    check_whole(page)
    assert "<h1>Evaluation of a &lt;b&gt; &amp; c</h1>" in page
    assert re.findall("<h2 [^>]*>(.*?)</h2>", page) == ["test", "validation", "Provenance"]
    *headings, last = re.findall("<h3 [^>]*>(.*?)</h3>", page)
    assert last == "Model"
    assert '<td class="code">runs/&lt;a&gt;</td>' in page
    everywhere = ["Responses", "Scores of all neurons", "Types of neurons", "Sessions"]
    assert headings == [*everywhere[:2], "What the noise allows", *everywhere[2:], *everywhere]
    assert len(pictures(page)) == len(headings)
    assert "validation was shown once" in page
    assert page.count('<td class="number">') > 60


@pytest.mark.slow
def test_page_with_baselines(data: Dataset) -> None:
    of = evaluation("mine", test=responses())
    worse = [dataclasses.replace(one, predicted=one.predicted[:, ::-1]) for one in responses()]
    baselines = Baselines({"GLM": evaluation("GLM", test=worse)}, "softplus", frames=7)
    page = evaluation_page(of, data, baselines=baselines)
    check_whole(page)
    assert f"{baselines.against(of, 'test')}." in page
    assert re.findall(r"<h3 [^>]*>Baselines</h3>", page)
    rows = re.findall(r'<th scope=row>(mine|GLM)</th><td class="number">([-.\d]+)', page)
    assert [name for name, _ in rows] == ["mine", "GLM"]
    assert float(rows[0][1]) > float(rows[1][1])


def test_page_without_any_score(data: Dataset) -> None:
    unknown = [dataclasses.replace(one, predicted=one.predicted * float("nan")) for one in responses()]
    page = evaluation_page(evaluation("broken", test=unknown), data)
    check_whole(page)
    assert pictures(page) == []
    assert "24 neurons have predictions that are not finite" in page


def test_page_of_a_comparison() -> None:
    models = [evaluation(name, test=responses(seed=seed)) for name, seed in (("one", 0), ("two", 1))]
    page = comparison_page(models, compare(models, "test", OPTIONS).assign(split="test"))
    check_whole(page)
    assert "one - two: correlation" in page
    assert len(pictures(page)) == 1
