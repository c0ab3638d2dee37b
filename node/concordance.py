"""Results against reports and reviews, for people: by model, finding and subgroup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.labels import MATURITY
from node.queries import Queries
from node.rates import Rate, rate
from node.schema import features, jobs, labels, reviews, studies
from node.watch import performance
from node.watch.concord import Inference, inference
from node.watch.performance import Calibrated, Decisions, Promised

_AT_ONCE = 500


@dataclass(frozen=True)
class Held:
    """One finding of one result. `p` and `said` as the job stored them; `reported`: the label that counts, None: none
    yet; `source`: who reported it."""

    p: float | None
    said: bool | None
    reported: bool | None
    source: str | None
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """All studies, or one subgroup (`group`: name and value; empty: all). `studies`: with a result; `labelled`: of
    those."""

    group: tuple[str, str] | tuple[()]
    studies: int
    labelled: int
    decisions: Decisions
    calibration: Calibrated
    promised: Promised


@dataclass(frozen=True)
class Finding:
    """One finding of a model; `sources`: who reported how much of it."""

    name: str
    sources: Mapping[str, int]
    parts: tuple[Part, ...]  # all first, then the subgroups


@dataclass(frozen=True)
class Concordance:
    """One model's. `reviewed`: results with a review; `accepted`: how many of these were accepted as they were."""

    pipeline: str
    model: str
    results: int
    findings: tuple[Finding, ...]
    accepted: Rate


@dataclass(frozen=True)
class Read:
    """What one model said of the studies that it read, and what is known of them since. `held`: finding -> a row for
    each study; `accepted`: for each result with a review, whether the last one accepted it as it was."""

    pipeline: str
    model: str
    results: int
    held: Mapping[str, Sequence[Held]]
    accepted: Sequence[bool]


def read(connection: sa.Connection, pipeline: str | None, since: float, before: float) -> list[Read]:
    """Of each model whose jobs ended within [since, before), seconds since the epoch; of a study the newest result of a
    model counts, with the labels and reviews that count now. Sorted by name."""
    made = _results(connection, pipeline, since, before)
    reported = _reported(connection, {one.study_uid for _, one in made.values()})
    verdicts = _verdicts(connection, {job for job, _ in made.values()})
    families: dict[tuple[str, str, str], list[tuple[int, Inference]]] = {}
    for job, one in made.values():
        families.setdefault(one.family, []).append((job, one))
    return [
        Read(family[0], family[1], len(ones), _held([one for _, one in ones], reported),
             [verdicts[job] for job, _ in ones if job in verdicts])
        for family, ones in sorted(families.items())
    ]  # fmt: skip


class Concordances(Queries):
    """Reads results and what was reported of them; nothing here changes a row."""

    def of(self, pipeline: str | None, since: float, before: float) -> list[Concordance]:
        """Of each model as `read` gives it."""
        with self._read() as connection:
            found = read(connection, pipeline, since, before)
        return [
            Concordance(one.pipeline, one.model, one.results,
                        tuple(_finding(name, rows) for name, rows in one.held.items()),
                        rate(sum(one.accepted), len(one.accepted)))
            for one in found
        ]  # fmt: skip

    def current_labels(self, study_uid: str | None = None, most: int = 100) -> list[dict[str, Any]]:
        """The labels that count, newest first: study_uid, finding, value (None: withdrawn), source, date, added_at; and
        `before`, the values that they replaced, oldest first."""
        query = sa.select(labels).where(labels.c.replaced_at.is_(None)).order_by(labels.c.id.desc()).limit(most)
        if study_uid is not None:
            query = query.where(labels.c.study_uid == study_uid)
        told = []
        with self._read() as connection:
            for row in connection.execute(query).all():
                before = connection.execute(
                    sa.select(labels.c.value).where(
                        labels.c.study_uid == row.study_uid, labels.c.finding == row.finding,
                        labels.c.source == row.source, labels.c.replaced_at.is_not(None),
                    ).order_by(labels.c.id)
                ).scalars()  # fmt: skip
                told.append({
                    "study_uid": row.study_uid, "finding": row.finding, "value": _value(row.value),
                    "source": row.source,
                    "date": row.date, "added_at": row.added_at, "before": [_value(value) for value in before],
                })  # fmt: skip
        return told

    def findings(self) -> set[str]:
        """The findings that results here have a probability or a decision of, in small letters."""
        names = sa.select(features.c.name).where(features.c.name.like("output.%")).distinct()
        with self._read() as connection:
            known = {name: 1.0 for name in connection.execute(names).scalars()}
        return set(inference("", None, "", known).said)


def _results(
    connection: sa.Connection, pipeline: str | None, since: float, before: float
) -> dict[tuple[Any, ...], tuple[int, Inference]]:
    """(family, study) -> the newest job's id and what it said."""
    query = (
        sa.select(jobs.c.id, jobs.c.pipeline, jobs.c.model, studies.c.study_uid)
        .join(studies, studies.c.id == jobs.c.study_id)
        .where(jobs.c.state == "done", jobs.c.finished_at >= since, jobs.c.finished_at < before).order_by(jobs.c.id)
    )  # fmt: skip
    if pipeline is not None:
        query = query.where(jobs.c.pipeline == pipeline)
    rows = connection.execute(query).all()
    known: dict[int, dict[str, Any]] = {row.id: {} for row in rows}
    for some in _in_parts(known):
        wanted = sa.or_(*(features.c.name.like(f"{start}.%") for start in ("output", "patient", "device")))
        for one in connection.execute(sa.select(features).where(features.c.job_id.in_(some), wanted)):
            known[one.job_id][one.name] = one.number if one.text is None else one.text
    found: dict[tuple[Any, ...], tuple[int, Inference]] = {}
    for row in rows:
        said = inference(row.pipeline, row.model, row.study_uid, known[row.id])
        found[(said.family, said.study_uid)] = (int(row.id), said)
    return found


def _reported(connection: sa.Connection, uids: Iterable[str]) -> dict[tuple[str, str], tuple[bool, str]]:
    """(study, finding) -> the label that counts and its source: of several sources the one that reported last; a
    negative that nobody reported only where there is no other."""
    found: dict[tuple[str, str], tuple[bool, str]] = {}
    for some in _in_parts(uids):
        query = sa.select(labels).where(labels.c.study_uid.in_(some), labels.c.replaced_at.is_(None),
                                         labels.c.value.is_not(None))  # fmt: skip
        silent = sa.case((labels.c.source == MATURITY, 0), else_=1)
        for row in connection.execute(query.order_by(silent, labels.c.date, labels.c.id)):
            found[(row.study_uid, row.finding)] = (bool(row.value), row.source)
    return found


def _verdicts(connection: sa.Connection, wanted: set[int]) -> dict[int, bool]:
    """Job -> whether its last review accepted it as it was."""
    found = {}
    for some in _in_parts(wanted):
        query = sa.select(reviews.c.job_id, reviews.c.verdict).where(reviews.c.job_id.in_(some))
        for job, verdict in connection.execute(query.order_by(reviews.c.id)):
            found[int(job)] = verdict == "accepted"
    return found


def _value(stored: int | None) -> bool | None:
    return None if stored is None else bool(stored)


def _in_parts(values: Iterable[Any]) -> Iterable[list[Any]]:
    every = sorted(values)
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def _held(
    ones: Sequence[Inference], reported: Mapping[tuple[str, str], tuple[bool, str]]
) -> dict[str, tuple[Held, ...]]:  # fmt: skip
    found: dict[str, list[Held]] = {}
    for one in ones:
        for name, (p, said) in one.said.items():
            value, source = reported.get((one.study_uid, name), (None, None))
            found.setdefault(name, []).append(Held(p, said, value, source, one.groups))
    return {name: tuple(found[name]) for name in sorted(found)}


def _finding(name: str, held: Sequence[Held]) -> Finding:
    sources = Counter(row.source for row in held if row.source is not None)
    groups = sorted({item for row in held for item in row.groups.items()})
    parts = [part((), held)]
    parts += [part(group, [row for row in held if row.groups.get(group[0]) == group[1]]) for group in groups]
    return Finding(name, dict(sorted(sources.items())), tuple(parts))


def decided(held: Sequence[Held]) -> Decisions:
    """Decisions against labels, of the studies that have both."""
    both = [(row.said, row.reported) for row in held if row.said is not None and row.reported is not None]
    return performance.decisions([said for said, _ in both], [value for _, value in both])


def part(group: tuple[str, str] | tuple[()], held: Sequence[Held]) -> Part:
    """All that can be said of some studies."""
    labelled = [(row.p, row.reported) for row in held if row.p is not None and row.reported is not None]
    stored = [(row.p, row.said) for row in held if row.p is not None and row.said is not None]
    return Part(
        group, len(held), sum(row.reported is not None for row in held), decided(held),
        performance.calibrated([p for p, _ in labelled], [value for _, value in labelled]),
        performance.promised([p for p, _ in stored], [said for _, said in stored]),
    )  # fmt: skip
