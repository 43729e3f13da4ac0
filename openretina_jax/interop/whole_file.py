"""Files that are there as a whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from openretina_jax.errors import UserError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it takes its name, and the place of an earlier one, when all is written.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")  # processes may write side by side
    try:
        with temporary.open("xb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and the disk"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
