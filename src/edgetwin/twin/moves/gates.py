"""Gates in front of twins that are between two hosts: messages wait there, in their order, until it is known where the twin is."""

import asyncio
from collections import deque

PATIENCE_S = 1.0
"""After which a gate opens by itself: who waits longer is better told to come back."""


class _Gate:
    def __init__(self, timer: asyncio.TimerHandle):
        self.timer = timer
        self.is_open = False
        self.waiting: deque[asyncio.Future[None]] = deque()


class Gates:
    """Gates by twin, open unless closed. Used in one event loop."""

    def __init__(self, patience_s: float = PATIENCE_S):
        self._patience_s = patience_s
        self._gates: dict[str, _Gate] = {}

    def close(self, twin: str) -> None:
        """Closes a twin's gate, until `open` or for as long as the gates' patience."""
        timer = asyncio.get_running_loop().call_later(self._patience_s, self.open, twin)
        gate = self._gates.setdefault(twin, _Gate(timer))
        if gate.timer is not timer:
            gate.timer.cancel()
            gate.timer = timer
        gate.is_open = False

    def open(self, twin: str) -> None:
        """Lets those pass who wait, the first first. Nothing where the gate is open."""
        gate = self._gates.get(twin)
        if gate is not None:
            gate.timer.cancel()
            gate.is_open = True
            self._next(twin, gate)

    def is_closed(self, twin: str) -> bool:
        """Whether `passed` would wait."""
        return twin in self._gates

    async def passed(self, twin: str) -> None:
        """Returns once the twin's gate is open and all have passed who came before. What the caller does before it next awaits is in order."""
        gate = self._gates.get(twin)
        if gate is None:
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gate.waiting.append(place)
        try:
            await place
        finally:
            gate.waiting.remove(place)
            if gate.is_open:
                self._next(twin, gate)

    def _next(self, twin: str, gate: _Gate) -> None:
        """Calls the first of those who wait; whoever comes while some are on their way waits behind them."""
        if not gate.waiting:
            self._gates.pop(twin, None)
        elif not gate.waiting[0].done():
            gate.waiting[0].set_result(None)
