"""What goes over the link between centre and host: messages, each a JSON head and bytes, cut into frames of a WebSocket.

    frame    0 or 1 (more of this message follows), then up to FRAME_BYTES of it
    message  4 bytes, the length of the head; the head; the body

A message is taken as a whole or not at all. Messages of one direction arrive in the order they were sent in. Heads:

    host      {"offer": …}; then {"twins": n}, their records as body, {"gone": [ids]}, {"listed": true} at the end of the first list,
              {"answer": id, "result": value, "parts": n} or {"answer": id, "error": [what, status, line]}; for messages with acks as body
    centre    {"welcome": …} or {"refused": line, "again": whether to come again soon}; {"joined": true} once the list was taken in;
              {"submit": id, "bad": …} with lines as body, {"call": name, "id": id, "with": arguments, "parts": n}, {"drop": id}
    both      {"part": id}: entries that belong to the call or the answer of that number, which comes once all its parts have; {"beat": …}

Another `PROTOCOL` is refused by either side before anything else of an offer or a welcome is looked at. Of an offer, a welcome and a beat,
fields that are not known are ignored; everywhere else what is not known is an error: a call is answered by Refused, anything else ends the link.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgetwin.twin.moves.endpoint import Away
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Full, Refused

PROTOCOL = 1
FRAME_BYTES = 1_000_000
MESSAGE_BYTES = 128 * 2**20
"""The longest message that is taken. Logs are longer and go in parts."""
PART_BYTES = 256_000
GROUP = 100
"""Entries that are written as one line, and bytes of lines from which on a part is sent."""

Head = Mapping[str, Any]


class Garbled(Exception):
    """What came over the link is not of its protocol."""


def frames(head: Head, body: bytes = b"") -> Iterator[bytes]:
    """A message as frames."""
    written = dumped(head)
    whole = len(written).to_bytes(4, "big") + written + body
    for begin in range(0, len(whole), FRAME_BYTES):
        more = begin + FRAME_BYTES < len(whole)
        yield bytes([more]) + whole[begin : begin + FRAME_BYTES]


class Assembly:
    """Puts frames together again."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0

    def add(self, frame: bytes) -> tuple[dict[str, Any], bytes] | None:
        """The message that a frame completes, None where more follows. Raises Garbled."""
        if not isinstance(frame, bytes) or not frame or frame[0] > 1:
            raise Garbled("a frame that is none")
        self._kept.append(frame[1:])
        self._size += len(frame) - 1
        if self._size > MESSAGE_BYTES:
            raise Garbled(f"a message of more than {MESSAGE_BYTES} bytes")
        if frame[0]:
            return None
        whole, self._kept, self._size = b"".join(self._kept), [], 0
        end = 4 + int.from_bytes(whole[:4], "big")
        head = read(whole[4:end])
        if not isinstance(head, dict) or end > len(whole):
            raise Garbled("a message without a head")
        return head, whole[end:]


def dumped(value: Any) -> bytes:
    """A value as JSON in ASCII, on one line."""
    return json.dumps(value, separators=(",", ":")).encode()


def read(text: bytes) -> Any:
    """The value in JSON. Raises Garbled."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"no JSON ({error})") from None


def parts(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Entries as bodies of about `PART_BYTES`, which are made one by one as they are asked for, so that a long log never stands as one text."""
    there = entries if isinstance(entries, list) else list(entries)
    lines: list[bytes] = []
    for begin in range(0, len(there), GROUP):
        lines.append(dumped(there[begin : begin + GROUP]))
        if sum(map(len, lines)) >= PART_BYTES:
            yield b"\n".join(lines)
            lines.clear()
    if lines:
        yield b"\n".join(lines)


def entries_in(body: bytes) -> list[Entry]:
    """The entries in a body. Raises Garbled."""
    rows = [row for line in body.split(b"\n") if line for row in read(line)]
    try:
        return [Entry._make(row) for row in rows]
    except TypeError as error:
        raise Garbled(f"no entries ({error})") from None


def twins_in(rows: Any) -> list[Twin]:
    """Twins from their rows. Raises Garbled."""
    try:
        return [Twin(*row) for row in rows]
    except TypeError as error:
        raise Garbled(f"no twins ({error})") from None


def error_fields(error: BaseException) -> list[Any]:
    """An error as the link carries it: what it is, the status of HTTP where it has one, and its line."""
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Refused):
        return ["refused", error.status, line]
    if isinstance(error, Full):
        return ["full", None, line]
    if isinstance(error, Away):
        return ["away", None, line]
    return ["failed", None, f"{type(error).__name__}: {line}"]


def error_of(fields: Any) -> Exception:
    """The error that the other side met. One that has no name here is Away: what was asked may have been done or not."""
    what, status, line = fields
    if what == "refused":
        return Refused(int(status), str(line))
    return (Full if what == "full" else Away)(str(line))
