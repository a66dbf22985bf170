"""What goes wrong between a device and its twin, to order: seeded draws of what a bad network, a bad clock or a bad sensor would do.

A network loses, repeats, delays or damages single lines; a device reboots, falls silent, has a wrong clock or a sensor that tells nonsense. Every
function is pure: what it returns follows from its arguments and the random generator that it is given.
"""

import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edgetwin.errors import InputError, did_you_mean
from edgetwin.twin.messages import Update

DELAY_MAX_SLOTS = 4
"""A delayed message is overtaken by up to this many later ones of its device."""
SILENCE_SLOTS = (5, 50)
"""How long a silent device stays so, from and to, in slots."""
CLOCK_OFFSET_S = 60.0
CLOCK_DRIFT = 100e-6
"""How wrong a wrong clock is at most, and how fast at most it goes away from there, either way (100 ppm: a poor quartz)."""
REBOOT_LOSES = 0.5
"""Share of reboots that lose what the device had not had acknowledged."""


class Faults(NamedTuple):
    """How often what goes wrong, each from 0 to 1.

    Of each line that is sent: loss, duplicate, corrupt. Of each message that is made: reorder, reboot, silence, bad. Of all devices: skew.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    skew: float = 0.0
    reboot: float = 0.0
    silence: float = 0.0
    bad: float = 0.0


def parse_faults(texts: Sequence[str]) -> Faults:
    """Faults from words such as `loss=0.01`. Raises InputError that names the word and what is allowed."""
    rates: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in Faults._fields:
            raise InputError(f"--fault {text}: there are {', '.join(Faults._fields)}{did_you_mean(name, Faults._fields)}")
        try:
            rates[name] = float(value)
        except ValueError:
            raise InputError(f"--fault {text}: write it as {name}=0.01") from None
        if not 0 <= rates[name] <= 1:
            raise InputError(f"--fault {text}: a probability, from 0 to 1")
    return Faults(**rates)


def arrivals(faults: Faults, draw: Generator, lines: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """What a network delivers of lines: each line's place among those sent, and its bytes as they arrive."""
    if not (faults.loss or faults.duplicate or faults.corrupt):
        return list(enumerate(lines))
    lost = draw.random(len(lines)) < faults.loss
    copies = 1 + (draw.random(len(lines)) < faults.duplicate)
    places = np.repeat(np.arange(len(lines)), np.where(lost, 0, copies))
    damaged = draw.random(len(places)) < faults.corrupt
    return [
        (place, corrupted(draw, lines[place]) if bad else lines[place])
        for place, bad in zip(places.tolist(), damaged.tolist(), strict=True)
    ]


def corrupted(draw: Generator, line: bytes) -> bytes:
    """A line of two bytes or more with one bit of up to eight bytes flipped, or cut short. No line end comes of it: it stays one message."""
    if draw.random() < 0.3:
        return line[: draw.integers(1, len(line))]
    damaged = bytearray(line)
    places = draw.choice(len(line), min(int(draw.integers(1, 9)), len(line)), replace=False)
    for place, bit in zip(places.tolist(), draw.integers(0, 8, len(places)).tolist(), strict=True):
        flipped = line[place] ^ 1 << bit
        damaged[place] = flipped if flipped not in b"\r\n" else line[place] ^ 1 << (bit + 1) % 8
    return bytes(damaged)


def delays(faults: Faults, draw: Generator, count: int) -> NDArray[np.int64]:
    """By how many slots each of a slot's messages is held back. (count,)"""
    return np.where(draw.random(count) < faults.reorder, draw.integers(1, DELAY_MAX_SLOTS + 1, count), 0)


def silences(faults: Faults, draw: Generator, count: int) -> NDArray[np.int64]:
    """For how many slots each device falls silent from now on. (count,)"""
    low, high = SILENCE_SLOTS
    return np.where(draw.random(count) < faults.silence, draw.integers(low, high + 1, count), 0)


def reboots(faults: Faults, draw: Generator, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which devices start anew before their next message, and which of these lose what was not acknowledged. (count,) each."""
    starts = draw.random(count) < faults.reboot
    return starts, starts & (draw.random(count) < REBOOT_LOSES)


def clocks(faults: Faults, draw: Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each device's clock is off at the start, s, and how much it gains per second. (count,) each, 0 for a clock that is right."""
    wrong = draw.random(count) < faults.skew
    return wrong * draw.uniform(-CLOCK_OFFSET_S, CLOCK_OFFSET_S, count), wrong * draw.uniform(-CLOCK_DRIFT, CLOCK_DRIFT, count)


BAD = ("not-a-number", "out-of-range", "missing", "unknown-property", "wrong-type")
"""How a sensor's message can be bad, by the reason that quarantine gives."""


def spoiled(draw: Generator, update: Update) -> tuple[str, bytes]:
    """A line of an update with a position whose state is bad in one way, undamaged otherwise; and which of `BAD` it is."""
    how = BAD[draw.integers(len(BAD))]
    state = dict(update.state)
    if how == "missing":
        del state["x_m"]
        state.setdefault("y_m", 0.0)
    elif how == "unknown-property":
        state["colour_of_sky"] = "blue"
    else:
        state["x_m"] = {"not-a-number": float("nan"), "out-of-range": 1e300, "wrong-type": "north"}[how]
    body = json.dumps(update._replace(state=state)._asdict(), separators=(",", ":"))[:-1].encode()
    return how, body + b',"crc32":"%08x"}' % zlib.crc32(body)
