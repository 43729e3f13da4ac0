"""The one exception that stands for a mistake in what the user gave us.

Scripts print its message as a single line and exit with status 2; anything else that is raised is a bug of
ours and keeps its traceback.
"""

import difflib
import importlib.util
import re
import sys
from collections.abc import Iterable
from types import TracebackType

_FEW = 50  # names that a line can list


class UserError(Exception):
    """Bad input: the message says what was wrong, the value, the rule and the remedy, in one line.

    One that nobody catches is shown by Python as that line, without a traceback. Words of a file that a message holds
    add no lines to it, and nothing that a terminal would obey.
    """

    def __init__(self, message: str):
        line = re.sub(r"\s*[\r\n]\s*", " ", message)
        super().__init__("".join(one if one.isprintable() else ascii(one)[1:-1] for one in line))


def _in_one_line(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, UserError):
        print(f"{kind.__name__}:", " ".join(str(error).split()), file=sys.stderr)
    else:
        _others(kind, error, traceback)


_others, sys.excepthook = sys.excepthook, _in_one_line


def nearest(name: str, known: Iterable[str]) -> str:
    """What a message advises where a name is not known: the one most like it, or else all, unless they are many."""
    names = list(known)
    if not names:
        return "there are none"
    if close := difflib.get_close_matches(name, names, 1, cutoff=0.5 if len(names) <= _FEW else 0.0):
        return f'did you mean "{close[0]}"?'
    return f"choose among {', '.join(names)}"


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
