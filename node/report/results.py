"""The parts of the report about what the models said: scores, positive rates, subgroups, agreement with labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from node.report.document import Bars, Block, Section, Table, Text, interval, share
from node.report.month import SUBGROUPS, JobRow, Month

_BINS = 20
_FEW = 10  # of fewer studies nothing is said: it would be chance, and might point at a person
_GROUPS: Mapping[str, Callable[[JobRow], str]] = {
    "Sex": lambda job: {"M": "male", "F": "female", "O": "other"}.get(str(job.features.get(SUBGROUPS[0])), "not said"),
    "Age": lambda job: str(job.features.get(SUBGROUPS[1]) or "not said"),
    "Device": lambda job: job.device,
}


@dataclass(frozen=True)
class Said:
    """What one job said of one finding."""

    job: JobRow
    p: float | None
    positive: bool | None
    label: bool | None  # what was reported of it


Key = tuple[str, str, str]
"""Pipeline, model with its version, finding."""


def gathered(month: Month) -> Mapping[Key, Sequence[Said]]:
    """What was said of each finding by each model version; only the newest result of each study counts."""
    newest: dict[tuple[str, str, str], JobRow] = {}
    for job in month.jobs:
        if job.state == "done":
            newest[job.pipeline, job.model, job.study_uid] = job
    found: dict[Key, list[Said]] = defaultdict(list)
    for (pipeline, model, uid), job in newest.items():
        labels = month.labels.get(uid, {})
        for finding, (p, positive) in job.findings().items():
            found[pipeline, model, finding].append(Said(job, p, positive, labels.get(finding.lower())))
    return dict(sorted(found.items()))


def scores(month: Month) -> Section:
    """The distribution of each finding's probability, and how often it was positive."""
    found = gathered(month)
    if not found:
        text = "No job of this month stored probabilities of findings: there are no score distributions to show."
        return Section("What the models said", (Text(text),))
    rows, charts = [], []
    for (pipeline, model, finding), said in found.items():
        decided = [one for one in said if one.positive is not None]
        values = [one.p for one in said if one.p is not None]
        mean = f"{sum(values) / len(values):.3f}" if values else "–"
        positive = interval(sum(bool(one.positive) for one in decided), len(decided))
        rows.append((pipeline, model, finding, f"{len(said):,}", mean, positive, f"{len(said) - len(values):,}"))
        if values:
            bins = Counter(min(int(p * _BINS), _BINS - 1) for p in values)
            charts.append(Bars(f"{finding} ({model})", tuple(f"{at / _BINS:g}" for at in range(_BINS)),
                               tuple(float(bins[at]) for at in range(_BINS)),
                               f"calibrated probability, {len(values):,} studies", edges=True))  # fmt: skip
    columns = ("Pipeline", "Model", "Finding", "Studies", "Mean p", "Positive (95 % interval)", "No value")
    table = Table("Findings", columns, tuple(rows), 3)
    text = "Each study counts once for a model, with its newest result. Probabilities are those stored at inference."
    return Section("What the models said", (table, *charts, Text(text, True)))


def subgroups(month: Month) -> Section:
    """Positive rates, and agreement where there are labels, by sex, age and device."""
    blocks: list[Block] = []
    found = gathered(month)
    shown = 7 if any(one.label is not None for said in found.values() for one in said) else 4  # columns
    for (_, model, finding), said in found.items():
        rows = []
        for name, of in _GROUPS.items():
            groups: dict[str, list[Said]] = defaultdict(list)
            for one in said:
                groups[of(one.job)].append(one)
            for group, members in sorted(groups.items()):
                rows.append((name, group, *_group_row(members))[:shown])
        columns = ("", "Group", "Studies", "Positive (95 % interval)", "Labelled", "Sensitivity", "Specificity")
        blocks.append(Table(f"{finding} ({model})", columns[:shown], tuple(rows), 2))
    if not blocks:
        blocks.append(Text("No results of this month can be parted into groups."))
    blocks.append(Text(
        f"Groups of fewer than {_FEW} studies, and rates over fewer than {_FEW} labelled ones, are not shown: they "
        "would be chance, and could point at a person. Differences between groups are not corrected for what else "
        "differs.", True,
    ))  # fmt: skip
    return Section("Subgroups", tuple(blocks))


def _group_row(members: Sequence[Said]) -> tuple[str, ...]:
    if len(members) < _FEW:
        return f"< {_FEW}", "too few", "", "", ""
    decided = [one for one in members if one.positive is not None]
    told = [one for one in decided if one.label is not None]
    rates = [_rate([bool(one.positive) is wanted for one in told if one.label is wanted]) for wanted in (True, False)]
    positive = interval(sum(bool(one.positive) for one in decided), len(decided))
    return f"{len(members):,}", positive, f"{len(told):,}" if told else "none", *rates


def _rate(right: Sequence[bool]) -> str:
    return interval(sum(right), len(right)) if len(right) >= _FEW else "too few"


def agreement(month: Month) -> Section:
    """Results against what was reported, and what people said of them."""
    blocks: list[Block] = []
    rows = []
    charts: list[Block] = []
    for (_, model, finding), said in gathered(month).items():
        told = [one for one in said if one.label is not None and one.p is not None]
        if not told:
            continue
        observed, expected = sum(bool(one.label) for one in told), sum(one.p or 0.0 for one in told)
        right = {
            wanted: [bool(one.positive) is wanted for one in told if one.label is wanted] for wanted in (True, False)
        }
        called = [bool(one.label) for one in told if one.positive]
        rows.append((f"{finding} ({model})", f"{len(told):,}", share(len(told), len(said)), _rate(right[True]),
                     _rate(right[False]), _rate(called), f"{observed} / {expected:.1f}"))  # fmt: skip
        charts.append(_calibration(f"{finding} ({model}): share reported positive, by stored probability", told))
    if rows:
        columns = ("Finding", "Labelled", "Share", "Sensitivity", "Specificity", "Positive predictive value",
                   "Reported / expected")  # fmt: skip
        blocks += [Table("Results against labels", columns, tuple(rows)), *(one for one in charts if one)]
        blocks.append(Text(
            "Rates with 95 % intervals (Wilson). Expected: the sum of the stored probabilities; equal to the reported "
            "ones where the model is calibrated. Which studies have labels is not chance, so that rates among them "
            "need not hold for all. A small month says little: see the interval before the value.", True))  # fmt: skip
    else:
        blocks.append(Text("No result of this month has a label: how right the models were cannot be said."))
    blocks.append(_reviews(month))
    return Section("Agreement with labels and reviews", tuple(blocks))


def _calibration(title: str, told: Sequence[Said]) -> Table:
    parts: list[tuple[str, ...]] = []
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = [one for one in told if low <= (one.p or 0.0) < low + 0.2 or (low == 0.8 and one.p == 1.0)]
        mean = f"{100 * sum(one.p or 0 for one in inside) / len(inside):.1f} %" if inside else "–"
        reported = interval(sum(bool(one.label) for one in inside), len(inside)) if len(inside) >= _FEW else "too few"
        parts.append((f"{low:.1f} to {low + 0.2:.1f}", f"{len(inside):,}", mean, reported))
    return Table(title, ("Probability", "Studies", "Mean probability", "Reported positive"), tuple(parts))


def _reviews(month: Month) -> Block:
    if not month.reviews:
        return Text("Nobody reviewed a result this month." if "reviews" in month.has else "This node keeps no reviews.")
    counts = Counter((str(one["verdict"]), str(one["source"]).split("/")[0]) for one in month.reviews)
    rows = tuple((verdict, source, f"{count:,}", share(count, len(month.reviews)))
                 for (verdict, source), count in sorted(counts.items()))  # fmt: skip
    title = "Reviews: people's verdicts on results, which are no ground truth"
    return Table(title, ("Verdict", "By way of", "Reviews", "Share"), rows, 2)  # fmt: skip
