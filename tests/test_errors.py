"""What a message advises where a name is not known."""

import pytest

from openretina_jax.errors import UserError, nearest


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


def test_messages_are_one_line_and_nothing_that_a_terminal_obeys():
    assert str(UserError("a\n  b \x1b[31m café")) == "a b \\x1b[31m café"
