"""The command ``openretina-jax``, or ``python -m openretina_jax``."""

import contextlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from openretina_jax import commands
from openretina_jax.errors import UserError, nearest

USAGE = """usage: openretina-jax COMMAND [--flag=value ...]

{commands}

openretina-jax COMMAND --help lists the flags of a command; openretina-jax --version prints the version;
openretina-jax completion bash|zsh|fish prints what makes the Tab key complete them."""


def main() -> None:
    """Run the command that the first argument names."""
    name, known = (sys.argv[1] if len(sys.argv) > 1 else "--help"), commands.names()
    if name in ("-h", "--help", "help"):
        width = max(map(len, known))
        print(USAGE.format(commands="\n".join(f"  {one:{width}}  {commands.first_line(one)}" for one in known)))
    elif name == "--version":
        print(f"openretina-jax {version('openretina-jax')}")
    elif name == "completion":
        complete(sys.argv[2:])
    elif name in known:
        sys.argv = [f"openretina-jax {name}", *sys.argv[2:]]
        commands.run(name)
    else:
        print(f'error: there is no command "{name}"; {nearest(name, known)}', file=sys.stderr)
        sys.exit(2)


def complete(words: Sequence[str]) -> None:
    """Print the script of a shell, or for that script what the last of some words may become."""
    from openretina_jax.commands import _completion

    if words[:1] == ["words"]:
        with contextlib.suppress(UserError):  # of a configuration that is not there (yet)
            for one in _completion.candidates(words[1:]):
                print(one)
    elif list(words) in [[shell] for shell in _completion.SCRIPTS]:
        print(_completion.SCRIPTS[words[0]], end="")
    else:
        print(f"error: name the shell: openretina-jax completion {'|'.join(_completion.SCRIPTS)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
