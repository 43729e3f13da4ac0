"""Where the library that makes white noise of others can be had as a wheel, as ``pyproject.toml`` has it, too."""

import sys

import pytest

needs_white_noise = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="retinawhitenoise needs a C compiler for Pythons newer than 3.12"
)
