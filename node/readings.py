"""How the node stands, in numbers: what /metrics and /healthz tell. Reads only; each query is bounded by an index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from node.queries import Queries
from node.schema import (
    alarms,
    associations,
    deliveries,
    events,
    instances,
    jobs,
    output_instances,
    outputs,
    studies,
    tallies,
    watch_states,
)

_RECENT = 30 * 86400.0  # seconds
_LIVES = {"loop.started": True, "loop.ended": False}


class Readings(Queries):
    """Numbers about the database of `engine`. `clock` gives seconds since the epoch. Methods raise TryAgain."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float]) -> None:
        super().__init__(engine)
        self._clock = clock

    def tallies(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Every counter that was kept: its name, its labels and its value."""
        with self._read() as connection:
            rows = connection.execute(sa.select(tallies).order_by(tallies.c.name, tallies.c.labels)).all()
        return [(row.name, json.loads(row.labels), row.value) for row in rows]

    def studies(self) -> Mapping[str, int]:
        """How many studies stand in each state."""
        return self._by_state(studies)

    def jobs(self) -> Mapping[str, int]:
        """How many jobs stand in each state."""
        return self._by_state(jobs)

    def _by_state(self, table: sa.Table) -> Mapping[str, int]:
        query = sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
        with self._read() as connection:
            return {state: count for state, count in connection.execute(query)}

    def deliveries(self) -> Mapping[tuple[str, str], int]:
        """How many deliveries stand in each state, for each peer: {(peer, state): count}."""
        query = sa.select(deliveries.c.peer, deliveries.c.state, sa.func.count())
        with self._read() as connection:
            rows = connection.execute(query.group_by(deliveries.c.peer, deliveries.c.state))
            return {(peer, state): count for peer, state, count in rows}

    def queue_ages(self) -> Mapping[str, float]:
        """Seconds that the oldest job and delivery wait or run, since they were made; 0 where none does."""
        now = self._clock()
        with self._read() as connection:
            return {
                name: max(0.0, now - oldest) if oldest is not None else 0.0
                for name, table, states in (
                    ("jobs", jobs, ("due", "running")), ("deliveries", deliveries, ("due", "sending"))
                )
                for oldest in [connection.execute(
                    sa.select(sa.func.min(table.c.created_at)).where(table.c.state.in_(states))).scalar()]
            }  # fmt: skip

    def open_associations(self) -> int:
        """Associations that have not ended."""
        # Only the newest can be open: a listener that starts ends what a former one left.
        newest = sa.select(associations.c.ended).order_by(associations.c.id.desc()).limit(1000).subquery()
        with self._read() as connection:
            return connection.execute(sa.select(sa.func.count()).where(newest.c.ended.is_(None))).scalar_one()

    def spool_bytes(self) -> Mapping[str, int]:
        """Bytes of received instances and of results whose files are there. Looks at every row: not for each scrape."""
        made = (
            sa.select(sa.func.sum(output_instances.c.size))
            .join(outputs, outputs.c.id == output_instances.c.output_id).join(jobs, jobs.c.id == outputs.c.job_id)
            .where(jobs.c.purged_at.is_(None))
        )  # fmt: skip
        came = sa.select(sa.func.sum(instances.c.size)).where(instances.c.purged_at.is_(None))
        with self._read() as connection:
            return {
                "received": int(connection.execute(came).scalar() or 0),
                "results": int(connection.execute(made).scalar() or 0),
            }

    def open_alarms(self) -> Mapping[tuple[str, ...], int]:
        """Alarms that are not over: {(pipeline, model, channel, kind, state): count}."""
        keys = (alarms.c.family, alarms.c.channel, alarms.c.kind, alarms.c.state)
        query = sa.select(*keys, sa.func.count()).where(alarms.c.cleared_at.is_(None)).group_by(*keys)
        found: Counter[tuple[str, ...]] = Counter()
        with self._read() as connection:
            for family, channel, kind, state, count in connection.execute(query):
                pipeline, model, _ = (*family.split("|"), "", "")[:3]
                found[(pipeline, model, channel, kind, state)] += count
        return found

    def standings(self) -> Mapping[tuple[str, str, str], float]:
        """How near each channel of monitoring is to an alarm, which is 1: {(pipeline, model, channel): part}, of models
        that ran within 30 days."""
        query = (
            sa.select(watch_states.c.family, watch_states.c.standing)
            .where(watch_states.c.standing.is_not(None), watch_states.c.updated_at > self._clock() - _RECENT)
            .order_by(watch_states.c.updated_at)
        )
        found = {}
        with self._read() as connection:
            for family, text in connection.execute(query):
                pipeline, model, _ = family.split("|")
                found.update({(pipeline, model, channel): part for channel, part in json.loads(text).items()})
        return found

    def loops(self, names: Sequence[str]) -> Mapping[str, bool]:
        """Whether each of the node's processes lives: it was ready since the node started, and has not ended."""
        with self._read() as connection:
            started = _last(connection, "node", ("node.started",))
            found = {name: _last(connection, f"loop/{name}", tuple(_LIVES)) for name in names}
        since = started[0] if started else 0
        return {name: last is not None and last[0] > since and _LIVES[last[1]] for name, last in found.items()}

    def peers(self, names: Sequence[str]) -> Mapping[str, bool]:
        """Whether each peer was well when the node last had to do with it: not since its last `peer.away`."""
        with self._read() as connection:
            # Who sends learns anew how a peer fares when it starts again, and says nothing of one that is well.
            fresh = [_last(connection, "node", ("node.started",)), _last(connection, "loop/send", ("loop.ended",))]
            since = max((one[0] for one in fresh if one), default=0)
            found = {name: _last(connection, f"peer/{name}", ("peer.away", "peer.back")) for name in names}
        return {name: last is None or last[0] < since or last[1] == "peer.back" for name, last in found.items()}


def _last(connection: sa.Connection, object_: str, types: Sequence[str]) -> tuple[int, str] | None:
    row = connection.execute(
        sa.select(events.c.seq, events.c.type).where(events.c.object == object_, events.c.type.in_(types))
        .order_by(events.c.seq.desc()).limit(1)
    ).first()  # fmt: skip
    return None if row is None else (row.seq, row.type)
