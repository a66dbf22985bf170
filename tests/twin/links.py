"""A link within one process: the centre's end and a host's, over two queues in place of a WebSocket."""

import asyncio
from contextlib import asynccontextmanager, suppress

from edgetwin.twin.link.connection import Broken, Connection
from edgetwin.twin.link.front import Front
from edgetwin.twin.link.obedience import Obedience
from edgetwin.twin.link.remote_host import RemoteHost
from edgetwin.twin.link.teller import Teller
from edgetwin.twin.moves.gates import Gates


class Wire:
    """Frames of one direction. `frames`: all that passed; `cut` breaks it, after `left` more frames where that is set."""

    def __init__(self):
        self.frames, self.left, self._queue = [], None, asyncio.Queue()
        self.is_stuck = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    async def send(self, frame):
        if self.left is not None:
            if self.left == 0:
                self.cut()
                raise ConnectionError("cut")
            self.left -= 1
        self.frames.append(frame)
        await self._queue.put(frame)

    async def receive(self):
        await self._open.wait()
        frame = await self._queue.get()
        if frame is None:
            raise ConnectionError("cut")
        return frame

    def cut(self):
        self._queue.put_nowait(None)

    def hold(self, held=True):
        """Lets nothing arrive."""
        self._open.clear() if held else self._open.set()


class Pair:
    """Both ends: `remote` as the centre has it, and the host's own `front`."""

    def __init__(self, host):
        self.to_host, self.to_centre = Wire(), Wire()
        self.centre_end = Connection(self.to_host.send, self.to_centre.receive)
        self.host_end = Connection(self.to_centre.send, self.to_host.receive)
        self.remote = RemoteHost("edge-1", "http://127.0.0.1:1", "sqlite:edge-1", "1", self.centre_end)
        self.front = Front(host, Gates(), "http://centre")
        self.teller = Teller(lambda: host.twins)
        self.obedience = Obedience(host, self.front, self.teller, self.host_end)
        self.ended = None

    async def centre(self):
        async def take():
            async for head, body in self.centre_end.messages():
                self.remote.hear(head, body)

        try:
            await self.centre_end.run(take(), beat=dict, patience_s=1.0)
        except Exception as error:
            self.ended = error
        finally:
            self.remote.end()

    async def host(self):
        async def take():
            await self.teller.introduce(self.host_end)
            async for head, body in self.host_end.messages():
                await self.obedience.hear(head, body)

        with suppress(OSError, Broken):
            beat = {"available": True, "pending": 0, "fenced": 0}
            await self.host_end.run(take(), beat=lambda: self.teller.flush_if_room() or beat, patience_s=60.0)


@asynccontextmanager
async def linked(host):
    """A pair whose twins are listed."""
    pair = Pair(host)
    tasks = [asyncio.create_task(pair.centre()), asyncio.create_task(pair.host())]
    try:
        async with asyncio.timeout(20):
            await pair.remote.listed.wait()
        yield pair
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
