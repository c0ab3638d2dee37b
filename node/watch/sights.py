"""What each channel of a family can see, and in how many studies: said before anything happens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from node.watch import family, kinds, power
from node.watch.channels import Category, Channel, Concordance, Event, Labelled, Number, Probability, Vector, rate_of
from node.watch.course import Course
from node.watch.normal import Normal
from node.watch.power import Sight

HORIZON = 90.0  # days: what takes longer is called blind
_SHIFTS = (0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # standard deviations
_LONGEST = 2000  # studies that are simulated
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True)
class Seen:
    """One channel as people see it. `part_of_threshold`: its evidence by the threshold, 1 is an alarm; `sees`: the
    smallest shift that it finds within 90 days; `studies`, `days`: in how many; None: not told for its kind."""

    channel: str
    group: int
    kind: str
    level: str
    part_of_threshold: float
    sees: str
    studies: float | None
    days: float | None


def of_family(normal: Normal, course: Course, simulated: Mapping[str, Any]) -> list[Seen]:
    """Every channel, in the order of the table of channels. `simulated`: what `of_vectors` gave when the baseline was
    built."""
    found = []
    for part, watched in normal.parts.items():
        state = course.parts[part]
        standing = family.standing(watched, state)
        for index, channel in enumerate(watched.channels):
            h = watched.threshold / float(watched.shares[index])
            sees, sight = smallest(channel, h, normal)
            if channel.name in simulated:
                sees, sight = from_plain(simulated[channel.name])
            found.append(Seen(
                channel.name, 9 if part == kinds.SERVICE else kinds.group_of(channel.name), kinds.kind_of(channel),
                state.levels[index], float(standing[index]) / watched.threshold, sees,
                sight.studies if sight else None, sight.days if sight else None,
            ))  # fmt: skip
    return sorted(found, key=lambda one: (one.group, one.channel))


def of_vectors(normal: Normal) -> dict[str, Any]:
    """Of the channels that learn where to look: the smallest shift that each finds within 90 days and 2,000 studies,
    as plain data. Simulated, which takes a second: when a baseline is built."""
    found: dict[str, Any] = {}
    for watched in normal.parts.values():
        for index, channel in enumerate(watched.channels):
            if not isinstance(channel, Vector):
                continue
            h, within = watched.threshold / float(watched.shares[index]), int(min(HORIZON * normal.per_day, _LONGEST))
            found[channel.name] = {"blind": _SHIFTS[-1], "within": within}
            for shift in _SHIFTS[2:]:
                studies = power.learnt(channel.normal, shift, h, within)
                if math.isfinite(studies):
                    found[channel.name] = {"shift": shift, "studies": studies, "days": studies / normal.per_day}
                    break
    return found


def from_plain(found: Mapping[str, Any]) -> tuple[str, Sight | None]:
    """What `of_vectors` found of one channel, in words, and its number."""
    if "blind" in found:
        return f"blind within {found['within']:,} studies, even to a shift of {found['blind']:g} sd", None
    return f"a shift of {found['shift']:g} sd, of all studies", Sight(found["studies"], "", found["days"])


def smallest(channel: Channel, h: float, normal: Normal) -> tuple[str, Sight | None]:
    """The smallest shift that the channel finds within 90 days, in words; `h`: its own threshold."""
    rate = rate_of(channel) * normal.per_day  # observations a day
    if rate <= 0:
        return "nothing: it is never observed", None
    see: Callable[[float], Sight]
    if isinstance(channel, Number):
        missing = 1 - len(normal.baseline.known(channel.name)) / len(normal.baseline.days)
        gone = np.zeros(len(channel.bets.table))
        gone[-1] = missing  # the last row is for a missing value

        def see(shift: float) -> Sight:
            return power.sight(channel.bets, power.moved(channel.bets, shift) * (1 - missing) + gone, h, rate)

        return _told(see, normal, _SHIFTS, "a shift of {:g} sd", rate)
    if isinstance(channel, Category):
        counts = _counts(channel, normal)

        def see(share: float) -> Sight:
            return power.sight(channel.bets, np.append(counts * (1 - share), share), h, rate)

        return _told(see, normal, _SHARES, "a new one in {:.0%} of studies", rate)
    if isinstance(channel, Event):
        usual = _usual(channel, normal)
        factors = [one for one in _FACTORS if usual * one <= 0.95] if usual > 0 else list(_SHARES)

        def see(factor: float) -> Sight:
            return power.sight(
                channel.bets, power.happened(usual * factor if usual > 0 else factor), h * rate_of(channel), rate
            )

        if usual > 0.5:
            factors = list(_FACTORS)

            def see(factor: float) -> Sight:
                return power.sight(channel.bets, power.happened(usual / factor), h * rate_of(channel), rate)

            return _told(see, normal, tuple(factors), "{:g} times rarer", rate)
        words = "{:g} times as often" if usual > 0 else "from never to {:.0%}"
        return _told(see, normal, tuple(factors), words, rate)
    if isinstance(channel, Probability):
        p = np.array(normal.baseline.known(_feature(channel.name)), dtype=float)
        mean, e = float(p.mean()), channel.share.many(p)

        def see(factor: float) -> Sight:
            new = min(mean * factor, 0.95)
            weight = p * new / mean + (1 - p) * (1 - new) / (1 - mean)
            return _best(np.log(e), weight / weight.sum(), channel.share.weights, h, rate)

        return _told(see, normal, _FACTORS[1:], "{:g} times the finding", rate)
    if isinstance(channel, Labelled):
        stored = kinds.stored_of(channel.name, normal.baseline)
        p = np.clip(np.array(normal.baseline.known(stored or ""), dtype=float), 1e-4, 1 - 1e-4)
        yes, no = (
            np.log(channel.calibration.many(p, np.ones(len(p)))),
            np.log(channel.calibration.many(p, np.zeros(len(p)))),
        )

        def see(factor: float) -> Sight:
            q = p * factor / (1 - p + p * factor)
            both = np.concatenate([yes, no])
            return _best(both, np.concatenate([q, 1 - q]) / len(p), channel.calibration.weights, h * channel.rate, rate)

        return _told(see, normal, _FACTORS, "odds off by {:g} times", rate)
    if isinstance(channel, Concordance):
        shares = _said(channel, normal)

        def see(factor: float) -> Sight:
            false, missed = min(0.95, shares[1] * factor), min(0.95, shares[2] * factor)
            positive = shares[0]
            symbols = np.array([(1 - positive) * (1 - false), (1 - positive) * false,
                                positive * (1 - missed), positive * missed])  # fmt: skip
            return power.sight(channel.bets, symbols, h * channel.rate, rate)

        return _told(see, normal, _FACTORS, "{:g} times the disagreement", rate)
    return "told when a baseline is built", None


def _told(
    see: Callable[[float], Sight], normal: Normal, candidates: tuple[float, ...], words: str, rate: float
) -> tuple[str, Sight | None]:
    found = power.smallest(see, HORIZON * rate, candidates)
    if found is None:
        worst = words.format(candidates[-1]) if candidates else "any change"
        return f"blind within {HORIZON:g} days, even to {worst}", None
    return words.format(found[0]), found[1]


def _best(logs: Any, shares: Any, weights: Any, h: float, rate: float) -> Sight:
    growth = shares @ logs
    studies = [power.delay(h / weight, float(k)) for weight, k in zip(weights, growth, strict=True)]
    best = int(np.argmin(studies))
    return Sight(studies[best], "", studies[best] / rate)


def _feature(channel: str) -> str:
    base = channel.partition("@")[0]
    return f"{base.removesuffix('.prevalence')}.p" if base.endswith(".prevalence") else base


def _counts(channel: Category, normal: Normal) -> Any:
    counts = np.zeros(len(channel.codes))
    for value in normal.baseline.columns[channel.name]:
        counts[channel.symbol(value, 0.0)] += 1
    return counts / counts.sum()


def _usual(channel: Event, normal: Normal) -> float:
    name, _, group = channel.name.partition("@")
    by, _, wanted = group.partition("=")
    columns = normal.baseline.columns
    rows = range(len(normal.baseline.days))
    values = [columns[name][row] for row in rows
              if columns[name][row] is not None and (not group or str(columns[by][row]) == wanted)]  # fmt: skip
    return sum(map(bool, values)) / len(values)


def _said(channel: Concordance, normal: Normal) -> tuple[float, float, float]:
    """(share reported positive, false among the others, missed among the positive)."""
    pairs = [(bool(one), bool(other)) for one, other in normal.baseline.known(channel.name)]
    positive = sum(y for _, y in pairs)
    false, missed = pairs.count((True, False)), pairs.count((False, True))
    return positive / len(pairs), false / max(len(pairs) - positive, 1), missed / max(positive, 1)


def within(studies: float | None) -> str:
    """A number of studies as people read it."""
    return "" if studies is None or math.isinf(studies) else f"{max(1, round(studies)):,}"
