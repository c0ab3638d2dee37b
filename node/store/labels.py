"""Labels: added with their history, matured into negatives; and which received documents were read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from node import audit, persons
from node.labels import MATURITY, Added, NewLabel, Word, checked
from node.schema import documents_read, features, jobs, labels, studies
from node.store.base import Base

_CURRENT = labels.c.replaced_at.is_(None)


class Labels(Base):
    """What label import, the reports loop and the maturing write."""

    def add_labels(self, new: Sequence[NewLabel], actor: str = "labels") -> list[Added]:
        """Add labels in one transaction; one answer each, in their order. Raises GiveUp, and nothing is added, when one
        of them is none; TryAgain.

        The same label again changes nothing. Of one source, study and finding the newest counts: by the date of the
        report, and of one date the one that came last. A withdrawal leaves nothing that counts of this source. What is
        replaced or withdrawn stays as history.
        """
        wanted = [checked(label) for label in new]
        now = self.clock()
        told: list[Added] = []
        events: list[tuple[str, str, str, dict[str, Any]]] = []
        with self._write() as connection:
            for label in wanted:
                found = self._named(connection, label)
                words = [self._add_label(connection, label, uid, now, actor, events) for uid in found]
                told.append(Added(label, _strongest(words), tuple(found)))
            audit.append_all(connection, now, events)
        return told

    def _named(self, connection: sa.Connection, label: NewLabel) -> list[str]:
        uids = [label.study] if label.by == "study" else persons.studies_of_accession(connection, label.study)
        here = sa.select(studies.c.study_uid).where(studies.c.study_uid.in_(uids)).order_by(studies.c.study_uid)
        return list(connection.execute(here).scalars())

    def _add_label(
        self, connection: sa.Connection, label: NewLabel, study_uid: str, now: float, actor: str, events: list[Any]
    ) -> Word:
        of_study = (labels.c.study_uid == study_uid) & (labels.c.finding == label.finding)
        before = connection.execute(sa.select(labels).where(of_study).order_by(labels.c.id)).all()
        own = [row for row in before if row.source == label.source]
        standing = next((row for row in own if row.replaced_at is None), None)
        value = None if label.value is None else int(label.value)
        if any((row.value, row.date) == (value, label.date) for row in own):
            return "same"
        if value is None and (standing is None or standing.value is None):
            return "same"
        # A label of a whole day is no older than one of some time on it.
        if standing is not None and label.date and standing.date[: len(label.date)] > label.date:
            return "older"
        if standing is not None:
            connection.execute(labels.update().where(labels.c.id == standing.id).values(replaced_at=now))
        connection.execute(
            labels.insert().values(study_uid=study_uid, finding=label.finding, value=value,
                                   source=label.source, date=label.date, added_at=now)
        )  # fmt: skip
        body: dict[str, Any] = {"finding": label.finding, "source": label.source, "by": label.by}
        if standing is not None and standing.value is not None:
            body["before"] = bool(standing.value)
        if label.by == "accession":
            body["accession"] = self.accession_digest(label.study)
        if value is None:
            events.append(("label.withdrawn", actor, f"study/{study_uid}", body))
            return "withdrawn"
        body |= {"value": label.value, "first": all(row.value is None for row in before)}
        events.append(("label.added", actor, f"study/{study_uid}", body))
        return "replaced" if "before" in body else "added"

    def accession_digest(self, accession: str) -> str:
        """HMAC-SHA256 of an accession number, as events name it. Hex, 32 characters."""
        text = f"accession\x1f{accession.strip()}".encode("utf-8", "surrogateescape")
        return hmac.new(self.salt, text, hashlib.sha256).hexdigest()[:32]

    def mature_labels(self, lag: float, most: int = 500) -> int:
        """Where nothing was reported of a finding within `lag` seconds after a result, record that it is not there;
        at most `most` of each finding at once. Return how many.

        Only while reports come in: of this finding there was one before the time was over, and of any one after it. A
        source that is not yet there, or went silent, makes no negatives.
        """
        now, made = self.clock(), 0
        real = labels.c.source != MATURITY
        with self._away("does not answer"), self.engine.connect().execution_options(reading=True) as connection:
            since = connection.execute(
                sa.select(labels.c.finding, sa.func.min(labels.c.added_at).label("at")).where(real)
                .group_by(labels.c.finding).order_by(labels.c.finding)
            ).all()  # fmt: skip
            newest = float(connection.execute(sa.select(sa.func.max(labels.c.added_at)).where(real)).scalar() or 0)
            ripe: dict[str, list[str]] = {}
            for row in since:
                query = _unreported(row.finding, row.at - lag, newest - lag).limit(most)
                ripe[row.finding] = list(connection.execute(query).scalars())
        for finding, uids in ripe.items():
            if uids:
                made += self._mature(finding, uids, now)
        return made

    def _mature(self, finding: str, uids: Sequence[str], now: float) -> int:
        body = {"finding": finding, "value": False, "source": MATURITY, "by": "study", "first": True}
        with self._write() as connection:
            reported = set(connection.execute(
                sa.select(labels.c.study_uid).where(labels.c.study_uid.in_(uids), labels.c.finding == finding)
            ).scalars())  # fmt: skip
            silent = [uid for uid in uids if uid not in reported]
            if silent:
                connection.execute(labels.insert(), [
                    {"study_uid": uid, "finding": finding, "value": 0, "source": MATURITY, "date": "", "added_at": now}
                    for uid in silent
                ])  # fmt: skip
            audit.append_all(connection, now, [("label.added", "labels", f"study/{uid}", body) for uid in silent])
        return len(silent)

    def document_read(
        self, instance_id: int, study_uid: str, sop_uid: str, labelled: int, reviewed: int, reason: str | None = None
    ) -> None:
        """Record that a received document was read, what came of it, or why it could not be read."""
        now = self.clock()
        body = {"sop_uid": sop_uid, "labels": labelled, "reviews": reviewed}
        with self._write() as connection:
            known = sa.select(documents_read.c.instance_id).where(documents_read.c.instance_id == instance_id)
            if connection.execute(known).first() is not None:
                return
            connection.execute(documents_read.insert().values(
                instance_id=instance_id, at=now, labels=labelled, reviews=reviewed, reason=reason
            ))  # fmt: skip
            body |= {} if reason is None else {"reason": reason}
            audit.append(connection, now, "document.read", "reports", f"study/{study_uid}", body)

    def refuse_message(self, address: str, answer: str, reason: str, count: int = 1) -> None:
        """Record that a caller or a message of HL7 was refused; `answer`: AE, AR, or none."""
        body = {"address": address, "answer": answer, "reason": reason, "count": count}
        with self._write() as connection:
            audit.append(connection, self.clock(), "message.refused", "reports", f"address/{address}", body)


def _unreported(finding: str, after: float, before: float) -> sa.Select[Any]:
    """Studies with a result of the finding that ended between two times, and no label of it."""
    names = (f"output.{finding}.p", f"output.{finding}.positive")
    reported = sa.exists().where(labels.c.study_uid == studies.c.study_uid, labels.c.finding == finding)
    found = (
        sa.select(studies.c.study_uid, sa.func.min(jobs.c.finished_at).label("at"))
        .join(jobs, jobs.c.study_id == studies.c.id)
        .where(
            jobs.c.state == "done", jobs.c.finished_at >= after, jobs.c.finished_at <= before, ~reported,
            sa.exists().where(features.c.job_id == jobs.c.id, sa.func.lower(features.c.name).in_(names)),
        )
        .group_by(studies.c.study_uid).order_by(sa.text("at"), studies.c.study_uid)
    )  # fmt: skip
    return found


def _strongest(words: Sequence[Word]) -> Word:
    order: tuple[Word, ...] = ("replaced", "withdrawn", "added", "older", "same")
    return next((word for word in order if word in words), "unknown")
