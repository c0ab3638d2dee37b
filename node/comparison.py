"""`overread compare`: two versions of a pipeline's model, or of its code, on the studies that both have read, from the
features of their jobs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.agreement import Agreement, Difference, agreement, difference
from node.errors import ConfigError, GiveUp
from node.schema import features, jobs, studies
from pipelines import registry

SUBGROUPS = ("patient.sex", "patient.age-band", "device.Manufacturer", "device.ManufacturerModelName",
             "device.StationName")  # fmt: skip
MOST_EXAMPLES = 12
MOST_GROUPS = 20  # of one feature, the largest ones
_CHUNK = 500  # jobs whose features are read at once
_NUMBERS = ("p", "volume")  # kinds of output features that are compared as numbers

Values = Mapping[str, float | str | None]


@dataclass(frozen=True)
class Pair:
    """One study that both versions have read: the features of either job."""

    study_uid: str
    revision: int
    old: Values
    new: Values


@dataclass(frozen=True)
class Finding:
    """How far two versions agree on one finding; None where no study has the answers of both."""

    name: str
    positive: Agreement | None
    numbers: Mapping[str, Difference]  # p, volume: new minus old


@dataclass(frozen=True)
class Group:
    """The same for the studies of one subgroup: `feature` = `value`."""

    feature: str
    value: str
    n: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Example:
    """A study on which they disagree, and where: finding -> (old, new)."""

    study_uid: str
    revision: int
    opposite: tuple[str, ...]  # findings that one calls positive and the other does not
    values: Mapping[str, tuple[float | None, float | None]]  # p of each finding, or its volume where there is no p


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds."""

    pipeline: str
    old: str
    new: str
    studies: int  # that both have read
    only_old: int  # that one of them has read
    only_new: int
    findings: tuple[Finding, ...]
    groups: tuple[Group, ...]
    examples: tuple[Example, ...]


def compare(
    connection: sa.Connection, old: str, new: str, pipeline: str | None = None, begin: float | None = None,
    end: float | None = None,
) -> Comparison:  # fmt: skip
    """Compare two versions on the newest revision of each study that both have read. A version: see pipelines.registry;
    where several jobs of a revision fit it, that of the live variant counts.

    `begin`, `end`: seconds since the epoch, of the jobs' ends. Raises ConfigError for versions that are one, or not of
    one kind; GiveUp when they have no study in common, or when several pipelines have and none is named.
    """
    kinds = [tuple(part is None for part in registry.parts(version)) for version in (old, new)]
    if kinds[0] != kinds[1] or old == new:
        raise ConfigError(f"{old} and {new}", "want two versions of the model, such as 1.0.0 and 1.1.0, or two of a "
                          "pipeline's code, such as code-1.0.0 and code-1.1.0")  # fmt: skip
    done = _done(connection, (old, new), pipeline, begin, end)
    named = sorted({key[0] for key, made in done.items() if {old, new} <= set(made)})
    if len(named) > 1:
        raise GiveUp(f"{' and '.join(named)} have such versions: name one with --pipeline")
    if not named:
        raise GiveUp(f"no study was read by both {old} and {new}{_by(done)}: name the new one in `shadow` of a route")
    newest: dict[int, tuple[int, int, int]] = {}
    alone = {old: set[int](), new: set[int]()}
    for (of, study, revision), made in done.items():
        if of == named[0] and {old, new} <= set(made):
            newest[study] = max(newest.get(study, (0, 0, 0)), (revision, made[old], made[new]))
        elif of == named[0]:
            alone[next(iter(made))].add(study)
    pairs = _pairs(connection, newest)
    only = {version: len(found - set(newest)) for version, found in alone.items()}
    return Comparison(named[0], old, new, len(pairs), only[old], only[new], findings_of(pairs), tuple(groups_of(pairs)),
                      examples_of(pairs))  # fmt: skip


def _by(done: Mapping[tuple[str, int, int], Mapping[str, int]]) -> str:
    """In words, how many studies each version has read, where any has."""
    count = Counter(version for version, _ in {(v, key[:2]) for key, made in done.items() for v in made})
    return f" ({', '.join(f'{version} has read {n}' for version, n in sorted(count.items()))})" if count else ""


def read_by_both(connection: sa.Connection, pipeline: str, old: str, new: str) -> int:
    """How many studies two versions of a pipeline have both read."""
    done = _done(connection, (old, new), pipeline, None, None)
    return len({study for (_, study, _), made in done.items() if {old, new} <= set(made)})


def _done(
    connection: sa.Connection, versions: Sequence[str], pipeline: str | None, begin: float | None, end: float | None
) -> dict[tuple[str, int, int], dict[str, int]]:
    """(pipeline, study, revision) -> version -> job, of what ended well."""
    query = sa.select(jobs.c.id, jobs.c.pipeline, jobs.c.study_id, jobs.c.revision, jobs.c.model).where(
        jobs.c.state == "done", jobs.c.model.is_not(None)
    )
    if begin is not None:
        query = query.where(jobs.c.finished_at >= begin)
    if end is not None:
        query = query.where(jobs.c.finished_at < end)
    wanted = {version: registry.parts(version) for version in versions}
    found: dict[tuple[str, int, int], dict[str, int]] = {}
    for row in sorted(connection.execute(query), key=lambda one: ("@" in one.pipeline, one.id)):  # what is live first
        name = registry.split(row.pipeline)[0]
        model = json.loads(row.model)
        for version, (of_model, of_code) in wanted.items():
            fits = of_model in (None, model.get("version")) and of_code in (None, model.get("pipeline_version"))
            if fits and pipeline in (None, name):
                found.setdefault((name, row.study_id, row.revision), {}).setdefault(version, row.id)
    return found


def _pairs(connection: sa.Connection, newest: Mapping[int, tuple[int, int, int]]) -> list[Pair]:
    wanted = sorted(job for _, *both in newest.values() for job in both)
    values: dict[int, dict[str, float | str | None]] = {job: {} for job in wanted}
    about = features.c.name.like("output.%") | features.c.name.in_(SUBGROUPS)
    for at in range(0, len(wanted), _CHUNK):
        part = wanted[at : at + _CHUNK]
        for row in connection.execute(sa.select(features).where(features.c.job_id.in_(part), about)):
            values[row.job_id][row.name] = row.number if row.text is None else row.text
    uids: dict[int, str] = {}
    keys = sorted(newest)
    for at in range(0, len(keys), _CHUNK):
        part = keys[at : at + _CHUNK]
        uids |= {row.id: row.study_uid for row in connection.execute(
            sa.select(studies.c.id, studies.c.study_uid).where(studies.c.id.in_(part)))}  # fmt: skip
    return [Pair(uids[key], newest[key][0], values[newest[key][1]], values[newest[key][2]]) for key in keys]


def findings_of(pairs: Sequence[Pair]) -> tuple[Finding, ...]:
    """Agreement on each finding that a version tells, sorted by name."""
    found = []
    for name in _names(pairs):
        answers = [(bool(a), bool(b)) for a, b in _both(pairs, f"output.{name}.positive")]
        numbers = {kind: made for kind in _NUMBERS if (made := difference(_both(pairs, f"output.{name}.{kind}")))}
        found.append(Finding(name, agreement(answers), numbers))
    return tuple(found)


def groups_of(pairs: Sequence[Pair]) -> Iterable[Group]:
    """The same by subgroup; a study without the feature belongs to `missing`, which is a group of its own."""
    for feature in SUBGROUPS:
        if not any(feature in pair.old or feature in pair.new for pair in pairs):
            continue
        by_value: dict[str, list[Pair]] = {}
        for pair in pairs:
            value = pair.old.get(feature, pair.new.get(feature))
            by_value.setdefault("missing" if value is None else str(value), []).append(pair)
        for value, some in sorted(by_value.items(), key=lambda one: (-len(one[1]), one[0]))[:MOST_GROUPS]:
            yield Group(feature, value, len(some), findings_of(some))


def examples_of(pairs: Sequence[Pair]) -> tuple[Example, ...]:
    """The studies that they disagree most on: opposite answers first, then the largest differences of p, or of volume
    relative to the larger one."""
    names = _names(pairs)
    ranked = []
    for pair in pairs:
        opposite = tuple(name for name in names if _opposite(pair, f"output.{name}.positive"))
        values: dict[str, tuple[float | None, float | None]] = {}
        apart = 0.0
        for name in names:
            kind = next((kind for kind in _NUMBERS if f"output.{name}.{kind}" in {*pair.old, *pair.new}), None)
            if kind is not None:
                key = f"output.{name}.{kind}"
                a, b = _number(pair.old.get(key)), _number(pair.new.get(key))
                values[name] = a, b
                apart = max(apart, _apart(a, b, relative=kind == "volume"))
        if opposite or apart > 0:
            ranked.append((len(opposite), apart, Example(pair.study_uid, pair.revision, opposite, values)))
    order: Callable[[tuple[int, float, Example]], Any] = lambda one: (-one[0], -one[1], one[2].study_uid)  # noqa: E731
    return tuple(example for _, _, example in sorted(ranked, key=order)[:MOST_EXAMPLES])


def _names(pairs: Sequence[Pair]) -> list[str]:
    keys = {key for pair in pairs for values in (pair.old, pair.new) for key in values if key.startswith("output.")}
    parted = {tuple(key.removeprefix("output.").rpartition(".")[::2]) for key in keys}
    return sorted({name for name, kind in parted if name and kind in ("positive", *_NUMBERS)})


def _both(pairs: Sequence[Pair], key: str) -> list[tuple[float, float]]:
    """(old, new) of a feature, for the studies where both have a number."""
    told = [(_number(pair.old.get(key)), _number(pair.new.get(key))) for pair in pairs]
    return [(a, b) for a, b in told if a is not None and b is not None]


def _number(value: float | str | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)


def _opposite(pair: Pair, key: str) -> bool:
    a, b = _number(pair.old.get(key)), _number(pair.new.get(key))
    return a is not None and b is not None and bool(a) != bool(b)


def _apart(a: float | None, b: float | None, relative: bool) -> float:
    if a is None or b is None:
        return 0.0
    larger = max(abs(a), abs(b))
    return abs(a - b) / larger if relative and larger else abs(a - b)
