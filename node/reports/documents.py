"""Reads back what the listener has stored: reports as labels; key object selections and reports as reviews of ours.

A loop of its own, after the instance is stored: no sender waits for it. Each document is read once. Documents of a peer
count only for what it `may`: "label", "review". A report that says of itself that a device made it is no human's word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node import document_classes, logs
from node.config import Config
from node.errors import GiveUp, TryAgain
from node.labels import NewLabel
from node.queries import Queries
from node.reports import content
from node.reports.content import Document
from node.schema import documents_read, instances, output_instances, outputs
from node.spool import Spool
from node.store import Store

log = logs.get(__name__)
POLL = 2.0  # seconds between two looks
_AT_ONCE = 100  # documents
AddReview = Callable[[str, str, str, str, str, float], Any]
"""store.add_review: SOP Instance UID, verdict, by, why, source, seconds since the epoch."""


@dataclass(frozen=True)
class Stored:
    """A received document that nobody has read yet."""

    id: int
    study_uid: str
    sop_uid: str
    path: str
    peer: str
    ours: bool
    received_at: float


@dataclass(frozen=True)
class Verdict:
    """What a document says of a result of ours: accepted | rejected | changed, and why in fixed words."""

    sop_uid: str
    verdict: str
    why: str


def serve(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    """Look for new documents until `stop` is set."""
    reading = Reading(config, store, spool, store.add_review)
    while not stop.wait(POLL):
        try:
            reading.look(stop)
        except TryAgain as error:
            log.warning("reports wait", reason=error.reason)
        except OSError as error:
            log.warning("reports wait: a document is out of reach", reason=error.strerror)
        except Exception as error:  # noqa: BLE001  the loop's one broad except: a defect must not end it
            log.error("reports failed", error=type(error).__name__, where=logs.where(error))


class Unread(Queries):
    """Which documents are to be read, and what of ours they speak of."""

    def newest_read(self) -> int:
        """The id of the newest instance that was read, 0 for none."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.max(documents_read.c.instance_id))).scalar() or 0)

    def after(self, key: int) -> list[Stored]:
        """Documents behind an instance's id, oldest first, that are not results of ours as we made them."""
        made = sa.exists().where(output_instances.c.sop_uid == instances.c.sop_uid)
        with self._read() as connection:
            rows = connection.execute(
                sa.select(instances)
                .where(instances.c.id > key, instances.c.sop_class.like(f"{document_classes.ROOT}%"),
                       instances.c.current == 1, instances.c.purged_at.is_(None), ~made)
                .order_by(instances.c.id).limit(_AT_ONCE)
            ).all()  # fmt: skip
        return [Stored(row.id, row.study_uid, row.sop_uid, row.path, row.peer, bool(row.ours), row.received_at)
                for row in rows]  # fmt: skip

    def outputs_of_ours(self, uids: list[str]) -> dict[str, tuple[int, str]]:
        """Those of some SOP Instance UIDs that are outputs of ours, in their order -> (job, path of the file)."""
        found: dict[str, tuple[int, str]] = {}
        query = sa.select(output_instances.c.sop_uid, outputs.c.job_id, output_instances.c.path).join(
            outputs, outputs.c.id == output_instances.c.output_id
        )
        with self._read() as connection:
            for start in range(0, len(uids), 500):
                some = query.where(output_instances.c.sop_uid.in_(uids[start : start + 500]))
                found |= {row.sop_uid: (row.job_id, row.path) for row in connection.execute(some)}
        return {uid: found[uid] for uid in uids if uid in found}


class Reading:
    """Reads documents in the order in which they came."""

    def __init__(self, config: Config, store: Store, spool: Spool, add_review: AddReview) -> None:
        self._section = config.documents
        self._may = {peer.name: frozenset(peer.may) for peer in config.peers}
        self._store, self._spool, self._add_review = store, spool, add_review
        self._unread = Unread(store.engine)
        self._at: int | None = None

    def look(self, stop: threading.Event | None = None) -> int:
        """Read what is new; return how many documents. Raises TryAgain and OSError: the rest is read later."""
        if self._at is None:
            self._at = self._unread.newest_read()
        count = 0
        while found := self._unread.after(self._at):
            for one in found:
                if stop is not None and stop.is_set():
                    return count
                may = self._may.get(one.peer, frozenset()) & {"label", "review"}
                if may:
                    self._read(one, may)
                    count += 1
                self._at = one.id
        return count

    def _read(self, one: Stored, may: frozenset[str]) -> None:
        labelled = reviewed = 0
        try:
            document = content.read(self._spool.path(one.path))
            if document.complete and not document.by_a_device:
                if "label" in may and not one.ours:
                    labelled = self._label(one, document)
                if "review" in may:
                    reviewed = self._review(one, document, self._add_review)
        except GiveUp as error:
            log.warning("a document is not read", study=one.study_uid, sop_uid=one.sop_uid, reason=error.reason)
            self._store.document_read(one.id, one.study_uid, one.sop_uid, labelled, reviewed, error.reason)
            return
        self._store.document_read(one.id, one.study_uid, one.sop_uid, labelled, reviewed)
        log.info("document read", study=one.study_uid, labels=labelled, reviews=reviewed)

    def _label(self, one: Stored, document: Document) -> int:
        said = content.labels_of(document, self._section.findings)
        new = [NewLabel(one.study_uid, "study", finding, value, document.date, self._section.source)
               for finding, value in said.items()]  # fmt: skip
        return sum(added.word in ("added", "replaced") for added in self._store.add_labels(new, f"peer/{one.peer}"))

    def _review(self, one: Stored, document: Document, add_review: AddReview) -> int:
        ours = self._unread.outputs_of_ours([*document.refers, *sorted(document.follows)])
        found = self._verdicts(document, ours)
        for verdict in found:
            # The same time again for the same document: a review that was given before a crash is not given twice.
            add_review(verdict.sop_uid, verdict.verdict, f"peer/{one.peer}", verdict.why, "dicom", one.received_at)
        return len(found)

    def _verdicts(self, document: Document, ours: dict[str, tuple[int, str]]) -> list[Verdict]:
        """One for each result that the document speaks of."""
        codes = {document.title} if document.sop_class == document_classes.KEY_OBJECTS else {
            one.value for one in document.root.walk() if one.kind == "CODE"}  # fmt: skip
        rejected, accepted = codes & set(self._section.rejected), codes & set(self._section.accepted)
        about: dict[int, Verdict] = {}
        for uid, (job, path) in ours.items():
            if rejected:
                verdict = Verdict(uid, "rejected", f"document {document.sop_uid}: {', '.join(sorted(rejected))}")
            elif accepted:
                verdict = Verdict(uid, "accepted", f"document {document.sop_uid}: {', '.join(sorted(accepted))}")
            elif uid in document.follows and document.verified:
                verdict = self._verified(uid, path, document)
            else:
                continue
            about.setdefault(job, verdict)
        return [about[job] for job in sorted(about)]

    def _verified(self, uid: str, path: str, document: Document) -> Verdict:
        """A person has signed what was made of our report: as it was, or with other codes and numbers."""
        try:
            same = content.read(self._spool.path(path)).said <= document.said
        except GiveUp:
            same = True  # our file is purged by now: the signature is what is left to go by
        told = "verified as it was" if same else "verified with changes"
        return Verdict(uid, "accepted" if same else "changed", f"document {document.sop_uid}: {told}")
