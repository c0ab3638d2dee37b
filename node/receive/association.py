"""One association as its acceptor: the upper layer and the DIMSE requests on it, in one thread.

pynetdicom's own acceptor uses two polling threads for each connection, counts connections that never said
anything as associations, and believes declared lengths; measured, it stores 200 instances of 512 KB a
second before anything is made durable. This conversation reads through node.pdu_guard, hands a dataset's
fragments on as they arrive, and takes from pynetdicom the PDUs and the negotiation.
States and answers follow PS3.8, 9.2 (acceptor: Sta2, Sta3, Sta6, Sta8, Sta13).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Protocol

from node import dimse, logs, pdu_guard, tls
from node.commitment import PUSH_MODEL
from node.errors import Refused
from node.pdu_guard import BrokenPdu, PduReader, PeerGone, PeerSilent
from node.receive import handshake, negotiation
from node.receive.farewell import last_word
from node.receive.limits import Limits
from node.receive.negotiation import Context, Rejection, Request
from node.receive.promises import Promise, Promises

_log = logs.get(__name__)
_WITH_DATASET = (dimse.C_STORE_RQ, dimse.N_ACTION_RQ, dimse.N_EVENT_REPORT_RQ)


class Arrival(Protocol):
    """One instance, or another request's dataset, on its way in."""

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes of the dataset. Raises Refused: the rest is then read and dropped."""

    def finish(self) -> Promise | None:
        """The dataset is complete: return once it is durable, or raise Refused. What it returns is said later."""

    def drop(self) -> None:
        """Forget what has come."""


class Visit(Protocol):
    """An admitted association, as the house sees it."""

    @property
    def may(self) -> frozenset[str]:
        """What the peer may do: see node.receive.negotiation.accept."""

    def arrive(self, command: dimse.Command, context: Context) -> Arrival:
        """Begin an instance, or another request with a dataset. Raises Refused."""

    def answered(self) -> None:
        """The answer to an instance is on its way."""

    def refused(self, command: dimse.Command, refusal: Refused) -> None:
        """A request with a dataset is answered with a failure."""

    def end(self, how: str) -> None:
        """The association is over: "released", "aborted" or "lost"."""


class Door(Protocol):
    """Who decides about an association request."""

    def knock(self, request: Request, address: str) -> Visit | Rejection:
        """Let the peer in or not."""

    def turned_away(self, address: str, reason: str) -> None:
        """A connection ended before it was a well-formed association request."""


class Association:
    """The conversation on one accepted connection; `run` returns when it is over."""

    def __init__(
        self, sock: socket.socket, address: str, door: Door, limits: Limits, secure: ssl.SSLContext | None = None,
        known: bool = True,
    ) -> None:  # fmt: skip
        """`secure`: TLS comes first; `known`: whether any peer may call from `address` (others get no handshake)."""
        self.established = False
        self.hung_up = False
        self.address = address
        self._in_message = False
        self._last_heard = time.monotonic()
        self._socket = sock
        self._door = door
        self._limits = limits
        self._secure = secure
        self._known = known
        self._contexts: dict[int, Context] = {}
        self._visit: Visit | None = None
        self._command = bytearray()
        self._request: dimse.Command | None = None
        self._context_id = 0
        self._arrival: Arrival | None = None
        self._refusal: Refused | None = None
        self._promises = Promises(self._send)

    def run(self) -> None:
        """Talk until the end, and close the connection whatever happens."""
        how = "lost"
        try:
            how = self._talk()
        except PeerGone:
            pass
        except tls.NoHandshake as error:
            self._door.turned_away(self.address, str(error))
            last_word(self._socket, error.answer)
        except (PeerSilent, BrokenPdu, dimse.BadCommand) as error:
            how = "aborted"
            if self._visit is None:
                self._door.turned_away(self.address, str(error))
            else:
                _log.warning("association aborted by us", address=self.address, reason=str(error))
            last_word(self._socket, negotiation.abort(getattr(error, "diagnostic", 0)))
        except Exception as error:  # noqa: BLE001 - the one of this loop: a conversation must not end the listener
            how = "aborted"
            _log.error("association failed", address=self.address, error=type(error).__name__, where=logs.where(error))
            last_word(self._socket, negotiation.abort(0))
        finally:
            with contextlib.ExitStack() as leaving:  # each of them happens, whatever becomes of the others
                leaving.callback(self._socket.close)
                leaving.callback(self._end, how)
                leaving.callback(self._promises.leave)
                if self._arrival is not None:
                    leaving.callback(self._arrival.drop)

    def hang_up(self) -> None:
        """End the conversation from another thread."""
        self.hung_up = True
        with contextlib.suppress(OSError):
            # Not SSLSocket's own: it forgets the TLS state, and what is being written would go out in plain text.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def quiet_for(self) -> float:
        """Seconds since the last message ended; 0 inside a message."""
        return 0.0 if self._in_message else time.monotonic() - self._last_heard

    def _talk(self) -> str:
        certificate = None
        if self._secure is not None:
            self._socket = handshake.begin(self._socket, self._secure, self._known, self._limits.acse_timeout)
            if self.hung_up:  # perhaps while the socket changed hands
                return "lost"
            certificate = handshake.finish(self._socket, self._limits.acse_timeout)
        self._reader = PduReader(self._socket, self._limits.max_pdu, self._limits.idle_pdu_timeout)
        kind, body = self._reader.read(self._limits.acse_timeout)
        if kind != pdu_guard.ASSOCIATE_RQ:
            raise BrokenPdu("the first PDU is not an A-ASSOCIATE-RQ", 2)
        try:
            request = negotiation.read_request(body, certificate)
        except pdu_guard.MALFORMED as error:
            raise BrokenPdu(f"the A-ASSOCIATE-RQ is malformed ({type(error).__name__})", 6) from error
        answer = self._door.knock(request, self.address)
        if isinstance(answer, Rejection):
            last_word(self._socket, answer.encode())
            return "rejected"
        self._visit = answer
        accepted, self._contexts = negotiation.accept(request, answer.may, self._limits.max_pdu)
        self._promises.largest = request.max_pdu
        self.established = True
        self._last_heard = time.monotonic()
        self._send(accepted)
        while True:
            wait = self._limits.dimse_timeout if self._in_message else self._limits.network_timeout
            try:
                kind, body = self._reader.read(wait if self._in_message else self._promises.patience(wait))
            except PeerSilent:
                if not self._in_message and self._promises.keep_one():
                    continue
                raise
            if kind == pdu_guard.P_DATA:
                for fragment in dimse.fragments(body):
                    self._take(fragment)
            elif kind == pdu_guard.RELEASE_RQ:
                # The end is on record before the peer hears of it: who sees its sender finish may ask us.
                self._end("released")
                last_word(self._socket, negotiation.release_response())
                return "released"
            elif kind == pdu_guard.ABORT:
                return "aborted"
            else:
                raise BrokenPdu(f"PDU type 0x{kind:02X} has no place in an open association", 2)

    def _end(self, how: str) -> None:
        if self._visit is not None:
            visit, self._visit = self._visit, None
            visit.end(how)

    def _take(self, fragment: dimse.Fragment) -> None:
        if fragment.is_command:
            if self._request is not None or len(self._command) + len(fragment.data) > dimse.LONGEST_COMMAND:
                raise BrokenPdu("a command came inside a dataset or is too long", 2)
            self._command += fragment.data
            self._in_message = True
            if fragment.is_last:
                self._begin(fragment.context_id)
        else:
            if self._request is None or fragment.context_id != self._context_id:
                raise BrokenPdu("a dataset came without its command", 2)
            self._write(fragment.data)
            if fragment.is_last:
                self._finish()

    def _begin(self, context_id: int) -> None:
        encoded, self._command = bytes(self._command), bytearray()
        request = dimse.read_command(encoded)
        context = self._contexts.get(context_id)
        if context is None:
            raise BrokenPdu(f"presentation context {context_id} was not accepted", 2)
        self._request, self._context_id, self._refusal = request, context_id, None
        if request.field in _WITH_DATASET:
            try:
                self._arrival = self._admit(request, context)
            except Refused as refusal:
                self._refusal = refusal
        elif request.field & dimse.RESPONSE:
            self._promises.heard(request)
        elif request.field != dimse.C_ECHO_RQ:
            self._refusal = Refused(dimse.UNRECOGNISED_OPERATION, "neither storage, nor its commitment, nor C-ECHO")
        elif context.sop_class != negotiation.VERIFICATION:
            self._refusal = Refused(dimse.SOP_CLASS_NOT_SUPPORTED, "C-ECHO wants the Verification SOP class")
        if not request.has_dataset:
            self._finish()

    def _admit(self, request: dimse.Command, context: Context) -> Arrival:
        assert self._visit is not None
        if request.field != dimse.C_STORE_RQ:
            if context.sop_class != PUSH_MODEL:
                raise Refused(dimse.UNRECOGNISED_OPERATION, "this presentation context is not for storage commitment")
        elif not request.has_dataset:
            raise Refused(dimse.CANNOT_UNDERSTAND, "the C-STORE has no dataset")
        elif not negotiation.is_storage(context.sop_class):
            raise Refused(dimse.SOP_CLASS_NOT_SUPPORTED, "this presentation context is not one of storage")
        return self._visit.arrive(request, context)

    def _write(self, data: memoryview) -> None:
        if self._arrival is None:
            return
        try:
            self._arrival.write(data)
        except Refused as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refused) -> None:
        self._refusal = refusal
        if self._arrival is not None:
            arrival, self._arrival = self._arrival, None
            arrival.drop()

    def _finish(self) -> None:
        request, self._request = self._request, None
        assert request is not None
        if self._arrival is not None:
            try:
                promise = self._arrival.finish()
                self._arrival = None
                if promise is not None:
                    self._promises.add(promise, self._context_id)
            except Refused as refusal:
                self._refuse(refusal)
        if request.field & dimse.RESPONSE == 0 and request.field != dimse.C_CANCEL_RQ:
            status, comment = dimse.SUCCESS, ""
            if self._refusal is not None:
                status, comment = self._refusal.status, self._refusal.reason
                if request.field in _WITH_DATASET and self._visit is not None:
                    self._visit.refused(request, self._refusal)
            answer = dimse.response(request, status, comment)
            header = dimse.p_data_header(self._context_id, dimse.COMMAND | dimse.LAST, len(answer))
            self._send(header + answer)
            if request.field == dimse.C_STORE_RQ and self._visit is not None:
                self._visit.answered()
        self._in_message = False
        self._last_heard = time.monotonic()

    def _send(self, encoded: bytes) -> None:
        try:
            self._socket.settimeout(self._limits.network_timeout)
            self._socket.sendall(encoded)
        except OSError as error:
            raise PeerGone(f"the connection broke ({type(error).__name__})") from error
