"""Names of a package that are imported when they are first used, so that the package itself is imported at once."""

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: name of the package.
        places: where each name lies: "package.module:name", or "package.module" for a module.
    """

    def getattribute(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return pkgutil.resolve_name(places[name])

    return getattribute, lambda: sorted(places)
