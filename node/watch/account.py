"""The story of an alarm, for the people who must judge it: what, since when, on which device, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from node.schema import events
from node.watch import attribution, calibration, detector, embedding, kinds
from node.watch.attribution import Difference
from node.watch.channels import Category, Channel, Concordance, Event, Number, Vector, weights_of
from node.watch.course import Course, Happening
from node.watch.detector import Floats
from node.watch.normal import Normal, observed
from node.watch.observation import Observation
from node.watch.observe import JOBS
from node.watch.ranks import draw
from node.watch.watcher import Watcher

WINDOW = 2000  # studies before an alarm that its story looks back on
_EXAMPLES = 12
_TABLES = 12  # features of which the tables are told
_FEWEST = 8  # studies after the change; with fewer the last so many are taken
_HUGE = 1e200  # evidence stays finite
_FEWEST_CAUSE = 20  # studies after the change, to tell prevalence from acquisition

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Past:
    """What was seen before an alarm. `units`: studies, `told`: labels and reviews too; `values`: of each of those, what
    the channels see; oldest first."""

    units: Sequence[Observation]
    told: Sequence[Observation]
    values: Sequence[Mapping[str, Any]]

    def upto(self, seq: int) -> Past:
        """The same, up to an event."""
        count = sum(one.seq <= seq for one in self.told)
        return Past([one for one in self.units if one.seq <= seq], self.told[:count], self.values[:count])


def past(
    connection: sa.Connection, watcher: Watcher, family: str, normal: Normal, course: Course, seq: int
) -> Past:  # fmt: skip
    """What was seen since the baseline was accepted up to an event, of the last 2,000 studies at most."""
    wanted = sa.select(events.c.seq).where(events.c.seq <= seq, events.c.type.in_(JOBS)).order_by(events.c.seq.desc())
    first = connection.execute(wanted.offset(WINDOW).limit(1)).scalar() or 0
    told, units = watcher.everything(connection, family, max(first, course.accepted), seq)
    return Past(units, told, [normal.see(one.seen) for one in told])


def story(normal: Normal, happening: Happening, before: Past, tolerance: float) -> dict[str, Any]:
    """All that is known of a drift alarm, as plain data; `tolerance`: of observed by expected positives."""
    watched = normal.parts[happening.part]
    channel = watched.channels[watched.names.index(happening.channel)]
    since = _since(normal, happening, channel, before)
    concerned = [one for one in before.units if _belongs(happening.channel, one.seen)]
    count = sum(1 for one in concerned if since is not None and one.seq >= since.seq)
    later = concerned[-max(count, _FEWEST) :]
    columns = _of_group(happening.channel, normal.baseline.columns)
    now = [observed(one.seen, normal.white) for one in later]
    after = {name: [one.get(name) for one in now] for name in columns if _is_feature(name, columns[name])}
    differences = attribution.compare_all({name: columns[name] for name in after}, after) if later else []
    feature = _feature(happening.channel, columns)
    told: dict[str, Any] = {
        "channel": happening.channel, "group": kinds.group_of(happening.channel),
        "statistic": happening.statistic, "threshold": watched.threshold, "alone": happening.alone,
        "since": since.at if since else happening.at, "since_study": since.study_uid if since else happening.study_uid,
        "studies": count,
        "compared_with": len(later), "baseline": {"id": normal.key, "studies": len(normal.baseline.days)},
        "differences": [_plain(one) for one in differences if one.found][:_TABLES],
        "compared": len(differences),
        "own": next((_plain(one) for one in differences if one.feature == feature), None),
        "devices": _devices(feature, columns, now), "cause": _cause(feature, columns, now),
        "examples": [one.study_uid for one in later[-_EXAMPLES:]],
    }  # fmt: skip
    if isinstance(channel, Concordance) or happening.channel.startswith(kinds.LABELLED):
        told |= _labels(happening.channel, before, since, tolerance)
    return told | {"says": says(told)}


def says(story: Mapping[str, Any]) -> str:
    """The alarm in one sentence."""
    own = story["own"]
    what = f"{kinds.WORDS.get(story['group'], 'other')}: {story['channel']}"
    if "observed_to_expected" in story:
        ratio, low, high = story["observed_to_expected"]
        return f"{what}: {ratio:.2f} times as many positives reported as the model promised ({low:.2f} to {high:.2f})"
    if own is None or own["test"] == "too few":
        return f"{what} differs from the baseline"
    first, second = own["before"], own["after"]
    if "mean" in first and "mean" in second and own["test"] != "chi-square of missing":
        return f"{what}: mean {first['mean']:.4g} before, {second['mean']:.4g} after"
    shares = {
        name: second.get(name, 0.0) - first.get(name, 0.0) for name in {*first, *second} if name.startswith("share of ")
    }
    shares["missing"] = second["missing"] - first["missing"]
    if fresh := [name for name in shares if not first.get(name) and second.get(name, 0.0) > 0 and name != "missing"]:
        shares = {name: shares[name] for name in fresh}  # what was never there says most
    name = max(sorted(shares), key=lambda one: abs(shares[one]))
    return f"{what}: {name} {first.get(name, 0.0):.0%} before, {second.get(name, 0.0):.0%} after"


def _belongs(channel: str, seen: Mapping[str, Any]) -> bool:
    """Whether a study is of the channel's subgroup; all are where it has none."""
    by, _, value = channel.partition("@")[2].partition("=")
    return not by or (seen.get(by) is not None and str(seen[by]) == value)


def _of_group(channel: str, columns: Columns) -> Columns:
    by, _, value = channel.partition("@")[2].partition("=")
    if by not in columns:
        return columns
    rows = [row for row, one in enumerate(columns[by]) if one is not None and str(one) == value]
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def _is_feature(name: str, values: Sequence[Any]) -> bool:
    return not any(isinstance(value, list | tuple) for value in values) and any(value is not None for value in values)


def _feature(channel: str, columns: Mapping[str, Any]) -> str | None:
    base = channel.partition("@")[0]
    if base.endswith(".prevalence"):
        base = f"{base.removesuffix('.prevalence')}.p"
    if base == kinds.EMBEDDING:
        base = kinds.DISTANCE
    return base if base in columns else None


def _since(normal: Normal, happening: Happening, channel: Channel, before: Past) -> Observation | None:
    """The first study after the change, by the evidence of the alarm's own channel."""
    found: list[Observation] = []
    rows: list[Floats] = []
    learnt = embedding.Learnt.nothing(channel.normal.parts) if isinstance(channel, Vector) else None
    for index, (one, values) in enumerate(zip(before.told, before.values, strict=True)):
        if happening.channel not in values:
            continue
        value = values[happening.channel]
        if isinstance(channel, Number | Category | Event | Concordance):
            if value is None and not isinstance(channel, Number | Category):
                continue
            rows.append(channel.bets.table[channel.symbol(value, draw(normal.key, index))])
        elif value is None:
            continue
        elif isinstance(channel, Vector):
            assert learnt is not None
            learnt, e = embedding.bet(learnt, np.array(value, dtype=float), channel.normal)
            rows.append(e)
        else:
            rows.append(np.array(channel.e(value)))
        found.append(one)
    if not found:
        return None
    e = np.stack(rows)
    # The bet that carries the alarm: the one with the most evidence in the end, by its weight.
    best = int(np.argmax(_evidence(e) * weights_of(channel)))
    return found[attribution.change_point(e[:, best])]


def _evidence(e: Floats) -> Floats:
    evidence = np.zeros(e.shape[1])
    for row in e:
        evidence = detector.step(evidence, row, 1.0, _HUGE)
    return evidence


def _plain(one: Difference) -> dict[str, Any]:
    return {"feature": one.feature, "test": one.test, "p": one.p, "size": one.size, "before": dict(one.before),
            "after": dict(one.after), "found": one.found}  # fmt: skip


def _devices(feature: str | None, columns: Columns, now: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The alarm's feature for each device: what came from it now, against what it sent before."""
    by = next((name for name in kinds.groups_of(columns) if name.startswith(kinds.DEVICE)), None)
    if by is None or not now:
        return []
    names, later = [str(one) for one in columns[by]], [str(one.get(by)) for one in now]
    if feature is None or feature == by:
        return [{"device": name, "studies": later.count(name), "before": names.count(name), "found": name not in names}
                for name in sorted(set(later), key=lambda one: -later.count(one))]  # fmt: skip
    found = attribution.by_device(feature, columns[feature], [one.get(feature) for one in now], names, later)
    return [
        {"device": name, "studies": later.count(name), "before": names.count(name), "found": one.found, "p": one.p,
         "size": one.size}
        for name, one in found.items()
    ]  # fmt: skip


def _cause(feature: str | None, columns: Columns, now: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Prevalence or acquisition, by the finding that changed most; None where there is nothing to ask."""
    best: dict[str, Any] | None = None
    most = -1.0
    if feature is None:
        return None
    rows = [row for row, value in enumerate(columns[feature]) if value is not None]
    for name in sorted(columns):
        if not (name.startswith("output.") and name.endswith(".p")):
            continue
        pairs = [(columns[feature][row], columns[name][row]) for row in rows if columns[name][row] is not None]
        later = [(one.get(feature), one[name]) for one in now if one.get(name) is not None]
        if len(pairs) < _FEWEST or len(later) < _FEWEST_CAUSE or not 0 < sum(p for _, p in pairs) < len(pairs):
            continue
        found = attribution.prevalence_or_acquisition(
            feature, [one for one, _ in pairs], [one for one, _ in later], [p for _, p in pairs], [p for _, p in later]
        )
        moved = abs(found.after - found.before)
        told = {"verdict": found.verdict, "finding": name.removeprefix("output.").removesuffix(".p"),
                "before": found.before, "after": found.after, "left": found.adjusted.size}  # fmt: skip
        if moved > most:
            best, most = told, moved
    return best


def _labels(channel: str, before: Past, since: Observation | None, tolerance: float) -> dict[str, Any]:
    pairs = [one.seen[channel] for one in before.told if channel in one.seen and since and one.seq >= since.seq]
    if not pairs:
        return {}
    told: dict[str, Any] = {"labels": len(pairs)}
    if channel.startswith(kinds.LABELLED) and sum(float(p) for p, _ in pairs) > 0:
        ratio, low, high = calibration.observed_to_expected([float(p) for p, _ in pairs], [bool(y) for _, y in pairs])
        told |= {"observed_to_expected": [ratio, low, high], "stop": not 1 / tolerance <= ratio <= tolerance}
    else:
        said = [(bool(one), bool(other)) for one, other in pairs]
        told["false"], told["missed"] = said.count((True, False)), said.count((False, True))
    return told
