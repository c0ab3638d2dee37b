"""Numbers that can be drawn again, which break ties of ranks; and what counts as missing."""

from __future__ import annotations

import math

_MASK = (1 << 64) - 1


def draw(seed: int, count: int) -> float:
    """A number in [0, 1) for the `count`-th observation: splitmix64, so that a replay draws the same. Of its bits the
    upper 32, so that a rank in the largest baseline and this stays below the next rank."""
    word = (seed + (count + 1) * 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((word ^ (word >> 31)) >> 32) / (1 << 32)


def is_missing(value: object) -> bool:
    """Whether there is no value: None, or a number that is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))
