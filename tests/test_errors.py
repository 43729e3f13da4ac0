"""What a message advises where a name is not known."""

import pytest

from openretina_jax.errors import nearest


@pytest.mark.parametrize(
    ("name", "known", "advice"),
    [
        ("epoch", ["order", "epochs"], 'did you mean "epochs"?'),
        ("x", ["order", "epochs"], "choose among order, epochs"),
        ("x", [f"setting_{number}" for number in range(100)], 'did you mean "setting_'),
        ("x", [], "there are none"),
    ],
)
def test_the_nearest_name(name: str, known: list[str], advice: str) -> None:
    assert nearest(name, known).startswith(advice)
