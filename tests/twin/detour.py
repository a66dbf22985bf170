"""A way to a server that can be cut: what connects to it is passed on, until it is closed."""

import asyncio
import threading
from contextlib import suppress


class Detour:
    """Listens at an address, and passes on to another one. In a thread of its own, from `__enter__` to `__exit__`."""

    def __init__(self, here, there):
        self._here, self._there = here, there
        self._loop = asyncio.new_event_loop()
        self._ways = set()
        self._server = None

    def __enter__(self):
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_):
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def open(self):
        """Passes on again."""
        self._do(self._open())

    def cut(self):
        """Ends all connections, and takes no new ones."""
        self._do(self._cut())

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self):
        self._server = await asyncio.start_server(self._pass_on, *self._here)

    async def _cut(self):
        self._server.close()
        for writer in list(self._ways):
            writer.transport.abort()

    async def _pass_on(self, reader, writer):
        with suppress(OSError):
            there, back = await asyncio.open_connection(*self._there)
            both = {writer, back}
            self._ways |= both
            try:
                await asyncio.gather(_copied(reader, back), _copied(there, writer))
            finally:
                self._ways -= both
                for one in both:
                    one.close()


async def _copied(reader, writer):
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
