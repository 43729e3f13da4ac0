"""What all scripts share: flags, logging, and one line instead of a traceback for a user's mistake."""

import ast
import contextlib
import ctypes
import gc
import inspect
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from openretina_jax.errors import UserError
from openretina_jax.experiment.progress import new_console, progress_of
from openretina_jax.experiment.usage import usage, wants_help
from openretina_jax.runtime import presets
from openretina_jax.runtime.settings import explained, read_config

INTERRUPTED = 130  # exit status, as shells have it

console = new_console()
show_progress = progress_of(console)


def run(main: Callable[[], None]) -> None:
    """Parse the flags and call ``main``; a user's mistake is one line on standard error and exit status 2.

    A process that has joined others does not wait for them when it fails, and they fail at once.
    """
    _answer_questions(main)
    _run(lambda _: main(), parse_flags)


def run_with_options(main: Callable[[dict[str, str]], None], more: Callable[[], str]) -> None:
    """Run as ``run`` does, and give ``main`` the flags that no part of the command has defined.

    A flag without a value has the text "true". Flags that are defined are checked before; it is for ``main`` to check
    the others.

    Args:
        main: the command.
        more: what ``--help`` says of these flags.
    """
    _answer_questions(main, more)

    def parse(arguments: list[str]) -> list[str]:
        return parse_flags(arguments, known_only=True)

    def options(rest: list[str]) -> dict[str, str]:
        pairs = (flag.removeprefix("--").partition("=") for flag in rest)
        return {name: value if equals else "true" for name, equals, value in pairs}

    _run(lambda arguments: main(options(arguments[1:])), parse)


def _answer_questions(main: Callable[..., None], more: Callable[[], str] | None = None) -> None:
    """Print the help or the version where the flags ask for it, and leave."""
    if "--version" in sys.argv[1:]:
        print(f"openretina-jax {version('openretina-jax')}")
    elif wants_help(sys.argv[1:]):
        try:
            text = Path(inspect.unwrap(main).__code__.co_filename).read_text(encoding="utf-8")
            print(usage(ast.get_docstring(ast.parse(text)) or "", more() if more is not None else ""))
        except UserError as error:
            fail(str(error))
    else:
        return
    sys.exit(0)


def _run(main: Callable[[list[str]], None], parser: Callable[[list[str]], list[str]]) -> None:
    def guarded(arguments: list[str]) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # of a terminal that knows only ASCII: never fail after long work
                stream.reconfigure(errors="backslashreplace")
        log_to_console()
        keep_freed_memory()
        collect_garbage_rarely()
        try:
            main(arguments)
        except KeyboardInterrupt:
            print_error("stopped by Ctrl-C; the same command begins again, or goes on from the last checkpoint")
            sys.exit(INTERRUPTED)
        except Exception as error:
            end(error)

    _fill_closed_streams()
    app.run(guarded, flags_parser=parser)


def _fill_closed_streams() -> None:
    """Open what a shell has closed, with nothing behind it: a file would get its number, and what libraries print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def end(error: Exception) -> NoReturn:
    """Leave after an error: one line for what the user can mend, a traceback for anything else."""
    from openretina_jax.runtime import processes  # imports jax, which takes seconds

    if processes.lost(error):
        reason = str(error).splitlines()[0]
        error = UserError(
            f"another process of this run has ended ({reason}); see its output, and start all of them again with the "
            "same command: the run goes on from its last checkpoint"
        )
    if isinstance(error, OSError) and error.errno is not None:  # of the machine: a full disk, a folder that is gone
        error = UserError(
            f"{error.filename or 'the output or a file'}: {error.strerror}; check the folder and the disk, and give "
            "the same command again: a run goes on from its last checkpoint"
        )
    if not processes.several():
        if isinstance(error, UserError):
            fail(str(error))
        raise error
    if isinstance(error, UserError):
        print_error(str(error))
    else:
        traceback.print_exception(error)
    processes.leave(2)


def parse_flags(arguments: list[str], *, known_only: bool = False) -> list[str]:
    """The program and, with ``known_only``, flags that are not defined; anything else that is wrong is one line."""
    try:
        rest = flags.FLAGS(arguments, known_only=known_only)
    except (AttributeError, KeyError) as error:  # of a configuration, whose entries are fixed
        fail(explained(error))
    except (flags.Error, UserError, TypeError, ValueError) as error:
        fail(str(error))
    wrong = [argument for argument in rest[1:] if not (known_only and argument.startswith("--"))]
    if wrong:
        fail(f"unexpected arguments: {' '.join(wrong)}; flags are written as --name=value")
    return rest


def fail(message: str) -> NoReturn:
    """Say in one line what is wrong, and leave."""
    print_error(message)
    sys.exit(2)


def print_error(message: str) -> None:
    """One line on standard error; an output that cannot be written is given up."""
    try:
        show_progress.clear()
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with contextlib.suppress(OSError):
        print("error:", " ".join(message.split()), file=sys.stderr)


def define_process_flags() -> None:
    """The flags of scripts that several processes can run together."""
    flags.DEFINE_boolean("distributed", False, "Join the other processes of a job of SLURM, Open MPI or a TPU pod.")
    flags.DEFINE_string("coordinator", None, "Join processes that were started by hand: host:port of the first one.")
    flags.DEFINE_integer("processes", None, "Number of processes, with --coordinator.")
    flags.DEFINE_integer("process", None, "Number of this process from 0 on, with --coordinator.")


def join_processes() -> None:
    """Join the other processes of the run, if the flags say that there are any; only the first one talks.

    Raises:
        UserError: the flags contradict each other, or the others cannot be found.
    """
    given = [flags.FLAGS[name].value for name in ("coordinator", "processes", "process")]
    if not flags.FLAGS["distributed"].value and given == [None, None, None]:
        return
    from openretina_jax.runtime import processes  # imports jax, which takes seconds

    processes.join(*given)
    console.quiet = not processes.is_first()


class ConsoleHandler(logging.Handler):
    """Prints log records above the live display, a line each however narrow the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        show_progress.clear()
        console.print(self.format(record), markup=False, soft_wrap=True)


def log_to_console() -> None:
    """Show what the package logs; other libraries only from warnings on."""
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(ConsoleHandler())
    root.setLevel(logging.WARNING)
    logging.getLogger("openretina_jax").setLevel(logging.INFO)


class _ConfigParser(flags.ArgumentParser[ml_collections.ConfigDict]):
    """Reads configurations as notebooks do, so that a mistake in a file is one line."""

    def parse(self, argument: str) -> ml_collections.ConfigDict:
        """The configuration of a file and words."""
        return read_config(argument)


def define_config(text: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """The flag ``--config=file.py:word,word``, and one such as ``--config.train.epochs`` for every setting."""
    config_flags.DEFINE_config_file("config", None, text, flag_values)
    flag_values["config"].parser = _ConfigParser()


def require_config() -> None:
    """Let the flag ``--config`` be needed; without it a line says which configurations there are."""
    flags.register_validator(
        "config",
        lambda config: config is not None,
        f"give one, such as --config=hoefling_low_res:simulated; there are {', '.join(presets.names())}, and files of "
        "your own",
    )


def define_shape() -> None:
    """The flag ``--shape`` of scripts that invent their stimuli."""
    flags.DEFINE_list("shape", [], "Height, width and channels of a frame. Default: the configuration's.")
    flags.register_validator(
        "shape",
        lambda sizes: not sizes or (len(sizes) == 3 and all(size.isdigit() for size in sizes)),
        "must be height, width and channels, such as 60,80,1",
    )


def shape() -> tuple[int, int, int] | None:
    """Height, width and channels of the flag ``--shape``; None if it is not given."""
    sizes = flags.FLAGS["shape"].value
    return (int(sizes[0]), int(sizes[1]), int(sizes[2])) if sizes else None


def configuration() -> tuple[ml_collections.ConfigDict, str]:
    """The configuration of the flags, and a name for it.

    The name of ``--config=configs/hoefling_low_res.py:simulated,quick`` is ``hoefling_low_res_simulated_quick``.
    """
    path, _, words = preset_name().partition(":")
    return flags.FLAGS["config"].value, "_".join([Path(path).stem, *filter(None, words.split(","))])


def preset_name() -> str:
    """The value of the flag ``--config``."""
    return config_flags.get_config_filename(flags.FLAGS["config"])


def preset() -> ml_collections.ConfigDict:
    """The configuration of the flags as its file has it, without the settings that flags change."""
    return read_config(preset_name())


def given_settings() -> dict[str, Any]:
    """What the flags set of the configuration, by dotted names."""
    return config_flags.get_override_values(flags.FLAGS["config"])


_NEW_OBJECTS = 50_000  # between two collections; Python's own number is 700 or 2000


def collect_garbage_rarely() -> None:
    """Let Python look for cycles of garbage after more new objects than usual, before JAX is imported.

    Imports and traces make a million objects, nearly all of which stay: looking through them again and again takes a
    tenth of the time to the first step.
    """
    gc.set_threshold(_NEW_OBJECTS)


# of <malloc.h>
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Let the process keep memory that it has freed, for its next use; on Linux, before JAX begins to compute.

    A step on a CPU needs hundreds of megabytes for a moment. The C library gives large pieces back to the system at
    once, which clears every page anew when the next step asks for it: that takes about a quarter of a step. The process
    may hold more, since what is freed can lie in pieces too small for the next step. Other systems and other C
    libraries are left as they are.

    Several cores have an arena each, and two are left for other threads: in a single one the threads of XLA's compiler
    wait for each other, up to twice as long where cores share no cache. But pieces of more than 64 MB that do not lie
    in the first arena are given back after all, so that one core has but that.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        cores = len(os.sched_getaffinity(0))
        arenas = 1 if cores == 1 else cores + 2
        for option, value in ((_ARENA_MAX, arenas), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(option, value)
