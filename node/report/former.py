"""The part of the report that holds a month against the one before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node import concordance
from node.concordance import Held
from node.rates import Rate, Z, apart, rate
from node.report.document import Block, Section, Table, Text, quantile, seconds
from node.report.month import Month
from node.report.results import enough, positive, said
from node.report.small import FEW, lacking

_COLUMNS = ("", "Month before", "This month", "Difference (95 % interval)")


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
        return self.what, self.old, self.new, self.difference


def compared(old: Month, new: Month, now: float) -> Section:
    """Volumes, turnaround, failures, scores, positive rates, agreement. `now`: up to when `new` counts, if not over."""
    title = f"Compared with {old.period.name}"
    if not old.studies and not old.jobs:
        nothing = f"Nothing was received or run in {old.period.name}: there is nothing to compare."
        return Section(title, (Text(nothing),))
    service = [*_volumes(old, new, now), *_shares(old, new), *_turnaround(old, new)]
    models = [*_models(old, new)]
    blocks: list[Block] = [Table("The service", _COLUMNS, tuple(one.row for one in service))]
    if models:
        blocks.append(Table("What the models said, and how it stands to labels", _COLUMNS,
                            tuple(one.row for one in models)))  # fmt: skip
    blocks += [Text(_alone(old, new)), Text(_verdict([*service, *models])), Text(
        f"What is of fewer than {FEW} studies in either month is left out. A difference whose interval holds 0 is one "
        "that chance makes between equal months; the fewer studies, the wider the interval, and the larger a change "
        "that it hides. Gap: how far the two distributions of a probability lie apart at most, as a share of studies, "
        "and up to where chance alone brings it in 95 of 100 pairs of equal months.", True)]  # fmt: skip
    return Section(title, tuple(one for one in blocks if not isinstance(one, Text) or one.text))


def _verdict(lines: Sequence[Compared]) -> str:
    tested = [one for one in lines if one.beyond is not None]
    beyond = [one.what for one in tested if one.beyond]
    if not tested:
        return ""
    told = f"{len(beyond)} of {len(tested)} differences with an interval are larger than chance makes likely"
    return (f"{told}{': ' + '; '.join(beyond) if beyond else ''}. Between equal months about one in twenty would be, "
            f"here {len(tested) / 20:.1f}.")  # fmt: skip


def _alone(old: Month, new: Month) -> str:
    before, after = ({f"{one.pipeline}, {one.model}" for one in month.said} for month in (old, new))
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


def _models(old: Month, new: Month) -> Iterator[Compared]:
    before = {key: rows for key, rows in enough(_exact(old))}
    names = dict(zip(_exact(new), said(new), strict=True))
    for key, rows in enough(_exact(new)):
        if key not in before:
            continue
        _, model, finding = names[key]
        name, former = f"{finding} ({model})", before[key]
        yield from _rates(f"{name}: positive", positive(former), positive(rows))
        yield from _probabilities(name, *([row.p for row in some if row.p is not None] for some in (former, rows)))
        yield from _agreement(name, former, rows)


def _exact(month: Month) -> dict[tuple[str, str, str], Sequence[Held]]:
    return {(one.pipeline, one.model, finding): rows for one in month.said for finding, rows in one.held.items()}


def _agreement(name: str, old: Sequence[Held], new: Sequence[Held]) -> Iterator[Compared]:
    a, b = concordance.decided(old), concordance.decided(new)
    if any(lacking(one.sensitivity.of, one.specificity.of) for one in (a, b)):
        return
    yield from _rates(f"{name}: sensitivity", a.sensitivity, b.sensitivity)
    yield from _rates(f"{name}: specificity", a.specificity, b.specificity)
    yield from _rates(f"{name}: positive predictive value", a.predictive_value, b.predictive_value)


def _rates(what: str, old: Rate, new: Rate) -> Iterator[Compared]:
    difference = apart(old, new)
    if difference is None or min(old.of, new.of) < FEW:
        return
    value, low, high = (100 * one for one in difference)
    yield Compared(what, _percent(old), _percent(new), f"{value:+.1f} points ({low:+.1f} to {high:+.1f})",
                   not low <= 0 <= high)  # fmt: skip


def _percent(one: Rate) -> str:
    return f"{100 * (one.value or 0.0):.1f} % of {one.of:,}"


def _probabilities(name: str, old: Sequence[float], new: Sequence[float]) -> Iterator[Compared]:
    """Means, with the interval of Welch (Biometrika 1947;34:28) in its form for large samples, and the largest gap of
    the distributions (Smirnov 1948)."""
    if min(len(old), len(new)) < FEW:
        return
    (a, wide), (b, other) = _mean(old), _mean(new)
    half = Z * math.hypot(wide, other)
    yield Compared(f"{name}: mean probability", f"{a:.3f}", f"{b:.3f}",
                   f"{b - a:+.3f} ({b - a - half:+.3f} to {b - a + half:+.3f})", abs(b - a) > half)  # fmt: skip
    found, chance = gap(old, new), 1.358 * math.sqrt((len(old) + len(new)) / (len(old) * len(new)))
    yield Compared(f"{name}: gap of the distributions", "", "", f"{100 * found:.1f} % (by chance up to "
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
