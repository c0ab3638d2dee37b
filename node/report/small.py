"""What is said of few studies: nothing. It would be chance, and might point at a person.

A report shows no group, rate or distribution of fewer than FEW studies, and leaves none to be had by subtraction:
groups of one kind add up to all studies, so a small one is put together with others until the sum is large enough. How
many studies of a large group were positive is no such group, and is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

FEW = 10  # studies
TOO_FEW = "too few"
_NAMED = 3  # groups of which the names are told

Row = TypeVar("Row")


def pooled(groups: Mapping[str, Sequence[Row]]) -> list[tuple[str, list[Row]]]:
    """Groups that part all studies, by name, the small ones put together with as many of the smallest others as it
    takes; none where that leaves nothing to be told apart."""
    if len(groups) < 2:
        return [(name, list(rows)) for name, rows in groups.items() if len(rows) >= FEW]
    order = sorted(groups, key=lambda name: (len(groups[name]), name))
    few = sum(len(groups[name]) < FEW for name in order)
    together = order[:few]
    while together and sum(len(groups[name]) for name in together) < FEW and len(together) < len(order):
        together = order[: len(together) + 1]
    if len(together) == len(order):
        return []
    told = [(name, list(groups[name])) for name in sorted(order[len(together) :])]
    if together:
        names = " or ".join(sorted(together)) if len(together) <= _NAMED else f"{len(together)} others together"
        told.append((names, [row for name in sorted(together) for row in groups[name]]))
    return told


def lacking(positive: int, negative: int) -> str | None:
    """Why nothing is said of how right a model was, where so many studies were reported positive and negative: any of
    its rates would give away the one that is of too few."""
    for count, kind in ((positive, "positive"), (negative, "negative")):
        if 0 < count < FEW:
            return f"< {FEW} {kind}"
    return None
