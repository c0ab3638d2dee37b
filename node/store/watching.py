"""What monitoring writes: where its detectors stand, with alarms and notices; baselines; alarms' lives; messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from node import audit, faults
from node.errors import GiveUp, IllegalMove
from node.schema import alarms, messages, watch_states
from node.store.base import new_id
from node.store.baselines import Baselines, Grown
from node.watch_schema import ALL

EPISODE = 86400.0  # seconds after an alarm in which another of its family is taken to have the same cause
RESOLUTIONS = ("false-alarm", "data-fixed", "accepted-change", "model-changed")


@dataclass(frozen=True)
class NewAlarm:
    """An alarm that was raised. `kind`: drift, limit, silence or golden; `seq`: of the event that raised it; `stop`:
    whether the stop-rule applies."""

    family: str
    channel: str
    kind: str
    seq: int
    story: Mapping[str, Any]
    stop: bool = False


@dataclass(frozen=True)
class Cleared:
    """An alarm is over; of all channels of the family where `channel` is None."""

    family: str
    channel: str | None
    why: str


@dataclass(frozen=True)
class Notice:
    """A fact to tell. `aloud`: not only in the log."""

    family: str
    body: Mapping[str, Any]
    aloud: bool = True


@dataclass(frozen=True)
class Step:
    """What a stretch of the log changed, from `before` to `after`. `states`: family -> (seq, JSON, JSON of how near its
    channels are to an alarm); `own`: what belongs to the place in the log; `happened`: in its order; `via`: through
    what people are told."""

    before: int
    after: int
    own: str
    states: Mapping[str, tuple[int, str, str | None]] = field(default_factory=dict)
    happened: Sequence[NewAlarm | Cleared | Notice] = ()
    grown: Sequence[Grown] = ()
    via: Sequence[str] = ()


class Watching(Baselines):
    """What the watch loop writes, and people about its alarms."""

    def save_watch(self, step: Step) -> bool:
        """All that a stretch of the log changed, or nothing: states, alarms, their events and messages. False: another
        process has read on from `before` already."""
        now = self.clock()
        with self._write() as connection:
            if not self._moves(connection, step, now):
                return False
            for grown in step.grown:
                self._add_grown(connection, grown, now)
            for family, (seq, text, standing) in step.states.items():
                self._put_state(connection, family, seq, text, now, standing)
            for one in step.happened:
                if isinstance(one, NewAlarm):
                    self._open(connection, one, now, step.via)
                elif isinstance(one, Cleared):
                    self._clear(connection, one.family, one.channel, one.why, now, step.via)
                else:
                    audit.append(connection, now, "notice", "watch", f"watch/{one.family}", one.body)
                    told = {"event": "notice", "family": one.family, **one.body}
                    self._tell(connection, None, step.via if one.aloud else (), told, now)
            faults.point("watch.keeping")
        faults.point("watch.kept")
        return True

    def open_alarm(self, new: NewAlarm, via: Sequence[str]) -> bool:
        """An alarm that time alone raised; False when one is open for its channel."""
        with self._write() as connection:
            return self._open(connection, new, self.clock(), via)

    def clear_alarm(self, family: str, channel: str, why: str, via: Sequence[str]) -> bool:
        """Its cause has gone; False when none is open."""
        with self._write() as connection:
            return self._clear(connection, family, channel, why, self.clock(), via)

    def acknowledge_alarm(self, key: int, by: str, why: str, episode: bool = False) -> list[int]:
        """A person has seen it, and with `episode` all open ones of its episode; give which. IllegalMove: it is not
        open any more; GiveUp: there is none."""
        with self._write() as connection:
            now, rows = self.clock(), self._meant(connection, key, episode, ("open",))
            for row in rows:
                self._set(connection, row.id, state="acknowledged", acknowledged_at=now, acknowledged_by=by)
                self._event(connection, now, "alarm.acknowledged", row, {"by": by, "why": why}, f"user/{by}")
        return [row.id for row in rows]

    def resolve_alarm(self, key: int, by: str, why: str, resolution: str, episode: bool = False) -> list[int]:
        """A person says what it was, one of RESOLUTIONS, and with `episode` what all of its episode were; give which.
        Each is cleared when the watch loop reads that. IllegalMove: it is resolved or cleared; GiveUp: there is none,
        or no such resolution."""
        if resolution not in RESOLUTIONS:
            raise GiveUp(f"{resolution!r} is no resolution; want one of {', '.join(RESOLUTIONS)}")
        values = {"state": "resolved", "resolved_by": by, "resolution": resolution, "why": why}
        with self._write() as connection:
            now, rows = self.clock(), self._meant(connection, key, episode, ("open", "acknowledged"))
            for row in rows:
                self._set(connection, row.id, resolved_at=now, **values)
                body = {"by": by, "why": why, "resolution": resolution}
                self._event(connection, now, "alarm.resolved", row, body, f"user/{by}")
        return [row.id for row in rows]

    def mute_alarm(self, key: int, by: str, why: str, until: float) -> None:
        """Nobody is told of its channel until then; it stays on the list. GiveUp: no reason, or an end in the past."""
        with self._write() as connection:
            row, now = self._alarm(connection, key), self.clock()
            if not why.strip() or until <= now:
                raise GiveUp("a mute needs a reason and an end that is still to come")
            self._set(connection, key, muted_until=until)
            self._event(connection, now, "alarm.muted", row, {"by": by, "why": why, "until": until}, f"user/{by}")

    def escalate_alarms(self, after: Sequence[float], via: Sequence[str]) -> int:
        """Tell again of alarms that nobody has acknowledged for each time (seconds) of `after`, once of an episode.
        Return of how many alarms."""
        now = self.clock()
        wanted = sa.and_(
            alarms.c.state == "open", alarms.c.escalated < len(after),
            alarms.c.opened_at <= now - min(after, default=0),
            sa.func.coalesce(alarms.c.muted_until, 0.0) <= now,
        )  # fmt: skip
        if not after or not self._any(sa.select(alarms.c.id).where(wanted)):
            return 0
        told, episodes = 0, set[int]()
        with self._write() as connection:
            for row in connection.execute(sa.select(alarms).where(wanted).order_by(alarms.c.id)).all():
                times = sum(now - row.opened_at >= one for one in after)
                if times > row.escalated:
                    self._set(connection, row.id, escalated=times)
                    hours = after[times - 1] / 3600
                    self._event(connection, now, "alarm.escalated", row, {"times": times, "hours": hours}, "watch")
                    if row.episode not in episodes:
                        body = {"event": "alarm.escalated", "hours": hours, **_told(row)}
                        self._tell(connection, row.id, via, body, now)
                    episodes.add(row.episode)
                    told += 1
            faults.point("watch.escalating")
        return told

    def settle_stop(self, key: int, body: Mapping[str, Any]) -> None:
        """The stop-rule was applied to an alarm; `body`: what was done."""
        with self._write() as connection:
            row = self._alarm(connection, key)
            self._set(connection, key, stop="done")
            self._event(connection, self.clock(), "alarm.stopped", row, body, "watch")

    # -- parts of a transaction ----------------------------------------------------------------------------------------

    def _moves(self, connection: sa.Connection, step: Step, now: float) -> bool:
        at = connection.execute(sa.select(watch_states.c.seq).where(watch_states.c.family == ALL)).scalar()
        if (at or 0) != step.before:
            return False
        self._put_state(connection, ALL, step.after, step.own, now)
        return True

    @staticmethod
    def _put_state(
        connection: sa.Connection, family: str, seq: int, text: str, now: float, standing: str | None = None
    ) -> None:
        values = {"seq": seq, "updated_at": now, "state": text, "standing": standing}
        changed = connection.execute(watch_states.update().where(watch_states.c.family == family).values(**values))
        if not changed.rowcount:
            connection.execute(watch_states.insert().values(family=family, **values))

    def _open(self, connection: sa.Connection, new: NewAlarm, now: float, via: Sequence[str]) -> bool:
        of_channel = (alarms.c.family == new.family) & (alarms.c.channel == new.channel)
        if connection.execute(sa.select(alarms.c.id).where(of_channel, alarms.c.cleared_at.is_(None))).first():
            return False
        quiet = connection.execute(sa.select(sa.func.max(alarms.c.muted_until)).where(of_channel)).scalar()
        key = new_id(connection.execute(alarms.insert().values(
            family=new.family, channel=new.channel, kind=new.kind, state="open", seq=new.seq, opened_at=now,
            story=json.dumps(dict(new.story)), escalated=0, stop="due" if new.stop else None, muted_until=quiet,
        )))  # fmt: skip
        self._set(connection, key, episode=_episode(connection, new.family, key, now))
        row = self._alarm(connection, key)
        body = {"kind": new.kind, "seq": new.seq, "episode": row.episode, **_short(new.story)}
        self._event(connection, now, "alarm.opened", row, body, "watch")
        if (quiet or 0) <= now:
            self._tell(connection, key, via, {"event": "alarm.opened", **_told(row)}, now)
        return True

    def _clear(
        self, connection: sa.Connection, family: str, channel: str | None, why: str, now: float, via: Sequence[str]
    ) -> bool:
        query = sa.select(alarms).where(alarms.c.family == family, alarms.c.cleared_at.is_(None))
        rows = connection.execute(query if channel is None else query.where(alarms.c.channel == channel)).all()
        for row in rows:
            self._set(connection, row.id, state="cleared", cleared_at=now)
            self._event(connection, now, "alarm.cleared", row, {"why": why, "was": row.state}, "watch")
            if (
                row.state == "open" and (row.muted_until or 0) <= now
            ):  # nobody has looked at it: it does not go silently
                self._tell(connection, row.id, via, {"event": "alarm.cleared", "why": why, **_told(row)}, now)
        return bool(rows)

    @staticmethod
    def _alarm(connection: sa.Connection, key: int) -> sa.Row[Any]:
        row = connection.execute(sa.select(alarms).where(alarms.c.id == key)).first()
        if row is None:
            raise GiveUp(f"there is no alarm {key}; `overread alarms` lists them")
        return row

    def _meant(
        self, connection: sa.Connection, key: int, episode: bool, states: Sequence[str]
    ) -> Sequence[sa.Row[Any]]:
        """The alarm, or those of its whole episode, that are in one of `states`. IllegalMove: none is."""
        row = self._alarm(connection, key)
        which = alarms.c.episode == row.episode if episode else alarms.c.id == key
        query = sa.select(alarms).where(which, alarms.c.state.in_(states)).order_by(alarms.c.id)
        found = connection.execute(query).all()
        if not found:
            others = ", and so is all of its episode" if episode else ""
            raise IllegalMove(f"alarm {key} is {row.state}{others}: it would have to be {' or '.join(states)}")
        return found

    @staticmethod
    def _set(connection: sa.Connection, key: int, **values: Any) -> None:
        connection.execute(alarms.update().where(alarms.c.id == key).values(**values))

    @staticmethod
    def _event(
        connection: sa.Connection, now: float, type_: str, row: sa.Row[Any], body: Mapping[str, Any], actor: str
    ) -> None:
        told = {"alarm": row.id, "family": row.family, "channel": row.channel, **body}
        audit.append(connection, now, type_, actor, f"alarm/{row.id}", told)

    @staticmethod
    def _tell(
        connection: sa.Connection, key: int | None, via: Sequence[str], body: Mapping[str, Any], now: float
    ) -> None:
        for one in via:
            connection.execute(messages.insert().values(
                alarm_id=key, via=one, body=json.dumps(dict(body)), state="due", attempts=0, due_at=now,
                created_at=now,
            ))  # fmt: skip


def _episode(connection: sa.Connection, family: str, key: int, now: float) -> int:
    """The first alarm of what a new one (`key`) of a family belongs to: where another waits for a person, or opened a
    short while ago, the cause is likely the same. An alarm that a person has resolved draws in no later ones."""
    near = sa.or_(alarms.c.state.in_(("open", "acknowledged")), alarms.c.opened_at > now - EPISODE)
    query = sa.select(alarms.c.episode).where(alarms.c.family == family, alarms.c.id != key, near)
    return connection.execute(query.order_by(alarms.c.id.desc()).limit(1)).scalar() or key


def _short(story: Mapping[str, Any]) -> dict[str, Any]:
    """What of a story stands in the event: the tables stay in the alarm's row."""
    return {name: story[name] for name in ("says", "since", "statistic", "threshold", "examples") if name in story}


def _told(row: sa.Row[Any]) -> dict[str, Any]:
    return {"alarm": row.id, "episode": row.episode, "family": row.family, "channel": row.channel, "kind": row.kind,
            "opened_at": row.opened_at, "story": json.loads(row.story)}  # fmt: skip
