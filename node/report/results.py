"""The parts of the report about what the models said: scores, positive rates, subgroups, agreement with labels. Every
rate is the one that `overread concordance` gives for the same time."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from node import concordance
from node.concordance import Held, Read
from node.rates import Rate, rate
from node.report.document import Bars, Block, Section, Table, Text, interval, share
from node.report.month import Month
from node.report.small import FEW, TOO_FEW, lacking, pooled
from node.watch.performance import Calibrated, Estimate

_BINS = 20  # of a distribution
_CELLS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the table of calibration
_DIGEST = re.compile(r" [0-9a-f]{12}$")
_GROUPS = {"Sex": "sex", "Age": "age-band", "Device": "device"}
_SEX = {"M": "male", "F": "female", "O": "other"}

Said = Mapping[tuple[str, str, str], Sequence[Held]]
"""(pipeline, model, finding) -> a row for each study."""


def short_of(model: str) -> str:
    """Name and version of a model as a family names it, without its digest."""
    return _DIGEST.sub("", model)


def named(found: Iterable[Read]) -> Mapping[tuple[str, str], str]:
    """(pipeline, model) -> what people call the model: name and version, and its digest only where two have these."""
    keys = {(one.pipeline, one.model) for one in found}
    count = Counter((pipeline, short_of(model)) for pipeline, model in keys)
    return {(pipeline, model): short_of(model) if count[pipeline, short_of(model)] == 1 else model
            for pipeline, model in sorted(keys)}  # fmt: skip


def said(month: Month) -> Said:
    """What each model said of each finding."""
    names = named(month.said)
    return {(one.pipeline, names[one.pipeline, one.model], finding): rows
            for one in month.said for finding, rows in one.held.items()}  # fmt: skip


def enough(found: Said) -> Iterator[tuple[tuple[str, str, str], Sequence[Held]]]:
    """What was said of ten studies or more."""
    return ((key, rows) for key, rows in found.items() if len(rows) >= FEW)


def positive(rows: Sequence[Held]) -> Rate:
    """How many a model called positive, of those that it decided on."""
    decided = [row.said for row in rows if row.said is not None]
    return rate(sum(decided), len(decided))


def scores(month: Month) -> Section:
    """The distribution of each finding's probability, and how often it was positive."""
    found = said(month)
    if not found:
        text = "No job of this month stored probabilities of findings: there are no score distributions to show."
        return Section("What the models said", (Text(text),))
    rows, charts = [], []
    for (pipeline, model, finding), held in enough(found):
        values = [row.p for row in held if row.p is not None]
        mean = f"{sum(values) / len(values):.3f}" if len(values) >= FEW else TOO_FEW if values else "–"
        rows.append((pipeline, model, finding, f"{len(held):,}", mean, shown(positive(held)),
                     f"{len(held) - len(values):,}"))  # fmt: skip
        if len(values) >= FEW:
            bins = Counter(min(int(p * _BINS), _BINS - 1) for p in values)
            charts.append(Bars(f"{finding} ({model})", tuple(f"{at / _BINS:g}" for at in range(_BINS)),
                               tuple(float(bins[at]) for at in range(_BINS)),
                               f"probability, of {len(values):,} studies", edges=True))  # fmt: skip
    columns = ("Pipeline", "Model", "Finding", "Studies", "Mean probability", "Positive (95 % interval)",
               "No probability")  # fmt: skip
    blocks: list[Block] = [Table("Findings", columns, tuple(rows), 3), *charts]
    left_out = len(found) - len(rows)
    text = "Each study counts once for a model, with its newest result. Probabilities are those stored at inference."
    if left_out:
        text += f" Left out: {left_out} findings that a model was asked for in fewer than {FEW} studies."
    return Section("What the models said", (*blocks, Text(text, True)))


def shown(one: Rate) -> str:
    """A rate over ten studies or more."""
    return interval(one) if one.of >= FEW or not one.of else TOO_FEW


def subgroups(month: Month) -> Section:
    """Positive rates, and agreement where there are labels, by sex, age and device."""
    blocks: list[Block] = []
    for (_, model, finding), held in enough(said(month)):
        labelled = any(row.reported is not None for row in held)
        rows: list[tuple[str, ...]] = []
        for title, name in _GROUPS.items():
            rows += _dimension(title, name, held)
        columns = ("", "Group", "Studies", "Positive (95 % interval)", "Labelled", "Sensitivity", "Specificity")
        count = len(columns) if labelled else 4
        blocks.append(Table(f"{finding} ({model})", columns[:count], tuple(row[:count] for row in rows), 2))
    if not blocks:
        return Section("Subgroups", (Text(f"No finding was asked for in {FEW} studies or more."),))
    blocks.append(Text(
        f"Groups of fewer than {FEW} studies are put together with the next larger ones, and rates over fewer than "
        f"{FEW} reported positive or negative are not shown: they would be chance, and could point at a person. "
        "Differences between groups are not corrected for what else differs.", True,
    ))  # fmt: skip
    return Section("Subgroups", tuple(blocks))


def _dimension(title: str, name: str, held: Sequence[Held]) -> Iterator[tuple[str, ...]]:
    groups: dict[str, list[Held]] = defaultdict(list)
    for row in held:
        value = row.groups.get(name, "not said")
        groups[_SEX.get(value, value) if name == "sex" else value].append(row)
    parted = pooled(groups)
    if not parted:
        yield title, "(too few to tell groups apart)", f"{len(held):,}", "", "", "", ""
    # Where one group's rates are of too few, those of the others and of all would give them away.
    short = any(_lacks(rows) for _, rows in parted)
    for group, rows in parted:
        told = concordance.decided(rows)
        labelled = sum(row.reported is not None for row in rows)
        rates = (TOO_FEW, TOO_FEW) if short else (shown(told.sensitivity), shown(told.specificity))
        yield title, group, f"{len(rows):,}", shown(positive(rows)), f"{labelled:,}", *rates


def _lacks(held: Sequence[Held]) -> str | None:
    reported = [row.reported for row in held if row.reported is not None and row.said is not None]
    return lacking(sum(reported), len(reported) - sum(reported))


def agreement(month: Month) -> Section:
    """Results against what was reported, and what people said of them."""
    rates: list[tuple[str, ...]] = []
    calibration: list[tuple[str, ...]] = []
    cells: list[Table] = []
    few = 0
    for (_, model, finding), held in enough(said(month)):
        part = concordance.part((), held)
        if part.labelled < FEW:
            few += part.labelled > 0
            continue
        name, told, lacks = f"{finding} ({model})", part.decisions, _lacks(held)
        rates.append((name, f"{part.labelled:,}", share(part.labelled, part.studies), *(
            lacks or shown(one) for one in (told.sensitivity, told.specificity, told.predictive_value))))  # fmt: skip
        if not lacks and part.calibration.studies >= FEW:
            calibration.append((name, *_calibrated(part.calibration)))
            cells.append(_cells(f"{name}: reported positive, by stored probability", held))
    blocks: list[Block] = []
    if rates:
        columns = ("Finding", "Labelled", "Share", "Sensitivity", "Specificity", "Positive predictive value")
        blocks.append(Table("Results against labels", columns, tuple(rates)))
    if calibration:
        columns = ("Finding", "Reported by expected", "Intercept", "Slope", "Calibration error", "By chance")
        blocks += [Table("Calibration", columns, tuple(calibration)), *cells, Text(
            "Reported by expected: how many were reported positive, by the sum of the probabilities; 1 is as promised. "
            "Intercept: 0 is as promised. Slope: below 1 the model is too sure of itself. Calibration error: how far "
            "probability and truth lie apart on average; a calibrated model shows up to the value beside it by chance.",
            True)]  # fmt: skip
    if rates:
        blocks.append(Text(
            "Values with 95 % intervals, from the labels that count now. Which studies have labels is not chance, so "
            f"that rates among them need not hold for all. Where fewer than {FEW} were reported positive, or negative, "
            "no rate is given: it would be chance, and each would give away the others. The command overread "
            "concordance has them for those who run the node.", True))  # fmt: skip
    else:
        text = "No result of this month has a label: how right the models were cannot be said."
        blocks.append(Text(f"Fewer than {FEW} results of each finding have a label: nothing is said of them."
                           if few else text))  # fmt: skip
    return Section("Agreement with labels and reviews", (*blocks, *_reviews(month)))


def _calibrated(told: Calibrated) -> tuple[str, ...]:
    chance = "–" if told.by_chance is None else f"{told.by_chance:.3f}"
    return (*(estimate(one) for one in (told.large, told.intercept, told.slope, told.error)), chance)


def estimate(one: Estimate | None) -> str:
    """A number with its 95 % interval."""
    return "–" if one is None else f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def _cells(title: str, held: Sequence[Held]) -> Table:
    """By stored probability; neighbours are put together until each row has ten studies."""
    both = sorted((row.p, row.reported) for row in held if row.p is not None and row.reported is not None)
    cells: list[tuple[float, float, list[tuple[float, bool]]]] = []
    for low, high in pairwise(_CELLS):
        inside = [(p, value) for p, value in both if low <= p < high or p == high == 1.0]
        if cells and (len(inside) < FEW or len(cells[-1][2]) < FEW):
            former = cells.pop()
            cells.append((former[0], high, former[2] + inside))
        else:
            cells.append((low, high, inside))
    rows = tuple(
        (f"{low:.1f} to {high:.1f}", f"{len(inside):,}", f"{100 * sum(p for p, _ in inside) / len(inside):.1f} %",
         interval(rate(sum(value for _, value in inside), len(inside))))
        for low, high, inside in cells
    )  # fmt: skip
    return Table(title, ("Probability", "Studies", "Mean probability", "Reported positive"), rows)


def _reviews(month: Month) -> Iterator[Block]:
    if not month.reviews:
        yield Text("Nobody reviewed a result this month.")
        return
    counts = Counter(month.reviews)
    rows = tuple((verdict, way, f"{count:,}") for (verdict, way), count in sorted(counts.items()))
    yield Table("Reviews: people's verdicts on results", ("Verdict", "By way of", "Reviews"), rows, 2)
    names = named(month.said)
    taken = [(names[one.pipeline, one.model], rate(sum(one.accepted), len(one.accepted))) for one in month.said]
    yield Table("Results of the month that a person looked at, by their last review",
                ("Model", "Results", "Accepted as they were"),
                tuple((name, f"{one.of:,}", shown(one)) for name, one in taken if one.of))  # fmt: skip
    yield Text("A verdict is no ground truth: it says whether a person let the result stand.", True)
