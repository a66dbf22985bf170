"""The command line. Every command ends with 0 when it did its job, 1 when a check failed, 2 when its input was wrong (one line says why)."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from cyclopts import CycloptsError

from edgetwin.cli import checks, emulate, frontiers, host, moves, place, policies, scenarios, serve, stores, studies, training  # noqa: F401  (each adds its commands to the app)
from edgetwin.cli.shared import INTERRUPTED, app
from edgetwin.errors import InputError


def command() -> NoReturn:
    """The process `edgetwin`: `main`, and its end. After ^C that comes at once, since JAX, interrupted while it compiles, may crash when it
    is taken down in order."""
    status = main()
    if status == INTERRUPTED:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    try:
        _keep_compiled_programs()
        return (
            app(
                list(sys.argv[1:] if arguments is None else arguments),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
            or 0
        )
    except (InputError, CycloptsError) as error:
        print(f"edgetwin: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("edgetwin: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _keep_compiled_programs() -> None:
    """JAX keeps compiled programs in the user's cache, so that only the first run waits for the compiler."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgetwin" / "compiled"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
