"""An event loop in which time passes only when nothing else is to be done, so that seconds cost nothing and every run is the same."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any


class Stuck(Exception):
    """Nothing is left that could ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop with a clock of its own, from 0. thread: takes the place of threads, is called with an executor, what is called, and the call."""

    def __init__(self, thread: Callable[[Any, str, Callable[[], Any]], asyncio.Future]):
        super().__init__()
        self._now_s, self._selector, self._clock_resolution = 0.0, self, 1e-9
        self._thread = thread

    def time(self) -> float:
        return self._now_s

    def select(self, timeout: float | None) -> list:
        if timeout is None:
            raise Stuck("nothing is left to be done")
        self._now_s += max(timeout, 0.0)
        return []

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future:
        called = func.func if isinstance(func, partial) else func
        return self._thread(executor, called.__name__, lambda: func(*args))

    def _process_events(self, events: list) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
