"""Pictures of training stay blank here."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def blank(blank_pictures: None) -> None:
    """In all tests of this folder."""
