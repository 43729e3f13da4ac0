"""Parts of a model and of its training by the names that configurations and checkpoints call them."""

import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from beartype import BeartypeConf
from beartype.door import is_bearable

from openretina_jax.errors import UserError, nearest

Maker = Callable[..., Any]  # a class or a function
M = TypeVar("M", bound=Maker)

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float
_PLAIN = (bool, int, float, str, type(None))
_NO_DEFAULT = inspect.Parameter.empty


class Option(NamedTuple):
    """An argument that users choose.

    Attributes:
        hint: its type.
        default: its value where nobody says otherwise; ``None`` too if it has none.
        required: whether it has none.
    """

    hint: Any
    default: Any
    required: bool


class Registry:
    """Classes or functions for one part, by kind.

    A kind enters with the decorator ``@REGISTRY("kind")``. The registry's own module, and those in it if it is a
    package, are imported when a kind is looked up, so that a new file in the package is all that a new kind needs; a
    kind of somebody else's package enters when that is imported. The kind "package.module:Name" needs no decorator.

    Args:
        part: what they are or make ("core", "readout"), for messages.
        package: dotted name of the module or package that holds them.
        given: arguments that whoever makes one gives; all others are options, which users choose.
    """

    def __init__(self, part: str, package: str, given: Collection[str] = ()):
        self.part, self._package, self._given = part, package, given
        self._makers: dict[str, Maker] = {}

    def __call__(self, kind: str) -> Callable[[M], M]:
        """Register the decorated class or function."""

        def register(maker: M) -> M:
            self._makers[kind] = maker
            return maker

        return register

    def __getitem__(self, kind: str | None) -> Any:
        """The class or function of that kind.

        Raises:
            UserError: there is none.
        """
        if isinstance(kind, str) and ":" in kind:
            return self._imported(kind)
        makers = self._all()
        if kind not in makers:
            raise UserError(
                f"{self.part} kind {kind!r} is unknown; choose among {', '.join(sorted(makers))}, "
                'or import the module that defines it, or give "package.module:Name"'
            )
        return makers[kind]

    def kinds(self) -> list[str]:
        """All registered kinds, sorted."""
        return sorted(self._all())

    def options(self, kind: str | None) -> dict[str, Option]:
        """The options of a kind; not those whose defaults are no plain values, which no configuration can hold.

        Raises:
            UserError: there is no such kind.
        """
        return options(self[kind], self._given)

    def complete(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Kind and options, and the defaults of all options that are not chosen; of a part in a part too.

        Raises:
            UserError: there is no such kind.
        """
        kind = chosen.get("kind")
        of_kind = {name: option.default for name, option in self.options(kind).items() if not option.required}
        nested = {
            name: self.complete(value)
            for name, value in chosen.items()
            if isinstance(value, Mapping) and "kind" in value
        }
        return {"kind": kind, **of_kind, **chosen, **nested}

    def make(self, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """What the class or function that ``options["kind"]`` names makes, see ``construct``.

        Raises:
            UserError: an unknown kind, or wrong options.
        """
        options = dict(options)
        kind = options.pop("kind", None)
        return construct(self[kind], f'{self.part} "{kind}"', options, given)

    def _all(self) -> dict[str, Maker]:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"{self._package}.{module.name}")
        return self._makers

    def _imported(self, kind: str) -> Maker:
        """The class or function "package.module:Name"."""
        module_name, _, name = kind.partition(":")
        if not all(part.isidentifier() for part in (*module_name.split("."), name)):
            raise UserError(f'{self.part} kind "{kind}" is no "package.module:Name"')
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)  # a script has its own folder there instead
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise UserError(
                f'{self.part} kind "{kind}" cannot be imported: there is no module "{error.name}"; install it, or '
                "start in the folder that holds it"
            ) from error
        if not hasattr(module, name):
            own = [other for other, value in vars(module).items() if callable(value) and not other.startswith("_")]
            raise UserError(f'{self.part} kind "{kind}": {module_name} has no "{name}"; {nearest(name, own)}')
        maker = getattr(module, name)
        if not inspect.isclass(maker) and not inspect.isroutine(maker):
            raise UserError(f'{self.part} kind "{kind}" is {maker!r}, but must be a class or a function')
        return maker


def options(maker: Maker, given: Collection[str]) -> dict[str, Option]:
    """Options of a class or function: its arguments but those given, if their defaults are plain values."""
    parameters, hints = signature(maker)
    return {
        name: Option(
            hints.get(name, Any),
            None if parameter.default is _NO_DEFAULT else parameter.default,
            parameter.default is _NO_DEFAULT,
        )
        for name, parameter in parameters.items()
        if name not in given and (parameter.default is _NO_DEFAULT or _plain(parameter.default))
    }


def _plain(value: Any) -> bool:
    """Whether JSON can hold a value."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _plain(item) for name, item in value.items())
    return all(map(_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, _PLAIN)


def construct(maker: Maker, what: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Call a class or function with options that a user wrote.

    Args:
        maker: the class or function.
        what: what the user calls it, for messages.
        options: arguments by name; lists stand for tuples, so that options may come from JSON.
        given: further arguments; the class or function takes those that it knows.

    Raises:
        UserError: an unknown option (with the nearest name), a missing one, one of a wrong type.
    """
    parameters, hints = signature(maker)
    choices = [name for name in parameters if name not in given]
    for name in options:
        if name not in choices:
            raise UserError(f'{what} has no option "{name}"; {nearest(name, choices)}')
    # in configurations None stands for a value that is still to be given
    missing = [name for name in choices if parameters[name].default is _NO_DEFAULT and options.get(name) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}")
    options = {name: tuples(value) for name, value in options.items()}
    for name, value in options.items():
        if not is_bearable(value, hints.get(name, Any), conf=_CONF):
            wanted = inspect.formatannotation(hints[name]).replace("typing.", "")
            raise UserError(f"{what}: {name} is {value!r}, but must be {wanted}")
        if hints.get(name) is float:
            options[name] = float(value)
    return maker(**{name: value for name, value in given.items() if name in parameters}, **options)


def signature(maker: Maker) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Arguments of a function or class, and their types; a class with ``**options`` has those of its base class too."""
    if not isinstance(maker, type):
        try:
            hints = typing.get_type_hints(maker)
        except NameError:  # some libraries import what their hints name for type checkers only
            hints = {}
        return _named(dict(inspect.signature(maker).parameters)), hints
    parameters: dict[str, inspect.Parameter] = {}
    hints = {}
    for base in maker.__mro__:
        if "__init__" not in vars(base):
            continue
        own = dict(inspect.signature(vars(base)["__init__"]).parameters)
        parameters = own | parameters
        hints = typing.get_type_hints(vars(base)["__init__"]) | hints
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return _named(parameters), hints


def _named(parameters: Mapping[str, inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """Arguments that a call can name."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: p for name, p in parameters.items() if name != "self" and p.kind not in several}


def tuples(value: Any) -> Any:
    """Lists as tuples, at every depth."""
    return tuple(tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
