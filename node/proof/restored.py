"""What a restore from a back-up leaves behind: heads that were signed and exported, of events that the database has no
more. An event of the log, itself under a signed head, may say of them that they are lost and who says so; no other head
may be missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from node import audit
from node.audit import Event
from node.proof import standing
from node.proof.heads import Head
from node.schema import events

TYPE = "audit.restored"


def digest_of(head: Head) -> str:
    """SHA-256 (hex) of a head's line in the file of heads, without the end of the line."""
    return hashlib.sha256(head.line().encode()).hexdigest()


def told(connection: sa.Connection) -> list[Event]:
    """The events that say so, oldest first; of one that was said again before the log was purged, each copy. One that
    was changed says nothing: whoever walks the chain finds it."""
    found = connection.execute(sa.select(events).where(events.c.type == TYPE).order_by(events.c.seq))
    return [audit.as_event(row) for row in found if _is_whole(row.body)]


def _is_whole(text: Any) -> bool:
    try:
        one = json.loads(text)
    except (ValueError, TypeError):
        return False
    return isinstance(one, dict) and isinstance(one.get("digest"), str) and isinstance(one.get("heads"), list)


def left(heads: Iterable[Head], stored: Sequence[Head], said: Sequence[Event]) -> list[Head]:
    """Exported heads without those that are lost by what was `said` under one of the `stored` heads."""
    signed = stored[-1].size if stored else 0
    lost = {digest for one in said if one.seq <= signed for digest in one.body["heads"]}
    there = set(stored)
    return [head for head in heads if head in there or digest_of(head) not in lost]


def body(lost: Sequence[Head], stored: Sequence[Head], exported: Sequence[Head], by: str, why: str) -> dict[str, Any]:
    """What the event says. `lost`: the exported heads that the database does not have."""
    there = set(stored)
    kept = max((head.size for head in exported if head in there), default=0)
    until = max(head.size for head in lost)
    digests = [digest_of(head) for head in lost]
    together = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {
        "by": by, "why": why, "after": kept, "until": until, "lost_at_most": until - kept, "lost_heads": len(lost),
        "digest": together, "heads": digests,
    }  # fmt: skip


def to_carry(connection: sa.Connection, size: int) -> list[Event] | None:
    """What must be said again before the events up to `size` may be purged, because the heads stay missing; None: it is
    said again, but not yet under a head."""
    newest = standing.last(connection)
    signed = 0 if newest is None else newest.size
    said = told(connection)
    again = {one.body["digest"]: one.seq for one in said if one.seq > size}
    old = {one.body["digest"]: one for one in said if one.seq <= size}
    if any(seq > signed for digest, seq in again.items() if digest in old):
        return None
    return [one for digest, one in old.items() if digest not in again]
