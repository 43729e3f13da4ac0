"""Parts of a model by the names that configurations and checkpoints call them."""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable

from openretina_jax.errors import UserError, nearest

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float


class Registry:
    """Classes of one part of a model, by kind.

    A class enters with the decorator ``@REGISTRY("kind")``. The modules of the registry's own package are imported when
    a kind is looked up, so that a new file in the package is all that a new kind needs; a class of somebody else's
    package enters when that is imported.

    Args:
        part: what the classes are ("core", "readout"), for messages.
        package: dotted name of the package whose modules hold them, or of the one module that does.
    """

    def __init__(self, part: str, package: str):
        self.part, self._package = part, package
        self._classes: dict[str, type] = {}

    def __call__(self, kind: str) -> Callable[[type], type]:
        """Register the decorated class."""

        def register(cls: type) -> type:
            self._classes[kind] = cls
            return cls

        return register

    def __getitem__(self, kind: str | None) -> type[Any]:
        """The class of that kind.

        Raises:
            UserError: there is none.
        """
        classes = self._all()
        if kind not in classes:
            raise UserError(
                f"{self.part} kind {kind!r} is unknown; choose among {', '.join(sorted(classes))}, "
                "or import the module that defines it"
            )
        return classes[kind]

    def kinds(self) -> list[str]:
        """All kinds, sorted."""
        return sorted(self._all())

    def make(self, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """An object of the class that ``options["kind"]`` names, see ``construct``.

        Raises:
            UserError: an unknown kind, or wrong options.
        """
        options = dict(options)
        kind = options.pop("kind", None)
        return construct(self[kind], f'{self.part} "{kind}"', options, given)

    def _all(self) -> dict[str, type]:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"{self._package}.{module.name}")
        return self._classes


def construct(cls: type[Any], what: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Call a constructor with options that a user wrote.

    Args:
        cls: the class.
        what: what the user calls it, for messages.
        options: arguments by name; lists stand for tuples, so that options may come from JSON.
        given: further arguments; the constructor takes those that it knows.

    Raises:
        UserError: an unknown option (with the nearest name), a missing one, one of a wrong type.
    """
    parameters, hints = signature(cls)
    choices = [name for name in parameters if name not in given]
    for name in options:
        if name not in choices:
            raise UserError(f'{what} has no option "{name}"; {nearest(name, choices)}')
    missing = [name for name in choices if parameters[name].default is inspect.Parameter.empty and name not in options]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}")
    options = {name: tuples(value) for name, value in options.items()}
    for name, value in options.items():
        if not is_bearable(value, hints.get(name, Any), conf=_CONF):
            wanted = inspect.formatannotation(hints[name]).replace("typing.", "")
            raise UserError(f"{what}: {name} is {value!r}, but must be {wanted}")
        if hints.get(name) is float:
            options[name] = float(value)
    return cls(**{name: value for name, value in given.items() if name in parameters}, **options)


def signature(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters of a constructor and their types; one with ``**options`` has those of its base class too."""
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = dict(inspect.signature(vars(base)["__init__"]).parameters)
        parameters = own | parameters
        hints = typing.get_type_hints(vars(base)["__init__"]) | hints
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
            break
    kept = {name: p for name, p in parameters.items() if name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD}
    return kept, hints


def tuples(value: Any) -> Any:
    """Lists as tuples, at every depth."""
    return tuple(tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
