"""The device client for code without asyncio: the same device, in a thread of its own.

with BlockingDevice("http://127.0.0.1:8700", "car-7", kind="vehicle") as car:
    car.report({"x_m": 12.5, "y_m": 88.1})
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from edgetwin.twin.devices.client import Device
from edgetwin.twin.messages import Ack


class BlockingDevice:
    """A `Device` with the same options, whose methods wait; `on_desired` is called in the device's own thread."""

    def __init__(self, url: str, name: str, kind: str | None = None, **options: Any):
        self._device = Device(url, name, kind, **options)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{self._device.name}-device", daemon=True)
        self._thread.start()
        try:
            self._do(self._device.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._do(self._device.__aexit__(kind, error, trace))
        finally:
            self._end()

    @property
    def desired(self) -> Mapping[str, Any]:
        """The desired state as far as it is known."""
        return self._device.desired

    def report(self, state: Mapping[str, Any], time_s: float | None = None, *, wait: bool = False) -> Ack | None:
        """As `Device.report`."""
        return self._do(self._device.report(state, time_s, wait=wait))

    def flush(self) -> None:
        """As `Device.flush`."""
        self._do(self._device.flush())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
