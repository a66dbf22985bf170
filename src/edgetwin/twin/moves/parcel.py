"""What a move carries from store to store: the twin's record with its model's memory, what its log begins with, and the log; and their hash.

The hash does not depend on the order of entries and is added to as they come, so that a twin is not hashed as a whole while it is frozen.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from edgetwin.twin.record import Entry, State, Twin

MODULUS = 2**256
_in_one_way = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Base(NamedTuple):
    """What a log begins with: the revision and the state that older entries were folded into."""

    revision: int = 0
    state: State = {}


class Tail(NamedTuple):
    """What came since the last part: new entries, in any order, and the record as it is after them."""

    twin: Twin
    entries: list[Entry]


class Parcel(NamedTuple):
    """A twin as a whole, as of some moment."""

    twin: Twin
    base: Base
    entries: list[Entry]


def canonical(value: Any) -> bytes:
    """A value as JSON in one way only: names in order, no blanks, ASCII."""
    return _in_one_way(value).encode()


def sum_of(entries: Iterable[Entry]) -> int:
    """What entries add to a hash: the sum of their SHA-256 modulo 2^256."""
    return sum(int.from_bytes(hashlib.sha256(canonical(entry)).digest(), "big") for entry in entries) % MODULUS


def hash_of(twin: Twin, base: Base, entries_sum: int) -> str:
    """The canonical hash of a twin whose entries sum up to `entries_sum`. The epoch, which changes as it moves, is not in it."""
    whole = canonical([twin._replace(epoch=0), base]) + b"%064x" % (entries_sum % MODULUS)
    return hashlib.sha256(whole).hexdigest()
