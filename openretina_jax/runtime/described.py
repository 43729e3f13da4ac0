"""Objects that say in a line, or in a notebook in a small table, what they are."""

import html
from collections.abc import Mapping, Sequence


class Described:
    """Base of objects too large to be printed whole; a subclass writes ``_facts``."""

    def _facts(self) -> Mapping[str, str]:
        """Most important facts, by name, in the order to be shown; none unless a subclass knows some."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}: {value}' for name, value in self._facts().items())})"

    __str__ = __repr__  # that of flax prints all arrays

    def _repr_html_(self) -> str:
        """Table that a notebook shows."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, in the singular or the plural: 1 neuron, 1,250 neurons."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names, of which so many are written out."""
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + others) or "none"
