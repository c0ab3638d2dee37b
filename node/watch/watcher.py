"""Goes through the audit log in its order and moves every family on: the live loop and the replay are this one code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from node.audit import Event
from node.schema import baselines, events, watch_states
from node.watch import course as courses
from node.watch import observe
from node.watch.baseline import joined
from node.watch.course import Course, Happening
from node.watch.family import ARITHMETIC, ratios
from node.watch.normal import Normal, digest, observed
from node.watch.observation import Observation
from node.watch.observe import JOBS, Families, Source, Units, day_of, key_of
from node.watch_schema import ALL

CONTROL = ("baseline.accepted", "alarm.resolved")
GOLDEN = ("golden.mismatch", "golden.passed", "golden.accepted")  # runs of a pipeline's golden set
_AT_ONCE = 100  # events of one transaction


@dataclass
class Taken:
    """What some events changed. `moved`: families with a new state; `happened`: (family, normal, course after, what);
    `grown`: (family, normal); `golden`: events about golden sets."""

    seq: int
    moved: set[str] = field(default_factory=set)
    happened: list[tuple[str, Normal, Course, Happening]] = field(default_factory=list)
    grown: list[tuple[str, Normal]] = field(default_factory=list)
    golden: list[Event] = field(default_factory=list)


class Watcher:
    """All families of a site. Begins at the start of the log; `load` continues where a transaction left it."""

    def __init__(self, site: str, sources: Mapping[str, Source] | None = None) -> None:
        """`sources`: what labels and reviews observe, by the event's type."""
        self.site, self.sources = site, dict(sources or {})
        self._begin()
        self.types = (*JOBS, *CONTROL, *GOLDEN, *self.sources)

    def _begin(self) -> None:
        self.seq, self._looked = 0, 0
        self.courses: dict[str, Course] = {}
        self.normals: dict[str, Normal] = {}
        self.last: Families = {}
        self._owed: set[str] = set()  # families whose states are to be kept with the next step, moved or not

    def load(self, connection: sa.Connection) -> None:
        """What the database says; what detectors left that count otherwise is gone through anew, from the log.
        ValueError: a baseline is not what was signed for."""
        self._begin()
        for row in connection.execute(sa.select(watch_states)):
            state = json.loads(row.state)
            if row.family == ALL:
                if state.get("arithmetic") != ARITHMETIC:
                    self._anew(connection, row.seq)
                    return
                self.seq = row.seq
                self.last = {name: (one[0], one[1], one[2]) for name, one in state["last"].items()}
            else:
                self.courses[row.family] = Course.from_json(state)
        for family, course in self.courses.items():
            if course.baseline:
                self.normals[family] = normal_of(connection, course)

    def _anew(self, connection: sa.Connection, upto: int) -> None:
        self._begin()
        while self.take(connection, upto=upto) is not None:
            pass  # what happened was told when it did
        self.seq, self._owed = upto, set(self.courses)

    def states(self, families: set[str]) -> dict[str, str]:
        """The states to be kept, as text."""
        return {family: _text(self.courses[family].to_json()) for family in sorted(families)}

    def standings(self, families: set[str]) -> dict[str, str]:
        """Of the families that have a baseline: how near each channel is to an alarm, as text; 1 is an alarm."""
        return {
            family: _text({name: ratio for part, watched in self.normals[family].parts.items()
                           for name, ratio in ratios(watched, self.courses[family].parts[part]).items()})
            for family in sorted(families) if family in self.normals
        }  # fmt: skip

    def own_state(self) -> str:
        """What belongs to the place in the log."""
        last = {name: list(one) for name, one in sorted(self.last.items())}
        return _text({"arithmetic": ARITHMETIC, "last": last})

    def take(self, connection: sa.Connection, limit: int = _AT_ONCE, upto: int | None = None) -> Taken | None:
        """Move on by at most `limit` events that matter; None when there is none. The database is only read."""
        end = connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0
        if upto is None and end <= self._looked:
            return None
        found = observe.read(connection, max(self.seq, self._looked), self.types, limit, upto)
        if not found:
            if upto is None:
                self._looked = end  # nothing up to there matters: it is not read again at each look
            return None
        told = observe.of_events(connection, found, self.site, self.last, self.sources)
        taken = Taken(found[-1].seq, moved=set(self._owed))
        taken.grown += [(one, self.normals[one]) for one in sorted(self._owed) if self.courses[one].version > 1]
        self._owed.clear()
        for event in found:
            if event.type in CONTROL:
                self._decided(connection, event, taken)
            elif event.type in GOLDEN:
                taken.golden.append(event)
            for one in told.get(event.seq, ()):
                self._observed(connection, one, taken)
        self.seq = taken.seq
        return taken

    def _observed(self, connection: sa.Connection, seen: Observation, taken: Taken) -> None:
        family = key_of(seen.family)
        normal = self.normals.get(family)
        before = self.courses.get(family, Course())
        course, happened = courses.advance(normal, before, seen)
        if course is before:
            return
        self.courses[family] = course
        taken.moved.add(family)
        if normal is not None:
            taken.happened += [(family, normal, course, one) for one in happened]
            if count := courses.due(course):
                self._grow(connection, family, normal, course, count, seen.seq)
                taken.grown = [one for one in taken.grown if one[0] != family] + [(family, self.normals[family])]

    def _decided(self, connection: sa.Connection, event: Event, taken: Taken) -> None:
        family = str(event.body["family"])
        course = self.courses.get(family, Course())
        at = observe.seconds(event)
        if event.type == "baseline.accepted":
            normal = _content(connection, int(event.body["baseline"]), str(event.body["digest"]))
            self.normals[family] = normal
            self.courses[family] = courses.begin(normal, course, event.seq)
            why = f"baseline {normal.key} was accepted by {event.body['by']}"
            every = Happening("cleared", "", "", event.seq, at, "", why)  # whatever is open of the family
            taken.happened.append((family, normal, self.courses[family], every))
            taken.grown = [one for one in taken.grown if one[0] != family]
        elif family not in self.normals:
            return  # an alarm of time alone: the loop looks whether its cause has gone
        else:
            channel, resolution = str(event.body["channel"]), str(event.body["resolution"])
            normal = self.normals[family]
            self.courses[family], happened = courses.resolve(normal, course, channel, resolution, event.seq, at)
            taken.happened += [(family, normal, self.courses[family], one) for one in happened]
        taken.moved.add(family)

    def _grow(
        self, connection: sa.Connection, family: str, normal: Normal, course: Course, count: int, upto: int
    ) -> None:
        joining: list[tuple[int, Mapping[str, Any]]] = []
        last, start, day = course.joined, course.joined_from, -1
        for one in self.units(connection, family, course.joined_from, upto):
            if day_of(one.at) != day:
                day, start = day_of(one.at), one.seq - 1
            if one.seq > course.joined:
                joining.append((day, observed(one.seen, normal.white)))
                last = one.seq
                if len(joining) == count:
                    break
        self.normals[family] = after = normal.grown(joined(normal.baseline, joining))
        self.courses[family] = courses.grow(normal, after, course, count, last, start)

    def units(self, connection: sa.Connection, family: str, after: int, upto: int | None = None) -> list[Observation]:
        """The units of a family after an event, with the labels and reviews that have come to them since. `after`
        should be one before a day began: else a patient of that day may count twice."""
        everything, units = self.everything(connection, family, after, upto)
        labels: dict[str, dict[str, Any]] = {}
        for one in everything:
            if observe.PATIENT not in one.seen:
                labels.setdefault(one.study_uid, {}).update(one.seen)
        return [
            replace(one, seen={**one.seen, **labels[one.study_uid]}) if one.study_uid in labels else one
            for one in units
        ]

    def everything(
        self, connection: sa.Connection, family: str, after: int, upto: int | None = None
    ) -> tuple[list[Observation], list[Observation]]:
        """The observations of a family that count, after an event; and those of them that are units."""
        units, found, told = Units(), [], []
        for one in observe.observations(connection, after, self.site, upto, self.sources):
            if key_of(one.family) == family:
                if counts := units.counts(one):
                    found.append(one)
                if counts or observe.PATIENT not in one.seen:
                    told.append(one)
        return told, found


def replay(connection: sa.Connection, site: str, upto: int, sources: Mapping[str, Source] | None = None) -> Watcher:
    """From the log alone, what live watching has after event `upto`."""
    watcher = Watcher(site, sources)
    while watcher.take(connection, upto=upto) is not None:
        pass
    return watcher


def _text(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _content(connection: sa.Connection, key: int, signed: str) -> Normal:
    text = connection.execute(sa.select(baselines.c.content).where(baselines.c.id == key)).scalar_one()
    if digest(text) != signed:
        raise ValueError(
            f"baseline {key} is not what was signed for: its digest is {digest(text)[:16]}, not {signed[:16]}"
        )
    return Normal.from_text(key, text)


def normal_of(connection: sa.Connection, course: Course) -> Normal:
    """The accepted baseline of a family, as it has grown. ValueError: it is not what was written."""
    # The row's own version counts a family's proposals, the content's how often it has grown since it was accepted.
    grown = (baselines.c.parent == course.baseline) & (baselines.c.version == course.version)
    of = sa.select(baselines).where((baselines.c.id == course.baseline) | grown)
    row = connection.execute(of.order_by(baselines.c.parent.is_(None), baselines.c.id)).first()
    if row is None:
        raise ValueError(f"baseline {course.baseline} is not there any more")
    if digest(row.content) != row.digest:
        raise ValueError(f"baseline {row.id} was changed after it was written")
    found = Normal.from_text(course.baseline, row.content)
    if found.baseline.version != course.version:
        raise ValueError(f"baseline {row.id} is version {found.baseline.version}, not {course.version}")
    return found
