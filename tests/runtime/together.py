"""Processes that ask each other again and again, until one is lost: a program for test_processes.py."""

import time

from openretina_jax.experiment import command_line

command_line.define_process_flags()


def main() -> None:
    """Join the others, and ask them for ever."""
    command_line.join_processes()

    from openretina_jax.runtime.processes import in_any

    while not in_any(False):
        print("together", flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    command_line.run(main)
