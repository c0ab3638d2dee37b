"""Steps of the system's clock: somebody, or a time server, sets it forwards or backwards while the node runs.

Times in rows are those of the clock on the wall. What is still to come (when a job is due, how long a lease holds,
since when a study is quiet) goes along with a step, so that nothing waits for an hour that came twice, and nothing is
over because an hour was left out. Within one process, durations are taken from a clock that nobody sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SMALLEST = 1.0  # seconds; less is no harm, and may be our own delay between two looks at two clocks


def steady() -> float:
    """Seconds on a clock that nobody sets; the system's sleep counts where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Steps:
    """Compares the clock on the wall with the steady one."""

    def __init__(self, wall: Callable[[], float] = time.time, even: Callable[[], float] = steady) -> None:
        self._wall = wall
        self._even = even
        self._apart = self._difference()

    def look(self) -> float:
        """By how many seconds the clock was set since the last look (backwards: negative); 0 for none."""
        apart = self._difference()
        step = apart - self._apart
        if abs(step) < SMALLEST:
            return 0.0
        self._apart = apart
        return step

    def _difference(self) -> float:
        while True:
            before = self._even()
            wall = self._wall()
            if self._even() - before < SMALLEST / 2:  # else this process was held up between the two
                return wall - before
