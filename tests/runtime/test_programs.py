"""Programs that are kept for all who need an equal one."""

from collections.abc import Iterator

import pytest

from openretina_jax.runtime.programs import SIZE, forget, kept


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


def made(*arguments: object) -> object:
    del arguments
    return object()


def test_equal_arguments_share_a_program() -> None:
    assert kept(made, 1, ("a", 2)) is kept(made, 1, ("a", 2))
    assert kept(made, 1, ("a", 2)) is not kept(made, 1, ("a", 3))


def test_arguments_without_a_hash_have_a_program_of_their_own() -> None:
    assert kept(made, [1]) is not kept(made, [1])


def test_what_was_used_longest_ago_is_dropped() -> None:
    first = kept(made, 0)
    for number in range(1, SIZE):
        kept(made, number)
    assert kept(made, 0) is first
    for number in range(1, SIZE + 1):
        kept(made, number)
    assert kept(made, 0) is not first


def test_errors_of_the_maker_are_passed_on() -> None:
    def fails(_: int) -> None:
        raise TypeError("wrong")

    with pytest.raises(TypeError, match="wrong"):
        kept(fails, 1)
