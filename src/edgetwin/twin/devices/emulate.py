"""A fleet of emulated devices that report to a running service over the real protocols, with faults to order, and never forget what is not settled.

Devices move as a scenario says and report once a slot, one after the other so that the load is even.
"""

import asyncio
import json
import time
import zlib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError
from edgetwin.scenario import Scenario
from edgetwin.twin.devices import faults as faults_
from edgetwin.twin.devices.couriers import Courier, HttpCourier, MqttCourier, WebSocketCourier
from edgetwin.twin.devices.faults import Faults
from edgetwin.twin.devices.figures import Figures
from edgetwin.twin.devices.fleet import Fleet, Motion
from edgetwin.twin.devices.lanes import History, Lane, Message
from edgetwin.twin.messages import Update

Protocol = Literal["http", "websocket", "mqtt"]

KIND = "mobile-user"
SPEED_MAX_MPS = 100.0
"""What the kind allows; a device of a recording that jumps further says nothing of its speed."""
HTTP_LANES, DEVICES_PER_LANE = 4, 100
"""Connections by HTTP in all; devices that share one by WebSocket and MQTT."""
TICK_S = 0.02
"""Devices that report within this time do so together."""
BACKLOG_MAX = 50_000
"""Unsettled messages beyond which devices wait with measuring."""
START_S, DRAIN_S = 10.0, 30.0
"""How long the service may be away at the start, and how long after the end what is not settled is still sent."""


class Plan(NamedTuple):
    """What to emulate. rate_hz: reports per second of each device. duration_s: None for ever. history: file of what was sent and acknowledged."""

    url: str
    scenario: Scenario
    devices: int
    protocol: Protocol = "http"
    broker: str = "mqtt://127.0.0.1:1883"
    rate_hz: float = 1.0
    duration_s: float | None = None
    faults: Faults = Faults()
    seed: int = 0
    history: Path | None = None
    token: str | None = None


class Emulation:
    """A run: `run` enrols the devices and has them report; `figures` tell how it goes; `stop` ends it early, in order.

    Raises InputError for a plan without sense.
    """

    def __init__(self, plan: Plan):
        _check(plan)
        self.plan, self.figures = plan, Figures()
        self.names = [f"emulated-{number}" for number in range(plan.devices)]
        self._draw, network = map(np.random.default_rng, np.random.SeedSequence(plan.seed).spawn(2))
        couriers, self._history = _couriers(plan, self.names), History(plan.history)
        self._lanes = [Lane(courier, plan.faults, network, self.figures, self._history) for courier in couriers]
        self._fleet = Fleet(plan.scenario, plan.devices, plan.seed)
        self._offset_s, self._drift = faults_.clocks(plan.faults, self._draw, plan.devices)
        self._boot_id = np.full(plan.devices, int(time.time() * 1000), np.int64)
        self._seq, self._silent = np.zeros((2, plan.devices), np.int64)
        self._held: dict[int, list[tuple[Lane, Message]]] = {}
        self._stopped, self._abandoned = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        """Measures no more; what is not settled is still sent, unless this is the second time."""
        (self._abandoned if self._stopped.is_set() else self._stopped).set()

    async def run(self, tell: Callable[[Figures], None] = lambda figures: None) -> dict[str, Any]:
        """Emulates as planned; returns the summary. `tell` is called twice a second. Raises InputError where the service refuses a device."""
        background: list[asyncio.Task] = []
        try:
            await self._enrol()
            began_s = time.monotonic()
            background = [asyncio.create_task(lane.carry()) for lane in self._lanes]
            background += [asyncio.create_task(self._tell(tell)), asyncio.create_task(self._abandoned.wait())]
            if await _first(self._report(began_s), background):
                await _first(self._drain(), background)
            return self.figures.summary(time.monotonic() - began_s)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.gather(*(lane.close() for lane in self._lanes))
            self._history.close()

    async def _tell(self, tell: Callable[[Figures], None]) -> None:
        while True:
            tell(self.figures)
            await asyncio.sleep(0.5)

    async def _enrol(self) -> None:
        """Enrols all devices; each starts with a boot_id higher than any the service knows."""
        numbers = iter(range(len(self.names)))

        async def some() -> None:
            asking = HttpCourier(self.plan.url, self.plan.token)
            try:
                for number in numbers:
                    if self._stopped.is_set():
                        return
                    known = await _enrolled(asking, self.plan.url, self.names[number])
                    self._boot_id[number] = max(self._boot_id[number], known + 1)
            finally:
                await asking.close()

        tasks = [asyncio.create_task(some()) for _ in range(HTTP_LANES)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self, began_s: float) -> None:
        """Has every device report once a slot, in ticks, slot after slot until the end."""
        slot_s = 1 / self.plan.rate_hz
        ticks = min(max(1, round(slot_s / TICK_S)), len(self.names))
        groups = [np.arange(tick, len(self.names), ticks) for tick in range(ticks)]
        slot = 0
        while not self._is_over(slot * slot_s):
            self._release(slot)
            for tick, group in enumerate(groups):
                elapsed_s = (slot + tick / ticks) * slot_s
                await asyncio.sleep(max(began_s + elapsed_s - time.monotonic(), 0))
                while self.figures.unsettled >= BACKLOG_MAX and not self._stopped.is_set():
                    await asyncio.sleep(TICK_S)
                if self._is_over(elapsed_s):
                    break
                self._measure(slot, group, self._fleet.at(elapsed_s), elapsed_s)
                late_s = time.monotonic() - began_s - elapsed_s
                if late_s > slot_s + 1:
                    self.figures.stalled_s += late_s
                    began_s += late_s
            slot += 1
        for held in sorted(self._held):
            self._release(held)

    def _is_over(self, elapsed_s: float) -> bool:
        return self._stopped.is_set() or self.plan.duration_s is not None and elapsed_s >= self.plan.duration_s

    def _release(self, slot: int) -> None:
        """Sends what was held back until a slot."""
        for lane, message in self._held.pop(slot, ()):
            lane.put(message)

    def _measure(self, slot: int, devices: NDArray[np.int64], motion: Motion, elapsed_s: float) -> None:
        """Makes a message of each device that is there and not silent, and puts it on its way."""
        faults, draw = self.plan.faults, self._draw
        self._silent[devices] = np.maximum(self._silent[devices] - 1, faults_.silences(faults, draw, len(devices)))
        devices = devices[(self._silent[devices] == 0) & motion.present[devices]]
        self._reboot(devices)
        self._seq[devices] += 1
        time_s = time.time() + self._offset_s[devices] + self._drift[devices] * elapsed_s
        going = np.stack([motion.speed_mps, motion.heading_rad], axis=1)
        rows = (self._boot_id, self._seq, motion.position_m, going)
        made_s = time.monotonic()
        messages = [
            _message(self.names[device], boot_id, seq, time_s, _state(*place, *going), made_s)
            for device, time_s, boot_id, seq, place, going in zip(
                devices.tolist(), time_s.tolist(), *(column[devices].tolist() for column in rows), strict=True
            )
        ]
        self.figures.made += len(messages)
        self._history.sent(messages)
        spoiled = np.flatnonzero(draw.random(len(devices)) < faults.bad)
        for index in spoiled.tolist():
            messages[index] = _spoiled(draw, messages[index])
        delays = faults_.delays(faults, draw, len(devices))
        for device, message, delay in zip(devices.tolist(), messages, delays.tolist(), strict=True):
            lane = self._lanes[device % len(self._lanes)]
            if delay:
                self._held.setdefault(slot + delay, []).append((lane, message))
            else:
                lane.put(message)

    def _reboot(self, devices: NDArray[np.int64]) -> None:
        starts, loses = faults_.reboots(self.plan.faults, self._draw, len(devices))
        self._boot_id[devices[starts]] += 1
        self._seq[devices[starts]] = 0
        for device in devices[loses].tolist():
            self._lanes[device % len(self._lanes)].forget(self.names[device], int(self._boot_id[device]))

    async def _drain(self) -> None:
        """Waits until all is settled, or for `DRAIN_S`."""
        until_s = time.monotonic() + DRAIN_S
        while self.figures.unsettled and time.monotonic() < until_s:
            await asyncio.sleep(TICK_S)


def _check(plan: Plan) -> None:
    if plan.devices < 1:
        raise InputError(f"devices = {plan.devices}: at least 1")
    if not 0 < plan.rate_hz <= 1000:
        raise InputError(f"rate = {plan.rate_hz:g}: updates per second of each device, above 0 and at most 1000")
    if plan.duration_s is not None and not plan.duration_s > 0:
        raise InputError(f"duration = {plan.duration_s:g}: seconds, above 0")
    if plan.seed < 0:
        raise InputError(f"seed = {plan.seed}: a whole number from 0")


def _couriers(plan: Plan, names: Sequence[str]) -> list[Courier]:
    """The connections of a plan; device i's is the one at i modulo their number."""
    lanes = HTTP_LANES if plan.protocol == "http" else -(-len(names) // DEVICES_PER_LANE)
    if plan.protocol == "http":
        return [HttpCourier(plan.url, plan.token) for _ in range(lanes)]
    if plan.protocol == "websocket":
        return [WebSocketCourier(plan.url, plan.token) for _ in range(lanes)]
    return [MqttCourier(plan.broker, names[lane::lanes]) for lane in range(lanes)]


async def _first(work: Coroutine[Any, Any, None], background: Sequence[asyncio.Task]) -> bool:
    """Does the work, unless something in the background ends before; returns whether it was done. Raises what ended the other."""
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait([task, *background], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for ended in done:
        ended.result()
    return task in done


async def _enrolled(asking: HttpCourier, url: str, name: str) -> int:
    """Enrols a device; returns the highest boot_id that the service knows of it. Raises InputError where that is refused, or nobody is there."""
    body = json.dumps({"kind": KIND}).encode()
    until_s = time.monotonic() + START_S
    while True:
        try:
            status, answer = await asking.ask("PUT", f"/v1/twins/{name}", body)
        except OSError as error:
            status, answer = 503, str(error).encode()
        if status in (200, 201):
            return int(json.loads(answer).get("boot_id", 0))
        if status < 500 or time.monotonic() > until_s:
            raise InputError(f"{url}: {name} cannot be enrolled: {status} {answer[:200].decode(errors='replace')}")
        await asyncio.sleep(0.2)


def _state(x_m: float, y_m: float, speed_mps: float, heading_rad: float) -> bytes:
    if speed_mps > SPEED_MAX_MPS:
        return b'{"x_m":%.3f,"y_m":%.3f}' % (x_m, y_m)
    return b'{"x_m":%.3f,"y_m":%.3f,"speed_mps":%.3f,"heading_rad":%.4f}' % (x_m, y_m, speed_mps, heading_rad)


def _message(device: str, boot_id: int, seq: int, time_s: float, state: bytes, made_s: float) -> Message:
    """A message, whose line is put together by hand, five times as fast as by `line_of`."""
    body = b'{"device":"%b","boot_id":%d,"seq":%d,"time_s":%.6f,"state":%b' % (device.encode(), boot_id, seq, time_s, state)
    return Message(device, boot_id, seq, time_s, state, body + b',"crc32":"%08x"}' % zlib.crc32(body), made_s)


def _spoiled(draw: np.random.Generator, message: Message) -> Message:
    update = Update(*message[:4], json.loads(message.state))
    return message._replace(line=faults_.spoiled(draw, update)[1])
