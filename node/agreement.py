"""How far two readers of the same studies, `old` and `new`, agree: on yes or no, and on numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node.rates import rate


@dataclass(frozen=True)
class Agreement:
    """Of studies that both read: how many each called positive, and how far they agree beyond chance."""

    both: int
    only_old: int
    only_new: int
    neither: int

    @property
    def n(self) -> int:
        """Studies."""
        return self.both + self.only_old + self.only_new + self.neither

    @property
    def share(self) -> float:
        """Of the studies, 0 to 1: those where both say the same."""
        return (self.both + self.neither) / self.n

    def _kappa(self, share: float) -> float | None:
        old, new = (self.both + self.only_old) / self.n, (self.both + self.only_new) / self.n
        by_chance = old * new + (1 - old) * (1 - new)
        return None if by_chance == 1 else (share - by_chance) / (1 - by_chance)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (Educ Psychol Meas 1960;20:37): 1 all agree, 0 as by chance; None where both readers always
        say the same one thing, of which chance alone would make as much."""
        return self._kappa(self.share)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of kappa, the positive rates taken as they are and Wilson's interval for the share of equal
        answers: it stays wide on few studies even where all of them agree."""
        equal = rate(self.both + self.neither, self.n)
        low, high = (None if end is None else self._kappa(end) for end in (equal.low, equal.high))
        return None if low is None or high is None else (max(-1.0, low), high)


def agreement(pairs: Sequence[tuple[bool, bool]]) -> Agreement | None:
    """Count pairs of answers (old, new); None without any."""
    if not pairs:
        return None
    counts = {(a, b): sum(pair == (a, b) for pair in pairs) for a in (True, False) for b in (True, False)}
    return Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


@dataclass(frozen=True)
class Difference:
    """Of new minus old, in the unit of the numbers: mean, its 95 % interval, and the limits of agreement, between which
    95 % of the differences are expected (Bland and Altman, Lancet 1986;1:307)."""

    n: int
    mean: float
    interval: tuple[float, float] | None  # None with a single study, as the next
    limits: tuple[float, float] | None


def difference(pairs: Sequence[tuple[float, float]]) -> Difference | None:
    """Compare pairs of numbers (old, new); None without any."""
    from scipy.special import stdtrit  # costs a tenth of a second, which only this command should pay

    if not pairs:
        return None
    values = [new - old for old, new in pairs]
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Difference(1, mean, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    return Difference(n, mean, (mean - half, mean + half), (mean - 1.96 * sd, mean + 1.96 * sd))
