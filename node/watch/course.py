"""Where one family stands in the log, and what the next observation changes: pure functions, so that a replay of the
log gives the same state, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from node.watch import family as detectors
from node.watch import kinds
from node.watch.family import ALARM, WATCH, State
from node.watch.normal import Normal, carried
from node.watch.observation import Observation
from node.watch.observe import PATIENT, Units, day_of

LAG_STUDIES, LAG_DAYS = 1000, 30  # after which a study joins the baseline
BATCH = 250  # studies that the baseline grows by: all tables are built anew then
_MOST_NOTICES = 500  # categories that a family remembers having told
CLEARING = ("false-alarm", "data-fixed")  # resolutions after which the channel's evidence begins anew


@dataclass(frozen=True)
class Course:
    """The state of one family.

    `baseline`: the accepted one's row, 0 for none; `version`: of it, as it has grown. `units`: since the start or the
    baseline. `day`, `patients`: of the newest day, to count each patient once. `parts`: the detectors; `channels`: the
    names of theirs, in order. `noticed`: new categories, and fields that a
    device sends anew, that were told. `waiting`: (day, how many) that may join the
    baseline; `joined`: seq after which they came, and `joined_from` one before that day began. `day_start`: seq before
    the newest day began. `keep`: no alarm since they began to wait was more than a false one.
    """

    baseline: int = 0
    version: int = 0
    accepted: int = 0
    units: int = 0
    day: int = -1
    patients: tuple[str, ...] = ()
    day_start: int = 0
    parts: Mapping[str, State] = field(default_factory=dict)
    channels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    noticed: tuple[str, ...] = ()
    waiting: tuple[tuple[int, int], ...] = ()
    joined: int = 0
    joined_from: int = 0
    keep: bool = True

    @property
    def frozen(self) -> bool:
        """Whether an alarm is open, so that the baseline does not grow."""
        return any(level == ALARM for state in self.parts.values() for level in state.levels)

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats keep every bit."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["parts"] = {part: state.to_json() for part, state in sorted(self.parts.items())}
        data["channels"] = {part: list(names) for part, names in sorted(self.channels.items())}
        data["waiting"] = [list(one) for one in self.waiting]
        return data | {"patients": list(self.patients), "noticed": list(self.noticed)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Course:
        """What `to_json` gave."""
        return cls(**{
            **data, "parts": {part: State.from_json(one) for part, one in data["parts"].items()},
            "channels": {part: tuple(names) for part, names in data["channels"].items()},
            "waiting": tuple((day, count) for day, count in data["waiting"]),
            "patients": tuple(data["patients"]), "noticed": tuple(data["noticed"]),
        })  # fmt: skip


@dataclass(frozen=True)
class Happening:
    """Something to tell. `kind`: notice, watch, opened or cleared; `value`: the new category, or what cleared it."""

    kind: str
    part: str
    channel: str
    seq: int
    at: float
    study_uid: str
    value: str = ""
    statistic: float = 0.0
    alone: bool = True


def begin(normal: Normal, course: Course, seq: int) -> Course:
    """A new baseline was accepted by event `seq`: the evidence begins anew, and so does what may join it."""
    return replace(
        course, baseline=normal.key, version=normal.baseline.version, accepted=seq, units=0, noticed=(), waiting=(),
        parts={part: family.start() for part, family in normal.parts.items()}, channels=_names(normal), joined=seq,
        joined_from=min(seq, course.day_start), keep=True,
    )  # fmt: skip


def advance(normal: Normal | None, course: Course, seen: Observation) -> tuple[Course, list[Happening]]:
    """One observation. A second study of a patient on a day changes nothing; a label or review is no unit."""
    units = Units(course.day, course.patients)
    counts = units.counts(seen)
    if not counts and seen.seen.get(PATIENT) is not None:
        return course, []
    changed: dict[str, Any] = {}
    if counts:
        start = seen.seq - 1 if units.day != course.day else course.day_start
        changed = {"units": course.units + 1, "day": units.day, "patients": tuple(sorted(units.patients)),
                   "day_start": start}  # fmt: skip
    if normal is None:
        return (replace(course, **changed) if changed else course), []
    frozen, told = course.frozen, list[Happening]()
    parts, noticed, values = dict(course.parts), course.noticed, normal.see(seen.seen)
    new: list[tuple[str, str, str, str]] = []
    for part, watched in normal.parts.items():
        parts[part], reading = detectors.step(watched, course.parts[part], values)
        new += [(part, channel, value, f"{channel}={value}") for channel, value in reading.new]
        for change in reading.changes:
            kind = {ALARM: "opened", WATCH: "watch"}.get(change.after, "cleared" if change.before == ALARM else "")
            if kind:
                why = "its evidence fell below a hundredth of the threshold" if kind == "cleared" else ""
                told.append(Happening(kind, part, change.channel, seen.seq, seen.at, seen.study_uid, why,
                                      change.standing, change.alone))  # fmt: skip
    new += [(kinds.MODEL, name, value, name) for name, value in normal.news(seen.seen)]
    for part, channel, value, word in new:
        if word not in noticed and len(noticed) < _MOST_NOTICES:
            noticed = (*noticed, word)
            told.append(Happening("notice", part, channel, seen.seq, seen.at, seen.study_uid, value))
    if counts:
        changed["waiting"] = _waits(course.waiting, day_of(seen.at))
    course = replace(course, parts=parts, noticed=noticed, **changed)
    return _thawed(course, frozen, keep=False, seq=seen.seq), told


def resolve(
    normal: Normal, course: Course, channel: str, resolution: str, seq: int, at: float
) -> tuple[Course, list[Happening]]:
    """A person resolved the alarm of a channel by event `seq`. After a false alarm, or data that were put right, its
    evidence begins anew, which clears it; an accepted change waits for its new baseline."""
    for part, watched in normal.parts.items():
        if channel in watched.names and resolution in CLEARING:
            state = course.parts[part]
            if state.levels[watched.names.index(channel)] != ALARM:
                return course, []
            frozen = course.frozen
            keep = course.keep and resolution == "false-alarm"
            course = replace(course, parts={**course.parts, part: detectors.clear(watched, state, channel)}, keep=keep)
            told = Happening(
                "cleared", part, channel, seq, at, "", f"resolved as {resolution}: its evidence begins anew"
            )
            return _thawed(course, frozen, keep, seq), [told]
    return replace(course, keep=course.keep and resolution == "false-alarm"), []


def _waits(waiting: tuple[tuple[int, int], ...], day: int) -> tuple[tuple[int, int], ...]:
    if waiting and waiting[-1][0] == day:
        return (*waiting[:-1], (day, waiting[-1][1] + 1))
    return (*waiting, (day, 1))


def _thawed(course: Course, frozen: bool, keep: bool, seq: int) -> Course:
    """The last alarm closed just now: what waited meanwhile may join only when all of them were false."""
    if not frozen or course.frozen:
        return course
    if keep:
        return replace(course, keep=True)
    return replace(course, waiting=(), joined=seq, joined_from=course.day_start, keep=True)


def due(course: Course) -> int:
    """How many of those that wait are to join the baseline now: 1,000 newer ones came, or 30 days went by."""
    if course.frozen or not course.waiting:
        return 0
    total, newest = sum(count for _, count in course.waiting), course.waiting[-1][0]
    old = sum(count for day, count in course.waiting if day <= newest - LAG_DAYS)
    found = max(total - LAG_STUDIES, old)
    return found if found >= BATCH else 0


def grow(before: Normal, after: Normal, course: Course, count: int, seq: int, day_start: int) -> Course:
    """`count` of those that wait have joined, the last of them by event `seq` on a day that began after `day_start`."""
    left, rest = [], count
    for day, many in course.waiting:
        taken = min(rest, many)
        rest -= taken
        if many > taken:
            left.append((day, many - taken))
    parts = {
        part: carried(before.parts[part], family, course.parts[part]) if part in before.parts else family.start()
        for part, family in after.parts.items()
    }
    return replace(course, version=after.baseline.version, parts=parts, channels=_names(after),
                   waiting=tuple(left), joined=seq,
                   joined_from=day_start)  # fmt: skip


def _names(normal: Normal) -> dict[str, tuple[str, ...]]:
    return {part: family.names for part, family in normal.parts.items()}
