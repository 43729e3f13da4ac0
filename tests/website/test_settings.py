"""The reference of the configuration says something about every setting."""

import pytest

from tests.scripts import ROOT
from website import settings


@pytest.mark.parametrize("part", settings.PARTS, ids=lambda part: part.title)
def test_every_option_is_documented(part: settings.Part) -> None:
    kinds = [kind for kind in part.registry.kinds() if part.registry[kind].__module__.startswith("openretina_jax")]
    assert kinds
    for kind in kinds:
        documented = settings.documented(part.registry[kind])
        assert settings.about(part.registry[kind]), kind
        assert [name for name in part.registry.options(kind) if not documented.get(name)] == [], kind


def test_pages_have_defaults_ranges_and_comments() -> None:
    pages = settings.pages(ROOT)
    rows = [line for line in pages["reference/configuration.md"].splitlines() if line.startswith("| `")]
    assert "| `train.epochs` | `100` | at least 1 | at most |" in rows
    assert any(row.startswith("| `hidden_channels` | `tuple[int, ...]`") for row in rows)
    assert any(row.startswith("| `optimizer.clip_norm` | `1.0` | at least 0 |") for row in rows)
    assert "`greyscale`" in pages["reference/presets.md"]
    assert "[data](../data.md)" in pages["reference/presets.md"]
