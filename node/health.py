"""How a peer fares, as who sends to it sees it: while it is away, what is for it waits and loses no attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from node import retry
from node.sections import Send

LONGEST_PAUSE = 60.0  # seconds between two looks whether a peer is back
MOST = 500  # deliveries that are remembered to have broken
SEVERAL = 3  # deliveries in a row that break without one that is stored: it is the peer, not one of them


class Health:
    """Of one peer. It is away when it takes no association, or when several deliveries in a row break or find it out of
    resources; then there is a growing pause between two attempts to reach it, whatever waits."""

    def __init__(self, settings: Send, timer: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._timer = timer
        self._broken: set[int] = set()
        self._times = 0
        self._until = self._since = 0.0
        self.unreachable = False  # it took no association when it was last tried

    def left(self) -> float:
        """Seconds until it should be tried again; 0 or less: now."""
        return self._until - self._timer()

    def away(self, unreachable: bool) -> bool:
        """It took no association (`unreachable`), or did no better. True when it was not away before."""
        self.unreachable = unreachable
        self._times += 1
        if self._times == 1:
            self._since = self._timer()
        longest = min(LONGEST_PAUSE, self._settings.longest_wait)
        self._until = self._timer() + retry.backoff(self._times, self._settings.retry_after, longest)
        return self._times == 1

    @property
    def broken(self) -> Collection[int]:
        """The deliveries that broke since one was stored: all others are tried before them."""
        return self._broken

    def broke(self, delivery_id: int) -> bool:
        """A delivery did not come about. True when the peer must be at fault."""
        if len(self._broken) < MOST:
            self._broken.add(delivery_id)
        return len(self._broken) >= SEVERAL

    def well(self) -> float | None:
        """It did what was asked. The seconds that it was away; None when it was not."""
        self._broken.clear()
        self.unreachable = False
        times, self._times = self._times, 0
        return self._timer() - self._since if times else None
