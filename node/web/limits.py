"""How much one caller may ask for, and what is told of those who were turned away."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

WINDOW = 60.0  # seconds in which requests are counted
_REMEMBERED = 1024  # callers at a time; the one that was quiet longest is forgotten
_TOLD = 30  # kinds of refusals that are told of at once; the rest is one number


class Rate:
    """At most `most` in a minute for each key: a bucket that fills evenly, so that a burst is followed by a pause."""

    def __init__(self, most: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._timer = timer
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was
        self._lock = threading.Lock()

    def left(self, key: str, cost: int = 1) -> bool:
        """Whether `key` has that much left; takes it when it has."""
        now = self._timer()
        with self._lock:
            level, at = self._buckets.pop(key, (float(self._most), now))
            level = min(float(self._most), level + (now - at) * self._most / WINDOW)
            enough = level >= max(cost, 1)
            self._buckets[key] = (level - cost if enough else level, now)
            while len(self._buckets) > _REMEMBERED:
                self._buckets.popitem(last=False)
        return enough


@dataclass(frozen=True)
class Refusal:
    """Requests of one address that were turned away for the same reason."""

    address: str
    path: str
    why: str
    count: int


class Refusals:
    """Counts who was turned away until somebody tells it: equal ones are one line with a count."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}
        self._others = 0
        self._lock = threading.Lock()

    def add(self, address: str, path: str, why: str) -> None:
        """One more. `path` and `why` are ours, never what the caller wrote."""
        key = (address, path, why)
        with self._lock:
            if key in self._counts or len(self._counts) < _TOLD:
                self._counts[key] = self._counts.get(key, 0) + 1
            else:
                self._others += 1

    def take(self) -> list[Refusal]:
        """What was counted since the last time."""
        with self._lock:
            counts, others = self._counts, self._others
            self._counts, self._others = {}, 0
        told = [Refusal(*key, count) for key, count in counts.items()]
        return told + ([Refusal("many", "", "beyond the number that is told of one by one", others)] if others else [])

    def give_back(self, told: list[Refusal]) -> None:
        """They could not be told yet."""
        with self._lock:
            for one in told:
                key = (one.address, one.path, one.why)
                self._counts[key] = self._counts.get(key, 0) + one.count
