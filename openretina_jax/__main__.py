"""The command ``openretina-jax``, or ``python -m openretina_jax``."""

import sys
from importlib.metadata import version

from openretina_jax import commands
from openretina_jax.errors import nearest

USAGE = """usage: openretina-jax COMMAND [--flag=value ...]

{commands}

openretina-jax COMMAND --help lists the flags of a command; openretina-jax --version prints the version."""


def main() -> None:
    """Run the command that the first argument names."""
    name, known = (sys.argv[1] if len(sys.argv) > 1 else "--help"), commands.names()
    if name in ("-h", "--help", "help"):
        width = max(map(len, known))
        print(USAGE.format(commands="\n".join(f"  {one:{width}}  {commands.first_line(one)}" for one in known)))
    elif name == "--version":
        print(f"openretina-jax {version('openretina-jax')}")
    elif name in known:
        sys.argv = [f"openretina-jax {name}", *sys.argv[2:]]
        commands.run(name)
    else:
        print(f'error: there is no command "{name}"; {nearest(name, known)}', file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
