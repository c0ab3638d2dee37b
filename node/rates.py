"""Shares of studies with their intervals: the one place where such an interval is made. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959964  # of 95 % intervals


@dataclass(frozen=True)
class Rate:
    """A share `count` / `of` with its 95 % interval; the three are None where there is nothing to count."""

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


def rate(count: int, of: int) -> Rate:
    """With the interval of Wilson (1927), which holds for small numbers and shares near 0 and 1. ValueError."""
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is no share")
    if of == 0:
        return Rate(0, 0, None, None, None)
    share, square = count / of, Z * Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    # At 0 and at `of` the limit is that share itself, which rounding misses by a hair.
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == of else min(1.0, middle + half)
    return Rate(count, of, share, low, high)


def apart(old: Rate, new: Rate) -> tuple[float, float, float] | None:
    """The difference new - old of two shares of different studies, with its 95 % limits (Newcombe, Statistics in
    Medicine 1998;17:873, method 10); None where one of them counts nothing."""
    if None in (old.value, old.low, old.high, new.value, new.low, new.high):
        return None
    p, low, high = (float(one or 0.0) for one in (old.value, old.low, old.high))
    q, under, over = (float(one or 0.0) for one in (new.value, new.low, new.high))
    return q - p, q - p - math.hypot(q - under, high - p), q - p + math.hypot(over - q, p - low)
