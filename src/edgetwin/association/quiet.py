"""Keeps a stray line of HiGHS 1.12 off standard output, where programs read JSON (ERGO-Code/HiGHS#2783: a debug print left in)."""

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STRAY = b"HighsMipSolverData::"


@contextmanager
def without_stray_lines() -> Iterator[None]:
    """Holds back what is written to file descriptor 1 inside, and passes it on without the stray lines."""
    if os.name != "posix":
        yield
        return
    flush = ctypes.CDLL(None).fflush
    flush(None)
    stdout = os.dup(1)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 1)
        try:
            yield
        finally:
            flush(None)
            os.dup2(stdout, 1)
            os.close(stdout)
            held.seek(0)
            passed = b"".join(line for line in held if not line.startswith(STRAY))
            if passed:
                os.write(1, passed)
