"""Holds the log against its chain and against every tree head: those in the database and those that were exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node import audit
from node.audit_settings import SHORTEST
from node.proof import restored, standing
from node.proof.heads import Head, Keys
from node.proof.merkle import nodes_of
from node.schema import events as log

DATABASE = "the database"
DAY = 86400.0  # seconds


@dataclass(frozen=True)
class Verdict:
    """`events`: how many there are up to the first that does not hold, which `broken` names in one line (None: all
    hold); `signed`: how many of them stand under a signed head; `heads`: how many different heads were held against
    the log; `purged`: events that are gone on purpose, under a head; `restored`: what somebody said is lost by a
    restore from a back-up, of which whoever asks must be told."""

    events: int
    broken: str | None
    signed: int = 0
    heads: int = 0
    purged: int = 0
    restored: tuple[audit.Event, ...] = ()


Nodes = Callable[[sa.Connection, int, str], Iterator[list[bytes]]]
"""The leaf hashes of the events after one, whose hash is given, in order, in batches. Raises audit.Broken."""


def in_order(connection: sa.Connection, after: int, previous: str) -> Iterator[list[bytes]]:
    """One after another, in this process and this transaction."""
    return map(nodes_of, audit.walk(connection, after, previous))


def verify(
    connection: sa.Connection, exported: Mapping[str, Sequence[Head]], keys: Keys | None, nodes: Nodes = in_order
) -> Verdict:
    """Look at everything. `exported`: the heads of each file, by its name; `keys`: the public keys that signatures must
    be of (None: there are none to check with)."""
    stored = standing.heads(connection)
    said = restored.told(connection)
    exported = {source: restored.left(heads, stored, said) for source, heads in exported.items()}
    lost = tuple({one.body["digest"]: one for one in said}.values())
    told: dict[int, dict[Head, str]] = {}  # size -> heads with where they stand
    for source, heads in ((DATABASE, stored), *exported.items()):
        for head in heads:
            told.setdefault(head.size, {}).setdefault(head, source)
    try:
        row = standing.last(connection, purged=True) if standing.there(connection) else None
        begin = standing.taken_up(row)
        purged = begin.tree.size
        _before(connection, purged)
        for head, source in (one for size in sorted(told) for one in told[size].items()):
            if keys is not None and not head.holds(keys):
                raise audit.Broken(0, f"the head of {head.size} events in {source} is not signed with a key of ours")
        events, signed = _walk(begin, told, nodes(connection, purged, begin.last_hash))
        _beyond(told, events)
        for source, heads in exported.items():
            _same(source, heads, stored)
        _on_record(connection, stored, purged)
    except audit.Broken as broken:
        return Verdict(max(0, broken.seq - 1), broken.reason, restored=lost)
    return Verdict(events, None, signed, len(told), purged, lost)


def _before(connection: sa.Connection, purged: int) -> None:
    """Nothing stands before the first event: the chain would not meet it."""
    first = connection.execute(sa.select(sa.func.min(log.c.seq))).scalar()
    if first is not None and first <= purged:
        raise audit.Broken(first, f"event {first} stands before the first one of the log, which is {purged + 1}")


def _walk(
    begin: standing.Standing, told: Mapping[int, Mapping[Head, str]], batches: Iterator[list[bytes]]
) -> tuple[int, int]:
    """Go through the chain and look at the root at each head. Return how many events there are, and how many are under
    a head."""
    tree, held = begin.tree, begin.tree.size
    ahead: Iterator[int] = iter(sorted(size for size in told if size >= held))
    size = next(ahead, None)
    for nodes in batches:
        taken = 0
        while size is not None and size <= tree.size + len(nodes) - taken:
            step = size - tree.size
            tree.add(nodes[taken : taken + step])
            taken += step
            root = tree.root().hex()
            for head, source in told[size].items():
                if head.root != root:
                    reason = (
                        f"events {held + 1} to {size}: one of them is not what it was when their head was signed at "
                        f"{head.at} ({source})"
                    )
                    raise audit.Broken(held + 1, reason)
            held, size = size, next(ahead, None)
        tree.add(nodes[taken:])
    return tree.size, held


def _beyond(told: Mapping[int, Mapping[Head, str]], events: int) -> None:
    """Heads of more events than there are: the log was cut, or the database is an older copy of itself."""
    size = max(told, default=0)
    if size > events:
        head, source = next(iter(told[size].items()))
        reason = (
            f"event {events + 1} is missing: {size} events were there when a head was signed at {head.at} "
            f"({source}); the log was cut, or this is an older copy of the database"
        )
        raise audit.Broken(events + 1, reason)


def _same(source: str, heads: Sequence[Head], stored: Sequence[Head]) -> None:
    """A file holds the database's heads up to its own last one, in their order, and no others."""
    if not heads:
        return
    there = {head.size: head for head in heads}
    for head in stored:
        if head.size <= heads[-1].size and there.pop(head.size, None) is None:
            raise audit.Broken(0, f"the head of {head.size} events is in {DATABASE}, but not in {source}")
    for size in there:
        raise audit.Broken(0, f"the head of {size} events is in {source}, but not in {DATABASE}")


def _on_record(connection: sa.Connection, stored: Sequence[Head], purged: int) -> None:
    """Every event `audit.head` has its head in the database, and every head its event; so has what is purged."""
    roots = {head.size: head.root for head in stored}
    told = list(audit.read(connection, "audit"))
    recorded = {int(one.body["size"]): str(one.body["root"]) for one in told if one.type == "audit.head"}
    if purged:
        signed_at = next(head.timestamp / 1000 for head in stored if head.size == purged)
        ours = purged, roots[purged]
        ends = [datetime.fromisoformat(one.at).timestamp() for one in told
                if one.type == "audit.purged" and (one.body["size"], one.body["root"]) == ours]  # fmt: skip
        if not any(end - signed_at >= SHORTEST * DAY for end in ends):  # the head's time is signed: it cannot be older
            raise audit.Broken(1, f"events 1 to {purged} are gone, and not because their retention was over")
    for size, root in recorded.items():
        if roots.get(size) != root:
            raise audit.Broken(0, f"the head of {size} events is in the log, but not in the table of heads")
    for size in roots:
        if size > purged and size not in recorded:
            raise audit.Broken(0, f"the head of {size} events is in the table of heads, but not in the log")
