"""What we hold of the instances that a peer names, and when such a request covers an open study."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node import dimse
from node.commitment import Reference
from node.schema import commitment_items, commitments, instances

_AT_ONCE = 500  # UIDs in one statement: SQLite has a limit


def failures(
    connection: sa.Connection, references: Sequence[Reference], path: Callable[[str], Path]
) -> Mapping[Reference, int]:
    """The instances that we cannot answer for, each with its Failure Reason (PS3.3, C.14.1.1).

    Held is what has a row that is not purged and, where `path` says that it lies, a file of the size that was written.
    0x0112: we have no such instance, or no longer all of its bytes; 0x0119: we have it, but it is of another SOP class.
    """
    rows: dict[str, list[Any]] = {}
    uids = list(dict.fromkeys(reference.sop_uid for reference in references))
    for start in range(0, len(uids), _AT_ONCE):
        found = connection.execute(
            sa.select(instances.c.sop_uid, instances.c.sop_class, instances.c.path, instances.c.size)
            .where(instances.c.sop_uid.in_(uids[start : start + _AT_ONCE]), instances.c.current == 1,
                   instances.c.purged_at.is_(None))
        )  # fmt: skip
        for row in found:
            rows.setdefault(row.sop_uid, []).append(row)
    failed: dict[Reference, int] = {}
    for reference in references:
        whole = [row for row in rows.get(reference.sop_uid, ()) if _size(path(row.path)) == row.size]
        if not whole:
            failed[reference] = dimse.NO_SUCH_INSTANCE
        elif all(row.sop_class != reference.sop_class for row in whole):
            failed[reference] = dimse.CLASS_INSTANCE_CONFLICT
    return failed


def purged(connection: sa.Connection, study_id: int) -> int:
    """How many of a study's current instances were purged and did not come again."""
    counted = sa.select(sa.func.count()).where(
        instances.c.study_id == study_id, instances.c.current == 1, instances.c.ours == 0,
        instances.c.purged_at.is_not(None),
    )  # fmt: skip
    return int(connection.execute(counted).scalar_one())


def asked_for_by(connection: sa.Connection, study_id: int, since: float) -> str | None:
    """The peer whose storage commitment request says that an open study is complete, or None.

    Such a request came after the study was opened (or opened again) at `since`, names every instance that came since
    then, at least one of them sent by that peer, and names nothing that we do not hold: what is missing might belong
    to this study.
    """
    # Asked of every open study several times a second: most of the time nobody asked for anything.
    recent = sa.select(commitments.c.id).where(commitments.c.created_at >= since).limit(1)
    if connection.execute(recent).first() is None:
        return None
    here = sa.and_(
        instances.c.study_id == study_id, instances.c.received_at >= since,
        instances.c.current == 1, instances.c.ours == 0,
    )  # fmt: skip
    senders = sa.select(instances.c.peer).where(here).distinct()
    item = commitment_items.alias()
    named = (
        sa.exists()
        .where(item.c.commitment_id == commitments.c.id, item.c.sop_uid == instances.c.sop_uid)
        .correlate(commitments, instances)  # both stand outside; only the nearer one would be found by itself
    )
    unnamed = sa.exists(sa.select(instances.c.id).where(here, ~named).correlate(commitments))
    any_instance = instances.alias()
    missing = sa.exists().where(
        commitment_items.c.commitment_id == commitments.c.id,
        ~sa.exists().where(
            any_instance.c.sop_uid == commitment_items.c.sop_uid, any_instance.c.current == 1,
            any_instance.c.purged_at.is_(None),
        ),
    )  # fmt: skip
    asked = sa.select(commitments.c.peer).where(
        commitments.c.peer.in_(senders), commitments.c.created_at >= since, ~unnamed, ~missing
    )
    return connection.execute(asked.order_by(commitments.c.id).limit(1)).scalar()


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
