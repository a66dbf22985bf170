"""Compiled programs are kept between tests and between test processes, so that the compiler runs once for each."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


@pytest.fixture(scope="module")
def quick_compilation():
    """From here to the end of a module programs are compiled without most optimisations, in half the time: for tests of what programs
    do, which neither run for long nor compare the last bits with those of a process of its own."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
