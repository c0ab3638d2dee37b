"""The watch loop: reads on in the audit log, steps the detectors, keeps what follows, tells people."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import exc

from node import logs
from node.audit import Event
from node.config import Config
from node.errors import TryAgain
from node.queries import Queries
from node.store import Cleared, Grown, NewAlarm, Notice, Step, Store
from node.watch import account, kinds, limits, stop_rule, tell
from node.watch.account import Past
from node.watch.course import Happening
from node.watch.normal import Normal, digest
from node.watch.observe import Source, seconds
from node.watch.watcher import Taken, Watcher

log = logs.get(__name__)
EVERY = 1.0  # seconds between two looks at the log
_LIMITS_EVERY = 60.0  # seconds between two looks at fixed limits
_AROUND_EVERY = 5.0  # and at what is to be told
_AFTER_FAILURE = 10.0  # seconds


def serve(
    config: Config, store: Store, queries: Queries, stop: threading.Event, sources: Mapping[str, Source]
) -> None:  # fmt: skip
    """Watch until `stop` is set. `sources`: what labels and reviews observe."""
    watch = Watch(config, store, queries, sources)
    while not stop.is_set():
        more = False
        for turn in (watch.read_on, watch.look_around):  # what keeps one from its work does not keep the other
            try:
                more = bool(turn()) or more
            except TryAgain as error:
                log.warning("watch waits", reason=error.reason)
            except Exception as error:  # noqa: BLE001  the loop's one broad except: a defect must not end the watch
                log.error("watch failed", error=type(error).__name__, where=logs.where(error))
                stop.wait(_AFTER_FAILURE)
        if not more:
            stop.wait(EVERY)


class Watch:
    """The loop's steps. What it holds in memory is what the database holds; after any failure it is read again."""

    def __init__(
        self, config: Config, store: Store, queries: Queries, sources: Mapping[str, Source] | None = None
    ) -> None:  # fmt: skip
        self._config, self._store, self._queries = config, store, queries
        self.watcher = Watcher(config.watch.site, sources)
        self._loaded = False
        self._limits_at, self._around_at = 0.0, 0.0

    def read_on(self) -> bool:
        """Take the next events of the log in; False when there were none. Raises TryAgain."""
        try:
            with self._store.engine.connect().execution_options(reading=True) as connection:
                if not self._loaded:
                    self.watcher.load(connection)
                    self._loaded = True
                before = self.watcher.seq
                self._loaded = False  # until what follows is kept, memory is ahead of the database
                taken = self.watcher.take(connection)
                if taken is None:
                    self._loaded = True
                    return False
                step = self._step(connection, before, taken)
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
            raise TryAgain("the database does not answer") from error
        self._loaded = self._store.save_watch(step)
        if self._loaded:
            _log(step)
        return True

    def look_around(self) -> None:
        """What depends on the time: limits, escalation, the stop-rule, messages. Raises TryAgain."""
        watch = self._config.watch
        if time.monotonic() < self._around_at:
            return
        self._around_at = time.monotonic() + _AROUND_EVERY
        if time.monotonic() >= self._limits_at:
            self.look_at_limits()
            self._limits_at = time.monotonic() + _LIMITS_EVERY
        self._store.escalate_alarms([hours * 3600 for hours in watch.escalate_after], watch.via)
        if watch.on_stop != "nothing":
            for alarm in self._queries.alarms(open_only=True):
                if alarm["stop"] == "due":
                    stop_rule.apply(self._config, self._store, self._queries, alarm)
        tell.send_due(self._store, watch)

    def look_at_limits(self) -> None:
        """Raise and clear the alarms of fixed limits. Raises TryAgain."""
        via, now = self._config.watch.via, self._store.clock()
        try:
            with self._store.engine.connect().execution_options(reading=True) as connection:
                crossed = limits.look(connection, self._config, now)
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
            raise TryAgain("the database does not answer") from error
        for one in crossed:
            story = {"says": one.says, "since": now, "facts": one.facts}
            if self._store.open_alarm(NewAlarm(one.family, one.channel, one.kind, 0, story), via):
                log.error("alarm", family=one.family, channel=one.channel, says=one.says)
        still = {(one.family, one.channel) for one in crossed}
        for alarm in self._queries.alarms(open_only=True):
            if alarm["kind"] in ("limit", "silence") and (alarm["family"], alarm["channel"]) not in still:
                self._store.clear_alarm(alarm["family"], alarm["channel"], "its cause has gone", via)
                log.info("alarm over", family=alarm["family"], channel=alarm["channel"])

    def _step(self, connection: sa.Connection, before: int, taken: Taken) -> Step:
        pasts: dict[tuple[str, int], Past] = {}  # of one change several channels alarm at once
        happened: list[NewAlarm | Cleared | Notice] = []
        for family, normal, course, one in taken.happened:
            key = family, course.accepted
            if one.kind == "opened" and key not in pasts:
                pasts[key] = account.past(connection, self.watcher, family, normal, course, taken.seq)
            happened.append(self._told(family, normal, one, pasts.get(key)))
        happened += [_golden(event) for event in taken.golden]
        near = self.watcher.standings(taken.moved)
        states = {
            family: (taken.seq, text, near.get(family)) for family, text in self.watcher.states(taken.moved).items()
        }
        grown = [self._grown(family, normal) for family, normal in taken.grown]
        own = self.watcher.own_state()
        return Step(before, taken.seq, own, states, happened, grown, self._config.watch.via)

    def _told(self, family: str, normal: Normal, one: Happening, past: Past | None) -> NewAlarm | Cleared | Notice:
        if one.kind == "opened" and past is not None:
            story = account.story(normal, one, past.upto(one.seq), self._config.watch.stop_tolerance)
            return NewAlarm(family, one.channel, "drift", one.seq, story, bool(story.get("stop")))
        if one.kind == "cleared":
            return Cleared(family, one.channel or None, one.value)
        body = {"what": one.kind, "channel": one.channel, "seq": one.seq, "study_uid": one.study_uid}
        if one.kind == "notice":
            says = f"{one.channel} is {one.value!r}, which the baseline has never seen"
            return Notice(family, {**body, "value": one.value, "says": says})
        threshold = normal.parts[one.part].threshold
        says = f"{one.channel} has a tenth of the evidence for an alarm"
        return Notice(family, {**body, "statistic": one.statistic, "threshold": threshold, "says": says}, aloud=False)

    @staticmethod
    def _grown(family: str, normal: Normal) -> Grown:
        text = normal.to_text()
        summary = {"studies": len(normal.baseline.days), "per_day": normal.per_day, "thresholds": normal.thresholds}
        return Grown(family, normal.key, normal.baseline.version, digest(text), text, summary)


def _golden(event: Event) -> NewAlarm | Cleared:
    """A golden set that does not hold is an alarm, and a case for the stop-rule, until it holds or is accepted anew."""
    if event.type != "golden.mismatch":
        return Cleared(event.object, "golden", f"{event.type} by {event.actor}")
    pipeline = event.object.removeprefix("pipeline/")
    says = f"golden set of {pipeline}: its synthetic study or a twin of that gives another result than it should"
    story = {"says": says, "since": seconds(event), "facts": dict(event.body)}
    return NewAlarm(event.object, "golden", "golden", event.seq, story, stop=True)


def _log(step: Step) -> None:
    for one in step.happened:
        if isinstance(one, NewAlarm):
            log.error("alarm", family=one.family, channel=one.channel, says=one.story["says"])
        elif isinstance(one, Cleared):
            log.info("alarm over", family=one.family, channel=one.channel or "all", why=one.why)
        else:
            log.warning("notice", family=one.family, says=one.body["says"])


def budgets(config: Config, pipeline: str) -> dict[str, float]:
    """False alarms a year of each part of a pipeline's family."""
    return {kinds.MODEL: config.watch.budget(pipeline), kinds.SERVICE: config.watch.service_false_alarms_per_year}


def family_named(found: Sequence[str], wanted: str) -> str | None:
    """The one family that is meant by its whole name, or by its pipeline; None for none, or for several."""
    exact = [name for name in found if name == wanted]
    by_pipeline = [name for name in found if name.partition("|")[0] == wanted]
    meant = exact or by_pipeline
    return meant[0] if len(meant) == 1 else None
