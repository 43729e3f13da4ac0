"""Parts of a model by the names that configurations and checkpoints call them."""

import difflib
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable

from openretina_jax.errors import UserError

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float


class Registry:
    """Classes of one part of a model, by kind.

    A class enters with the decorator ``@REGISTRY("kind")``. The modules of the registry's own package are imported when a
    kind is first looked up, so that a new file in the package is all that a new kind needs; a class of somebody else's
    package enters when that is imported.

    Args:
        part: what the classes are ("core", "readout"), for messages.
        package: dotted name of the package whose modules hold them.
    """

    def __init__(self, part: str, package: str):
        self.part, self._package = part, package
        self._classes: dict[str, type] = {}

    def __call__(self, kind: str) -> Callable[[type], type]:
        """Register the decorated class."""

        def register(cls: type) -> type:
            self._classes[kind] = cls
            cls.kind = kind  # type: ignore[attr-defined]
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

    def options(self, kind: str, given: typing.Container[str] = ()) -> dict[str, inspect.Parameter]:
        """Options of a kind: what its constructor takes beside ``given``."""
        parameters = dict(inspect.signature(self[kind].__init__).parameters)
        del parameters["self"]
        return {name: parameter for name, parameter in parameters.items() if name not in given}

    def make(self, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """An object of the class that ``options["kind"]`` names.

        Args:
            options: the kind, and arguments by name; lists stand for tuples, so that options may come from JSON.
            given: further arguments; the constructor takes those that it knows.

        Raises:
            UserError: an unknown kind, an unknown option (with the nearest name), a missing one, one of a wrong type.
        """
        options = {name: _tuples(value) for name, value in options.items()}
        kind = options.pop("kind", None)
        constructor = self[kind]
        choices = self.options(kind, given)
        what = f'{self.part} "{kind}"'
        for name in options:
            if name not in choices:
                nearest = difflib.get_close_matches(name, choices, 1, 0.5)
                hint = f'did you mean "{nearest[0]}"?' if nearest else f"it has {', '.join(choices) or 'none'}"
                raise UserError(f'{what} has no option "{name}"; {hint}')
        missing = [n for n, p in choices.items() if p.default is inspect.Parameter.empty and n not in options]
        if missing:
            raise UserError(f"{what} needs {', '.join(missing)}")
        hints = typing.get_type_hints(constructor.__init__)
        for name, value in options.items():
            if name in hints and not is_bearable(value, hints[name], conf=_CONF):
                wanted = inspect.formatannotation(hints[name]).replace("typing.", "")
                raise UserError(f"{what}: {name} is {value!r}, but must be {wanted}")
        taken = {name: value for name, value in given.items() if name in self.options(kind)}
        return constructor(**taken, **options)

    def _all(self) -> dict[str, type]:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        return self._classes


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
