"""When to try again: exponential backoff with full jitter."""

from __future__ import annotations

import random


def backoff(attempt: int, first: float = 5.0, longest: float = 900.0) -> float:
    """Seconds to wait before the next attempt, `attempt` counting from 1.

    Full jitter between half and the whole of `first * 2**(attempt - 1)`, capped at `longest`: many rows that
    failed together do not come back together.
    """
    ceiling = min(longest, first * 2.0 ** max(0, attempt - 1))
    return ceiling * random.uniform(0.5, 1.0)
