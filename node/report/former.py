"""The part of the report that holds a month against the one before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from node import concordance
from node.concordance import Held
from node.rates import Rate, Z, apart, rate
from node.report.document import Block, Section, Table, Text, quantile, seconds
from node.report.month import Month
from node.report.results import named, positive
from node.report.small import FEW, lacking

_COLUMNS = ("", "Month before", "This month", "Difference (95 % interval)", "Beyond chance")


@dataclass(frozen=True)
class Compared:
    """One line. `beyond`: whether the difference is larger than chance makes likely; None: it has no interval."""

    what: str
    old: str
    new: str
    difference: str
    beyond: bool | None = None

    @property
    def row(self) -> tuple[str, ...]:
        """As a row under _COLUMNS."""
        return self.what, self.old, self.new, self.difference, "yes" if self.beyond else ""


def compared(old: Month, new: Month, now: float) -> Section:
    """Volumes, turnaround, failures, scores, positive rates, agreement. `now`: up to when `new` counts, if not over."""
    title = f"Compared with {old.period.name}"
    if not old.studies and not old.jobs:
        nothing = f"Nothing was received or run in {old.period.name}: there is nothing to compare."
        return Section(title, (Text(nothing),))
    service = [*_volumes(old, new, now), *_shares(old, new), *_turnaround(old, new)]
    models = {title: lines for title, lines in _models(old, new) if lines}
    blocks: list[Block] = [Text(_alone(old, new)), Text(_verdict([*service, *chain(*models.values())]))]
    for of, lines in {"The service": service, **models}.items():
        blocks.append(Table(of, _COLUMNS, tuple(one.row for one in lines)))
    blocks.append(Text(
        f"What is of fewer than {FEW} studies in either month is left out. A difference whose interval holds 0 is one "
        "that chance makes between equal months; the fewer studies, the wider the interval, and the larger a change "
        "that it hides. Gap: how far the two distributions of a probability lie apart at most, as a share of studies, "
        "and up to where chance alone brings it in 95 of 100 pairs of equal months.", True))  # fmt: skip
    return Section(title, tuple(one for one in blocks if not isinstance(one, Text) or one.text))


def _verdict(lines: Sequence[Compared]) -> str:
    tested = [one for one in lines if one.beyond is not None]
    beyond = sum(bool(one.beyond) for one in tested)
    return "" if not tested else (
        f"{beyond} of {len(tested)} differences are larger than chance makes likely. Between equal months about one in "
        f"twenty would be, here {len(tested) / 20:.1f}.")  # fmt: skip


def _alone(old: Month, new: Month) -> str:
    names = named((*old.said, *new.said))
    before, after = ({names[one.pipeline, one.model] for one in month.said} for month in (old, new))
    told = [f"{word} only: {', '.join(sorted(names))}." for word, names in (
        (f"In {old.period.name}", before - after), (f"In {new.period.name}", after - before)) if names]  # fmt: skip
    return " ".join(told)


def _volumes(old: Month, new: Month, now: float) -> Iterator[Compared]:
    """Counts by day, since months and parts of months have different lengths. They are all that came: no interval."""
    days = [old.period.days, (min(now, new.period.end) - new.period.start) / 86400]
    for what, counts in (
        ("Studies received", (len(old.studies), len(new.studies))),
        ("Jobs done", [sum(job.state == "done" for job in month.jobs) for month in (old, new)]),
    ):
        a, b = (f"{count:,} ({count / many:.1f} a day)" for count, many in zip(counts, days, strict=True))
        change = (counts[1] / days[1]) / (counts[0] / days[0]) - 1 if counts[0] else None
        yield Compared(what, a, b, "–" if change is None else f"{100 * change:+.0f} % a day")
    opened = [sum(one["opened_at"] >= month.period.start for one in month.alarms) for month in (old, new)]
    yield Compared("Alarms of monitoring opened", f"{opened[0]:,}", f"{opened[1]:,}", f"{opened[1] - opened[0]:+,}")


def _shares(old: Month, new: Month) -> Iterator[Compared]:
    def jobs(month: Month, state: str) -> Rate:
        ended = [job.state for job in month.jobs if job.state in ("done", "skipped", "failed")]
        return rate(ended.count(state), len(ended))

    def lost(month: Month) -> Rate:
        ended = [one.state for one in month.deliveries if one.state in ("delivered", "committed", "failed")]
        return rate(ended.count("failed"), len(ended))

    yield from _rates("Jobs failed", jobs(old, "failed"), jobs(new, "failed"))
    yield from _rates("Jobs skipped", jobs(old, "skipped"), jobs(new, "skipped"))
    yield from _rates("Deliveries given up", lost(old), lost(new))
    taken = [[one for each in month.said for one in each.accepted] for month in (old, new)]
    yield from _rates("Results accepted as they were", *(rate(sum(one), len(one)) for one in taken))


def _turnaround(old: Month, new: Month) -> Iterator[Compared]:
    took = [month.delivered_after for month in (old, new)]
    for what, q in (("First instance to delivered, median", 0.5), ("First instance to delivered, 90 %", 0.9)):
        a, b = (quantile(one, q) if len(one) >= FEW else None for one in took)
        if a is not None and b is not None:
            sign = "+" if b >= a else "-"
            yield Compared(what, seconds(a), seconds(b), f"{sign}{seconds(abs(b - a))}")


def _models(old: Month, new: Month) -> Iterator[tuple[str, list[Compared]]]:
    """A finding of a model that ran in both months, by name, and its lines."""
    before = {(one.pipeline, one.model): one for one in old.said}
    names = named((*old.said, *new.said))
    for one in new.said:
        former = before.get((one.pipeline, one.model))
        for finding, rows in one.held.items() if former else ():
            once = former.held.get(finding, ()) if former else ()
            if min(len(once), len(rows)) >= FEW:
                yield f"{finding} ({names[one.pipeline, one.model]})", [
                    *_rates("Positive", positive(once), positive(rows)),
                    *_probabilities(*([row.p for row in some if row.p is not None] for some in (once, rows))),
                    *_agreement(once, rows),
                ]  # fmt: skip


def _agreement(old: Sequence[Held], new: Sequence[Held]) -> Iterator[Compared]:
    a, b = concordance.decided(old), concordance.decided(new)
    if any(lacking(one.sensitivity.of, one.specificity.of) for one in (a, b)):
        return
    yield from _rates("Sensitivity", a.sensitivity, b.sensitivity)
    yield from _rates("Specificity", a.specificity, b.specificity)
    yield from _rates("Positive predictive value", a.predictive_value, b.predictive_value)


def _rates(what: str, old: Rate, new: Rate) -> Iterator[Compared]:
    difference = apart(old, new)
    if difference is None or min(old.of, new.of) < FEW:
        return
    value, low, high = (100 * one for one in difference)
    yield Compared(what, _percent(old), _percent(new), f"{value:+.1f} points ({low:+.1f} to {high:+.1f})",
                   not low <= 0 <= high)  # fmt: skip


def _percent(one: Rate) -> str:
    return f"{100 * (one.value or 0.0):.1f} % of {one.of:,}"


def _probabilities(old: Sequence[float], new: Sequence[float]) -> Iterator[Compared]:
    """Means, with the interval of Welch (Biometrika 1947;34:28) in its form for large samples, and the largest gap of
    the distributions (Smirnov 1948)."""
    if min(len(old), len(new)) < FEW:
        return
    (a, wide), (b, other) = _mean(old), _mean(new)
    half = Z * math.hypot(wide, other)
    yield Compared("Mean probability", f"{a:.3f}", f"{b:.3f}",
                   f"{b - a:+.3f} ({b - a - half:+.3f} to {b - a + half:+.3f})", abs(b - a) > half)  # fmt: skip
    found, chance = gap(old, new), 1.358 * math.sqrt((len(old) + len(new)) / (len(old) * len(new)))
    yield Compared("Gap of the distributions", "", "", f"{100 * found:.1f} % (by chance up to "
                   f"{100 * chance:.1f})", found > chance)  # fmt: skip


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, of two values or more."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1) / len(values))


def gap(old: Sequence[float], new: Sequence[float]) -> float:
    """The largest difference, at any value, of the shares of both that lie at or below it (Smirnov)."""
    a, b = sorted(old), sorted(new)
    at = here = 0
    largest = 0.0
    for value in sorted({*a, *b}):
        while at < len(a) and a[at] <= value:
            at += 1
        while here < len(b) and b[here] <= value:
            here += 1
        largest = max(largest, abs(at / len(a) - here / len(b)))
    return largest
