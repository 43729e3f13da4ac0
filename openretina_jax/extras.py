"""Libraries that only some users need."""

import importlib.util

from openretina_jax.errors import UserError


def require(library: str, extra: str, wanted: str) -> None:
    """Refuse what needs a library that is not there.

    Args:
        library: name under which it is imported.
        extra: of the package, which installs it.
        wanted: what needs it, as the beginning of a sentence.

    Raises:
        UserError: gives the command that installs it.
    """
    if importlib.util.find_spec(library) is None:
        raise UserError(f'{wanted}, but {library} is not installed; run pip install -e ".[{extra}]"')
