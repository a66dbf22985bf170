"""What devices and the twin layer say to each other: updates, one JSON object a line, and the acknowledgement of each.

    {"device":"car-7","boot_id":3,"seq":42,"time_s":1700000000.25,"state":{"x_m":12.5,"y_m":88.1},"crc32":"7a4b9637"}

`boot_id` grows with every start of a device and `seq` with every message since, both from 1, so that (boot_id, seq) is an order. `crc32` may be left
out; where it is given it stands last and covers the bytes before `,"crc32"`, so that no two languages need to write numbers alike.
"""

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_LINE_BYTES = 65_536
MAX_LINES = 4_000
"""In one body or frame"""
MAX_INTEGER = 2**63 - 1
CLOSING = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\s*\Z')
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
"""Names of devices, twins and hosts: they stand in addresses and in topics."""

OWNER = re.compile(rb'"device"\s*:\s*"([A-Za-z0-9][A-Za-z0-9_-]{0,127})"')
"""Whose a line is that cannot be read as a whole."""

REASONS = {
    "malformed": "not an update: no JSON object in UTF-8, or a field is missing, unknown or of the wrong kind",
    "damaged": "its crc32 is not that of its bytes; the device may send it again",
    "too-large": f"longer than {MAX_LINE_BYTES} bytes",
    "unknown-device": "no twin of this device is enrolled",
    "erased": "the device's data was erased; the message itself is not kept",
    "unknown-property": "a property that the twin's kind does not have",
    "wrong-type": "a value of another type than the property's",
    "not-a-number": "a value is NaN or infinite",
    "out-of-range": "a value outside what the property allows",
    "missing": "a property that every update of the kind must have is missing",
    "clock-skew": "measured further in the future than clocks may differ",
    "too-old": "measured longer ago than the kind keeps history",
}
"""Why a message is in quarantine."""

SETTLED = ("applied", "late", "duplicate", "quarantined")
"""What an acknowledgement may say of a message that the device may forget. After "retry" it keeps the message, after "damaged" it sends it anew."""


class Update(NamedTuple):
    """What a device says of itself: `state` holds what changed since its last message, null for a property that is no more."""

    device: str
    boot_id: int
    seq: int
    time_s: float
    state: dict[str, Any]


class Ack(NamedTuple):
    """What became of a message. `status`: applied, late (into history only), duplicate, quarantined, damaged, or retry (nothing was kept).

    revision, epoch: the twin's, after it.
    """

    status: str
    device: str | None = None
    boot_id: int | None = None
    seq: int | None = None
    revision: int | None = None
    reason: str | None = None
    detail: str | None = None
    epoch: int | None = None


class Quarantined(NamedTuple):
    """A message that was not applied. reason: one of `REASONS`. message: its bytes, cut to what is kept."""

    reason: str
    detail: str
    device: str | None
    message: bytes
    received_s: float


class Bad(ValueError):
    """A message that cannot be applied, with its reason, and whose it was as far as that can be told."""

    def __init__(self, reason: str, detail: str, device: str | None = None, boot_id: int | None = None, seq: int | None = None):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
        self.device, self.boot_id, self.seq = device, boot_id, seq


class TooMany(ValueError):
    """More lines together than are taken."""


class _NotANumber(ValueError):
    pass


def _refuse_constant(name: str) -> None:
    raise _NotANumber(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse(line: bytes) -> Update:
    """The update in a line. Raises Bad with the reason malformed, damaged, too-large or not-a-number."""
    if len(line) > MAX_LINE_BYTES:
        raise Bad("too-large", f"{len(line)} bytes: at most {MAX_LINE_BYTES}")
    closing = CLOSING.search(line, max(len(line) - 64, 0))
    if closing is not None and int(closing[1], 16) != zlib.crc32(line[: closing.start()]):
        raise Bad("damaged", f"crc32 is {zlib.crc32(line[: closing.start()]):08x}, not {closing[1].decode()}")
    try:
        fields = _DECODER.decode(line.decode())
    except _NotANumber as error:
        raise Bad("not-a-number", f"{error} in the message") from None
    except (ValueError, RecursionError) as error:
        raise Bad("malformed", _short(str(error))) from None
    if not isinstance(fields, dict):
        raise Bad("malformed", "not an object")
    if closing is not None:
        del fields["crc32"]
    return _checked(fields)


def arrival_in(line: bytes, sender: str | None = None) -> Update | Bad:
    """The update in a line, or what is wrong with it. sender: the device that the connection belongs to, where it may speak for nobody else."""
    try:
        update = parse(line)
    except Bad as bad:
        owner = OWNER.search(line[:MAX_LINE_BYTES])
        bad.device = bad.device or (owner[1].decode() if owner else sender)
        return bad
    if sender is not None and update.device != sender:
        return Bad("malformed", f"of {update.device}, sent by {sender}", update.device)
    return update


def _checked(fields: dict[str, Any]) -> Update:
    if fields.keys() != _FIELDS:
        _say_fields(fields)
    device, boot_id, seq, time_s, state = (fields[name] for name in Update._fields)
    if type(device) is not str or not NAME.fullmatch(device):
        raise Bad("malformed", f"device = {_short(json.dumps(device))}: letters, digits, _ and -, at most 128")
    for name, value in (("boot_id", boot_id), ("seq", seq)):
        if type(value) is not int or not 1 <= value <= MAX_INTEGER:
            raise Bad("malformed", f"{name} = {_short(json.dumps(value))}: a whole number from 1 to 2^63 - 1", device)
    if type(time_s) not in (int, float):
        raise Bad("malformed", f"time_s = {_short(json.dumps(time_s))}: seconds since 1970", device, boot_id, seq)
    if not _finite(time_s):
        raise Bad("not-a-number", "time_s is not finite", device, boot_id, seq)
    if type(state) is not dict or not state:
        raise Bad("malformed", "state: an object with at least one property", device, boot_id, seq)
    return Update(device, boot_id, seq, float(time_s), state)


_FIELDS = set(Update._fields)


def _say_fields(fields: Mapping[str, Any]) -> None:
    if "crc32" in fields:
        raise Bad("malformed", "crc32: 8 small hexadecimal digits, the last field, nothing after it but the bracket")
    wrong = [f"{name} is missing" for name in Update._fields if name not in fields]
    wrong += [f"{_short(json.dumps(name))} is no field of an update" for name in fields if name not in _FIELDS]
    device = fields.get("device")
    raise Bad("malformed", "; ".join(wrong[:5]), device if isinstance(device, str) and NAME.fullmatch(device) else None)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _short(text: str, length: int = 120) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def lines_in(body: bytes) -> list[bytes]:
    """The lines of a body or a frame that are not blank. Raises TooMany beyond `MAX_LINES`."""
    count = body.count(b"\n")
    if count > MAX_LINES:
        raise TooMany(f"{count} lines: at most {MAX_LINES}; send several")
    return [line for line in body.split(b"\n") if line.strip()]


def line_of(update: Update) -> bytes:
    """An update as a line with its crc32, as a device sends it."""
    body = json.dumps(update._asdict(), separators=(",", ":"), allow_nan=False)[:-1].encode()
    return body + b',"crc32":"%08x"}' % zlib.crc32(body)


def arrived_damaged(status: str, seq: int | None) -> bool:
    """Whether an acknowledgement says that a line did not arrive as it was written: its bytes changed, or nobody could tell whose it was.

    A device that writes whole lines sends it again, a few times at most.
    """
    return status == "damaged" or status == "quarantined" and seq is None


def ack_fields(ack: Ack) -> dict[str, Any]:
    """An acknowledgement as plain data, without what it does not tell."""
    return {name: value for name, value in zip(Ack._fields, ack, strict=True) if value is not None}
