"""What ``--help`` prints of a command: what it does, and all of its flags."""

import re
import sys
import textwrap
from collections.abc import Iterable

from absl import flags

WIDTH = 100
_HELP = ("-h", "--help", "-help")


def wants_help(arguments: Iterable[str]) -> bool:
    """Whether the words of a command line ask for help."""
    return any(argument in _HELP for argument in arguments)


def usage(about: str, more: str = "") -> str:
    """Write what a command does, and its flags in the order of their definition.

    Args:
        about: docstring of the command.
        more: text after the flags.
    """
    lines = [about.strip(), "", "flags:"]
    for flag in defined_flags():
        lines.append(f"  --{_shown(flag)}")
        text = re.sub(r";\s+repeat this option.*", " May be repeated.", flag.help or "", flags=re.DOTALL)
        lines.extend(textwrap.wrap(text, WIDTH, initial_indent="      ", subsequent_indent="      "))
        if flag.name == "config":
            lines.append("  --config.SETTING=VALUE")
            lines.append("      Another value of a setting of the configuration, such as --config.train.epochs=20.")
    return "\n".join([*lines, *([more.rstrip()] if more else [])])


def defined_flags() -> list[flags.Flag]:
    """Flags of the command, in order, without those of libraries, of other spellings, and of single settings."""
    found: list[flags.Flag] = []
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module == sys.argv[0] or module.partition(".")[0] in ("openretina_jax", "__main__"):
            found += [flag for flag in defined if "." not in flag.name and flag not in found]
    return [flag for flag in found if not (flag.help or "").startswith("Alias for")]


def _shown(flag: flags.Flag) -> str:
    if flag.boolean:
        return f"{flag.name} (or --no{flag.name}), default: {'yes' if flag.default else 'no'}"
    choices = getattr(flag.parser, "enum_values", None)
    value = "|".join(choices) if choices else flag.name.upper()
    default = "" if flag.default in (None, [], "") else f", default: {str(flag.default_as_str).strip(chr(39))}"
    return f"{flag.name}={value}{default}"
