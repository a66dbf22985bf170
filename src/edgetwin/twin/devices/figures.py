"""What an emulated fleet counts: messages by what became of them, and how long they took to be acknowledged."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

RESOLUTION = 1.02
"""Latencies are kept to 2 %, in as much memory however long a run is."""
SHORTEST_S = 1e-5


class Latencies:
    """A histogram of times whose buckets grow by `RESOLUTION`."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, time_s: float, count: int = 1) -> None:
        """Counts a time, s."""
        self._buckets[round(math.log(max(time_s, SHORTEST_S)) / math.log(RESOLUTION))] += count

    def quantile_ms(self, share: float) -> float | None:
        """The time, ms, that this share of all stays at or below; None of none."""
        wanted, seen = share * self._buckets.total(), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return 1e3 * RESOLUTION**bucket
        return None


class Figures:
    """The counts of a run. `acked` is by status, first answers and answers to what was sent again alike; `reasons` is why in quarantine."""

    def __init__(self) -> None:
        self.made = self.transmitted = self.settled = self.given_up = self.lost_by_reboot = self.connections_lost = 0
        self.acked: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.latencies = Latencies()
        self.stalled_s = 0.0

    def count(self, ack: Mapping[str, Any]) -> None:
        """Counts an acknowledgement."""
        self.acked[ack["status"]] += 1
        if ack["status"] == "quarantined":
            self.reasons[ack.get("reason") or "unknown"] += 1

    def settle(self, latency_s: float) -> None:
        """Counts a message that is done with, so long after it was made."""
        self.settled += 1
        self.latencies.add(latency_s)

    @property
    def unsettled(self) -> int:
        """Messages made of which nothing final is known."""
        return self.made - self.settled - self.given_up - self.lost_by_reboot

    def summary(self, elapsed_s: float) -> dict[str, Any]:
        """All figures as plain data. elapsed_s: how long the run was."""
        p50_ms, p99_ms = (self.latencies.quantile_ms(share) for share in (0.5, 0.99))
        return {
            "elapsed_s": round(elapsed_s, 3),
            "made": self.made,
            "transmitted": self.transmitted,
            "settled": self.settled,
            "unsettled": self.unsettled,
            "given_up": self.given_up,
            "lost_by_reboot": self.lost_by_reboot,
            "acked": dict(sorted(self.acked.items())),
            "reasons": dict(sorted(self.reasons.items())),
            "connections_lost": self.connections_lost,
            "stalled_s": round(self.stalled_s, 3),
            "settled_per_s": round(self.settled / max(elapsed_s, 1e-9), 1),
            "latency_ms": {"p50": p50_ms and round(p50_ms, 2), "p99": p99_ms and round(p99_ms, 2)},
        }
