"""How to cite, from CITATION.cff."""

from tests.scripts import ROOT
from website.about import pages


def test_citation() -> None:
    page = pages(ROOT)["cite.md"]
    assert "  author  = {{The openretina_jax developers}}," in page
    assert "  author  = {D'Agostino, F. and Zenkel, T. and " in page
    assert "  doi     = {10.1101/2025.03.07.642012}," in page


def test_links_of_files_at_the_top() -> None:
    found = pages(ROOT)
    assert "](architecture.md)" in found["contributing.md"]
    assert "](docs/" not in found["contributing.md"] + found["changelog.md"]
