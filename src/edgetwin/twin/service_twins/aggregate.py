"""Members of a service twin and what they come to: counts, and exact means and extremes of their numbers, kept current change by change.

What is kept after any sequence of changes equals what would be found from the members anew, to the last bit: sums are whole multiples of the
least float, and extremes are the tops of heaps from which what is no more falls when it comes to the top.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

FINEST = 1074
"""Every float is a whole multiple of 2^-1074."""


class Member(NamedTuple):
    """What a device twin adds: its kind, when it was measured, whether it is predicted, and its numbers in the aggregate's order, None if untold."""

    kind: str
    measured_s: float
    predicted: bool
    numbers: tuple[float | None, ...]


@dataclass(frozen=True)
class Tally:
    """Of one number over the members that tell it; None where none does."""

    count: int
    mean: float | None
    least: float | None
    greatest: float | None


@dataclass(frozen=True)
class Summary:
    """What the members come to. predicted: how many of `count` are carried by a forecast. entered - left = count."""

    revision: int
    count: int
    by_kind: dict[str, int]
    predicted: int
    oldest_age_s: float | None
    entered: int
    left: int
    tallies: tuple[Tally, ...]


class Least:
    """The least of values that come, change and go, each under its key."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._waiting: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def put(self, key: str, value: float) -> None:
        """Sets the value of a key."""
        self._values[key] = value
        if key not in self._waiting or value < self._waiting[key]:
            self._waiting[key] = value
            heapq.heappush(self._heap, (value, key))
            if len(self._heap) > 64 + 4 * len(self._values):
                self._rebuild()

    def drop(self, key: str) -> None:
        """Takes a key away, if it is there."""
        self._values.pop(key, None)

    def top(self) -> tuple[float, str] | None:
        """The least value and its key, None where there is none."""
        while self._heap:
            waiting, key = self._heap[0]
            value = self._values.get(key)
            if value == waiting:
                return self._heap[0]
            if self._waiting.get(key) != waiting:
                heapq.heappop(self._heap)
            elif value is None:
                heapq.heappop(self._heap)
                del self._waiting[key]
            else:
                self._waiting[key] = value
                heapq.heapreplace(self._heap, (value, key))
        return None

    def _rebuild(self) -> None:
        self._waiting = dict(self._values)
        self._heap = [(value, key) for key, value in self._values.items()]
        heapq.heapify(self._heap)


class _Numbers:
    """One number over the members that tell it."""

    def __init__(self) -> None:
        self.count, self.sum = 0, 0
        self.least, self.most = Least(), Least()

    def put(self, key: str, before: float | None, after: float | None) -> None:
        if before is not None:
            self.count, self.sum = self.count - 1, self.sum - units(before)
        if after is None:
            self.least.drop(key)
            self.most.drop(key)
            return
        self.count, self.sum = self.count + 1, self.sum + units(after)
        self.least.put(key, after)
        self.most.put(key, -after)

    def tally(self) -> Tally:
        least, most = self.least.top(), self.most.top()
        if least is None or most is None:
            return Tally(0, None, None, None)
        return Tally(self.count, self.sum / (self.count << FINEST), least[0], -most[0])


class Aggregate:
    """Device twins that belong to a service twin, each with so many numbers, until they have not been measured for `stale_after_s`."""

    def __init__(self, numbers: int, stale_after_s: float):
        self.revision, self.entered, self.left = 0, 0, 0
        self._stale_after_s = stale_after_s
        self._members: dict[str, Member] = {}
        self._kinds: Counter[str] = Counter()
        self._predicted = 0
        self._measured = Least()
        self._numbers = [_Numbers() for _ in range(numbers)]

    def put(self, twin_id: str, member: Member, now_s: float) -> None:
        """Takes a member in, or takes over what is new of it; one that is too old does not belong."""
        self.expire(now_s)
        before = self._members.get(twin_id)
        if before == member:
            return
        if now_s - member.measured_s > self._stale_after_s:
            self.drop(twin_id)
            return
        self._members[twin_id] = member
        self._count(before, -1)
        self._count(member, 1)
        self._measured.put(twin_id, member.measured_s)
        self._put_numbers(twin_id, before.numbers if before else (None,) * len(self._numbers), member.numbers)
        self.entered += before is None
        self.revision += 1

    def drop(self, twin_id: str) -> None:
        """Lets a member go, if it is one."""
        before = self._members.pop(twin_id, None)
        if before is None:
            return
        self._count(before, -1)
        self._measured.drop(twin_id)
        self._put_numbers(twin_id, before.numbers, (None,) * len(self._numbers))
        self.left += 1
        self.revision += 1

    def expire(self, now_s: float) -> None:
        """Lets go of members that have become too old. now_s never goes back."""
        while (oldest := self._measured.top()) and now_s - oldest[0] > self._stale_after_s:
            self.drop(oldest[1])

    def summary(self, now_s: float) -> Summary:
        """What the members come to now."""
        self.expire(now_s)
        oldest = self._measured.top()
        return Summary(
            self.revision,
            len(self._members),
            {kind: number for kind, number in sorted(self._kinds.items()) if number},
            self._predicted,
            max(now_s - oldest[0], 0.0) if oldest else None,
            self.entered,
            self.left,
            tuple(numbers.tally() for numbers in self._numbers),
        )

    def _count(self, member: Member | None, sign: int) -> None:
        if member is not None:
            self._kinds[member.kind] += sign
            self._predicted += sign * member.predicted

    def _put_numbers(self, twin_id: str, before: Sequence[float | None], after: Sequence[float | None]) -> None:
        for numbers, was, now in zip(self._numbers, before, after, strict=True):
            if was != now:
                numbers.put(twin_id, was, now)


def units(value: float) -> int:
    """A finite number in units of 2^-1074, exactly."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (FINEST + 1 - denominator.bit_length())
