"""Where a number stands among those of the baseline: a rank u in (0, 1), ties broken by numbers that can be drawn
again."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

_MASK = (1 << 64) - 1


def draw(seed: int, count: int) -> float:
    """A number in [0, 1) for the `count`-th observation: splitmix64, so that a replay draws the same."""
    word = (seed + (count + 1) * 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((word ^ (word >> 31)) >> 11) / (1 << 53)


def rank(ordered: Sequence[float], value: float, tie: float) -> float:
    """u of `value` among the ascending values of a baseline; `tie` in [0, 1) chooses its place among equal ones.

    Exchangeable with the baseline's, the value has a rank that is exactly uniform, whatever its distribution.
    """
    below, size = bisect_left(ordered, value), len(ordered)
    if below < size and ordered[below] == value:
        equal = bisect_right(ordered, value, below) - below
        return (below + tie * (equal + 1)) / (size + 1)
    return (below + tie) / (size + 1)


def is_missing(value: object) -> bool:
    """Whether there is no value: None, or a number that is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))
