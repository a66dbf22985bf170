"""Processes that tests start."""

import sys

HEEDING_INTERRUPTS = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
]
"""Python that heeds ^C even where the tests were started in the background, which ignores it; arguments as for Python itself."""
