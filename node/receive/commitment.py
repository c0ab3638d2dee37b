"""Storage commitment at our door: requests of peers (N-ACTION), and their answers to ours (N-EVENT-REPORT)."""

from __future__ import annotations

from node import confirm, dimse, logs
from node.commitment import (
    ALL_COMMITTED,
    LONGEST_DATASET,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    SOME_FAILED,
    Malformed,
    Reference,
    read_report,
    read_request,
    write_report,
)
from node.config import Config
from node.errors import IllegalMove, Refused, TryAgain
from node.peers.statuses import classify
from node.queries import Queries
from node.receive.negotiation import Context
from node.receive.promises import Promise
from node.spool import Spool
from node.store import Commitment, Store

_log = logs.get(__name__)
_ELSEWHERE_AFTER = 3.0  # seconds that the peer has to stay and hear its answer on its own association
_LEASE = 60.0
WORKER = "receive"


class Desk:
    """What the arrivals of all associations share."""

    def __init__(self, config: Config, store: Store, spool: Spool) -> None:
        self.config = config
        self.store = store
        self.queries = Queries(store.engine)
        self.spool = spool


class Arriving:
    """A dataset of storage commitment on its way in, kept in memory within bounds."""

    def __init__(self, desk: Desk, command: dimse.Command, context: Context, peer: str, may: frozenset[str]) -> None:
        """Raises Refused when the peer may not ask that, or when it is not a request of the Push Model."""
        word, known, no_such = _KINDS[command.field]
        if word not in may:
            raise Refused(dimse.NOT_AUTHORISED, f"{peer} may not {word} here")
        if command.sop_class != PUSH_MODEL:
            raise Refused(dimse.NO_SUCH_SOP_CLASS, "the SOP class is not the Storage Commitment Push Model")
        if command.sop_uid != PUSH_MODEL_INSTANCE:
            raise Refused(dimse.NO_SUCH_INSTANCE, "the SOP instance is not the well-known one")
        if command.type_id not in known:
            raise Refused(no_such, f"type {command.type_id} is none of {', '.join(map(str, known))}")
        if not command.has_dataset:
            raise Refused(dimse.INVALID_ARGUMENT_VALUE, "the dataset is missing")
        self._desk = desk
        self._command = command
        self._context = context
        self._peer = peer
        self._content = bytearray()

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes. Raises Refused when there are too many."""
        if len(self._content) + len(fragment) > LONGEST_DATASET:
            raise Refused(dimse.RESOURCE_LIMITATION, f"the dataset has more than {LONGEST_DATASET >> 20} MiB")
        self._content += fragment

    def finish(self) -> Promise | None:
        """Take the request or the answer; success only when it is durable. Raises Refused."""
        try:
            if self._command.field == dimse.N_ACTION_RQ:
                return self._asked()
            self._answered()
        except Malformed as error:
            raise Refused(dimse.INVALID_ARGUMENT_VALUE, str(error)) from error
        except TryAgain as away:
            raise Refused(dimse.PROCESSING_FAILURE, away.reason, database_away=True) from away
        return None

    def drop(self) -> None:
        """Forget what has come."""
        self._content.clear()

    def _asked(self) -> Promise:
        request = read_request(bytes(self._content), self._context.transfer_syntax)
        store = self._desk.store
        key = store.add_commitment(self._peer, request, store.clock() + _ELSEWHERE_AFTER)
        if key is None:
            raise Refused(dimse.INVALID_ARGUMENT_VALUE, "this transaction UID was used for other instances")
        return Answer(self._desk, self._peer, key, self._context)

    def _answered(self) -> None:
        report = read_report(bytes(self._content), self._context.transfer_syntax)
        if not confirm.take(self._desk.config, self._desk.store, self._peer, report, "receive"):
            raise Refused(dimse.INVALID_ARGUMENT_VALUE, "no request of ours has this transaction UID")


# Request -> (what the peer needs in `may`, the types that there are, the status for another)
_KINDS: dict[int, tuple[str, tuple[int, ...], int]] = {
    dimse.N_ACTION_RQ: ("commit", (REQUEST_ACTION,), dimse.NO_SUCH_ACTION),
    dimse.N_EVENT_REPORT_RQ: ("report", (ALL_COMMITTED, SOME_FAILED), dimse.NO_SUCH_EVENT_TYPE),
}


class Answer:
    """Our answer to a request, told on the peer's own association if it stays for it; else the send loop tells it."""

    def __init__(self, desk: Desk, peer: str, key: int, context: Context) -> None:
        self._desk = desk
        self._peer = peer
        self._key = key
        self._context = context
        self._claimed: Commitment | None = None
        self._failed: dict[Reference, int] = {}

    def keep(self, message_id: int) -> tuple[bytes, bytes] | None:
        """The command set and the dataset of the N-EVENT-REPORT; None when the send loop was quicker."""
        try:
            self._claimed = self._desk.store.claim_commitment(WORKER, self._peer, _LEASE, self._key)
            if self._claimed is None:
                return None
            report = confirm.answer(self._desk.queries, self._desk.spool, self._claimed)
        except TryAgain as away:
            _log.warning("a storage commitment answer waits", peer=self._peer, reason=away.reason)
            return None
        self._failed = dict(report.failed)
        command = dimse.event_report_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, report.event)
        return command, write_report(report, self._context.transfer_syntax)

    def heard(self, status: int) -> None:
        """The peer took it, or the send loop tries again."""
        meaning, words = classify(status)
        if meaning == "stored":
            self._settle(None)
        else:
            self._settle(f"{self._peer} answers 0x{status:04X} {words}")

    def unheard(self) -> None:
        """The send loop tries again."""
        self._settle(f"{self._peer} ended the association before it answered")

    def _settle(self, reason: str | None) -> None:
        store, claimed = self._desk.store, self._claimed
        assert claimed is not None
        try:
            if reason is None:
                store.finish_commitment(claimed, self._failed)
                _log.info("storage commitment answered", peer=self._peer, failed=len(self._failed))
            else:
                store.retry_commitment(claimed, reason, store.clock())
        except (TryAgain, IllegalMove) as error:  # its lease runs out, and the send loop takes it up
            _log.warning("a storage commitment answer is not on record", peer=self._peer, reason=str(error))
