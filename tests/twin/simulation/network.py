"""Processes that can be killed, and a network between them that loses, delays, doubles and reorders what they say, by a seed."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from edgetwin.twin.moves.endpoint import Away

LIMIT_S = 0.6
"""How long an answer is waited for."""


class Process:
    """What ends together. generation: how often it was started; what was sent to one generation never reaches the next."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop):
        self.name, self.loop = name, loop
        self.is_alive, self.generation = True, 0
        self._tasks: dict[asyncio.Task, None] = {}

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task:
        """A task that ends with the process."""
        task = self.loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def kill(self) -> None:
        """Ends all that it does, wherever it is."""
        self.is_alive = False
        self.generation += 1
        for task in list(self._tasks):
            task.cancel()


class Network:
    """Messages between processes, in their order unless `reordered`; what is doubled comes again at any time. The probabilities are those of one
    message. blocked: pairs (from, to) between which nothing passes. delay_s: the usual delay at most, slow_s: that of slow messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random):
        self.loop, self.rng = loop, rng
        self.blocked: set[tuple[str, str]] = set()
        self.lost = self.doubled = self.reordered = self.slow = 0.0
        self.delay_s, self.slow_s = 0.02, 0.8
        self._last: dict[tuple[str, str], float] = {}

    def send(self, sender: Process, receiver: Process, arrive: Callable[[], Any], may_double: bool = True) -> None:
        """Calls `arrive` at the receiver some time, once, twice or never."""
        if (sender.name, receiver.name) in self.blocked or self._happens(self.lost):
            return
        generation = receiver.generation
        self.loop.call_at(self._when(sender, receiver), self._arrived, receiver, generation, arrive)
        if may_double and self._happens(self.doubled):
            self.loop.call_later(self.rng.uniform(0.0, self.slow_s), self._arrived, receiver, generation, arrive)

    async def call(self, sender: Process, receiver: Process, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What `work` returns or raises at the receiver. Raises Away where no answer comes."""
        answer = self.loop.create_future()

        def arrive() -> None:
            receiver.spawn(serve())

        async def serve() -> None:
            try:
                result = (await work(), None)
            except Exception as error:
                result = (None, error)
            self.send(receiver, sender, lambda: answer.done() or answer.set_result(result), may_double=False)

        self.send(sender, receiver, arrive)
        limit = self.loop.call_later(
            LIMIT_S, lambda: answer.done() or answer.set_result((None, Away(f"no answer of {receiver.name}")))
        )
        try:
            result, error = await answer
        finally:
            limit.cancel()
        if error is not None:
            raise error
        return result

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def _when(self, sender: Process, receiver: Process) -> float:
        pair = (sender.name, receiver.name)
        when = self.loop.time() + self.rng.uniform(0.0002, self.slow_s if self._happens(self.slow) else self.delay_s)
        if not self._happens(self.reordered):
            when = self._last[pair] = max(when, self._last.get(pair, 0.0) + 1e-6)
        return when

    def _arrived(self, receiver: Process, generation: int, arrive: Callable[[], Any]) -> None:
        if receiver.is_alive and receiver.generation == generation:
            arrive()
