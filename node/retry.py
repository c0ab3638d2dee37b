"""When to try again: exponential backoff with full jitter; and a write that waits until the database takes it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from node.errors import TryAgain

_T = TypeVar("_T")
_EVERY = 2.0  # seconds between two attempts to write


def backoff(attempt: int, first: float = 5.0, longest: float = 900.0) -> float:
    """Seconds to wait before the next attempt, `attempt` counting from 1.

    Full jitter between half and the whole of `first * 2**(attempt - 1)`, capped at `longest`: many rows that
    failed together do not come back together.
    """
    ceiling = min(longest, first * 2.0 ** max(0, attempt - 1))
    return ceiling * random.uniform(0.5, 1.0)


def until_taken(write: Callable[[], _T], stop: threading.Event, told: Callable[[TryAgain], None]) -> _T:
    """What `write` gives, once the database takes it: what was done already must not be done again only because it
    could not be written down. `told` is called once when it waits. Raises TryAgain when `stop` is set meanwhile."""
    waits = False
    while True:
        try:
            return write()
        except TryAgain as away:
            if stop.is_set():
                raise
            if not waits:
                told(away)
                waits = True
            stop.wait(_EVERY)
