"""Purging: rows say that files are gone before the files go, and nothing goes that something holds."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from node import audit, faults, retention, states
from node.retention import Pile
from node.schema import studies
from node.sections import Keep
from node.store.base import Base


class Retention(Base):
    """What the keep loop writes, and `overread purge`."""

    def purge(self, pile: Pile, before: float, keep: Keep, reason: str, actor: str) -> list[str] | None:
        """Say in the rows that a pile's files are gone; return them (paths under the spool), which may then be deleted.

        None, and nothing changed, when something holds the pile by now or it is no longer older than `before` (seconds
        since the epoch): an instance came, a peer asked for storage commitment, a person tried a delivery again.
        """
        now = self.clock()
        with self._write() as connection:
            found = retention.find(connection, pile.kind, before, keep, now, key=pile.key)
            if not found:
                return None
            [pile] = found
            gone = retention.paths(connection, pile)
            retention.mark(connection, pile, now)
            about = {"reason": reason, "instances": pile.files, "bytes": pile.bytes, "since": _utc(pile.since)}
            type_ = "results.purged"
            if pile.kind == "study":
                type_ = "study.purged"
                row = connection.execute(sa.select(studies).where(studies.c.id == pile.key)).one()
                connection.execute(
                    studies.update().where(studies.c.id == pile.key)
                    .values(state=states.move("study", row.state, "purged"))
                )  # fmt: skip
                about["revision"] = row.revision
            elif pile.kind == "results":
                about["job"] = pile.key
            else:
                about["returned"] = True
            audit.append(connection, now, type_, actor, f"study/{pile.study_uid}", about)
            faults.point("keep.purging")
        return gone


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
