"""An association that we ask for: connect, negotiate, C-ECHO, C-STORE and the normalized services, release (PS3.8,
9.2 as requestor).

Datasets go out as they lie in their files, without decoding. Like our acceptor it reads through
node.pdu_guard and takes from pynetdicom the negotiation's PDUs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pydicom.uid import UID
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_RELEASE,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)

from node import dimse, pdu_guard, tls
from node.errors import ConfigError, TryAgain
from node.pdu_guard import BrokenPdu, PduReader, PeerGone, PeerSilent
from node.peers.proposal import Offer, proposal
from node.sections import Node, Peer

_LARGEST_PDU = 128 * 1024  # bytes that we send in one P-DATA however much the peer takes
_SMALLEST_PDU = 1024
_AT_ONCE, _MOST_PDUS = 2**20, 256  # bytes and P-DATA that go out in one call: many peers take 16 KB at a time


@dataclass(frozen=True)
class Message:
    """What a peer said: a command set and its dataset, empty when it has none."""

    context_id: int
    command: dimse.Command
    dataset: bytes


class Requestor:
    """An open association with `peer`; use it in a `with`: released at its end, aborted on an error."""

    def __init__(self, node: Node, peer: Peer, offers: Sequence[Offer], as_scp: str | None = None) -> None:
        """Connect and negotiate. Raises TryAgain with one readable line when that does not come about.

        `as_scp`: a SOP class that we are the SCP of, though it is we who call (PS3.7, D.3.3.4).
        """
        self._node = node
        self._where = f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"
        self._message_id = 0
        self._contexts: dict[Offer, int] = {}
        self._largest = _LARGEST_PDU
        self._buffer = memoryview(b"")
        self.longest_request = 0  # bytes of the dataset of a request that the peer may make here; 0: it may make none
        self._requests: deque[Message] = deque()  # of the peer, that came while we waited for an answer
        self._fragments: deque[dimse.Fragment] = deque()
        try:
            self._socket = socket.create_connection((peer.host, peer.port), timeout=node.acse_timeout)
            if peer.tls:
                context = tls.client_context(node)  # anew: a renewed certificate counts from the next association on
                self._socket = tls.knock(self._socket, context, peer.host, peer.certificate_names)
        except tls.NoHandshake as error:
            raise TryAgain(f"{self._where} cannot be reached over TLS: {error}") from error
        except ConfigError as error:
            self._socket.close()
            raise TryAgain(f"{self._where} cannot be reached over TLS: {error}") from error
        except OSError as error:
            raise TryAgain(f"{self._where} cannot be reached: {error.strerror or error}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._reader = PduReader(self._socket, node.max_pdu, node.idle_pdu_timeout)
            self._send(proposal(node, peer, offers, as_scp))
            self._settle(offers, as_scp)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Requestor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError, TryAgain):
            if kind is None or kind is GeneratorExit:  # whoever listened to the answers has heard enough
                self._send(A_RELEASE_RQ(A_RELEASE()).encode())
                self._read(self._node.acse_timeout)
            else:
                primitive = A_ABORT()
                primitive.abort_source = 0
                self._send(A_ABORT_RQ(primitive).encode())
        tls.close_notify(self._socket)
        self._socket.close()

    def takes(self, offer: Offer) -> bool:
        """Whether the peer accepted this presentation context."""
        return offer in self._contexts

    def echo(self, offer: Offer) -> int:
        """The status of a C-ECHO. Raises TryAgain when no answer comes."""
        self._send_command(self._contexts[offer], dimse.echo_request(self._next_id()))
        return self._answer()[0]

    def store(self, offer: Offer, sop_uid: str, path: Path, offset: int) -> tuple[int, str]:
        """C-STORE the dataset that begins at `offset` of `path`: (status, the peer's comment). Raises TryAgain."""
        context_id = self._contexts[offer]
        self._send_command(context_id, dimse.store_request(self._next_id(), offer[0], sop_uid))
        each = self._largest - 6
        with open(path, "rb", buffering=0) as file:
            left = os.fstat(file.fileno()).st_size - offset
            file.seek(offset)
            buffer = self._room(each * max(1, min(_AT_ONCE // each, _MOST_PDUS)))
            while True:
                got = file.readinto(buffer[: max(0, min(left, len(buffer)))]) or 0
                left -= got
                last = left <= 0 or not got
                parts: list[bytes | memoryview] = []
                for start in range(0, max(got, 1), each):
                    body = buffer[start : min(start + each, got)]
                    ends = last and start + each >= got
                    parts += [dimse.p_data_header(context_id, dimse.LAST if ends else 0, len(body)), body]
                self._send_parts(parts)
                if last:
                    return self._answer()

    def _room(self, size: int) -> memoryview:
        """The buffer that all instances of the association go through."""
        if len(self._buffer) != size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _send_command(self, context_id: int, command: bytes) -> None:
        self._send(dimse.p_data_header(context_id, dimse.COMMAND | dimse.LAST, len(command)) + command)

    def _send_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        try:
            self._socket.settimeout(self._node.network_timeout)
            if isinstance(self._socket, ssl.SSLSocket):  # it encrypts one buffer at a time
                self._socket.sendall(b"".join(parts))
                return
            sent = self._socket.sendmsg(parts)
            for part in parts:  # a full socket buffer took less
                if sent < len(part):
                    self._socket.sendall(memoryview(part)[sent:])
                sent = max(0, sent - len(part))
        except ssl.SSLError as error:
            raise TryAgain(f"{self._where} broke the connection (TLS: {tls.words(error)})") from error
        except OSError as error:
            raise TryAgain(f"{self._where} broke the connection ({error.strerror or error})") from error

    def _send(self, encoded: bytes) -> None:
        self._send_parts([encoded])

    def _read(self, wait: float) -> tuple[int, memoryview]:
        try:
            kind, body = self._reader.read(wait)
        except (PeerSilent, PeerGone, BrokenPdu) as error:
            raise TryAgain(f"{self._where}: {error}") from error
        if kind == pdu_guard.ABORT:
            raise TryAgain(f"{self._where} aborted the association")
        return kind, body

    def ask(self, offer: Offer, command: Callable[[int], bytes], dataset: bytes) -> tuple[int, str]:
        """Any request with a dataset: (status, comment). `command`: message id -> command set. Raises TryAgain."""
        context_id = self._contexts[offer]
        self._send_command(context_id, command(self._next_id()))
        each = self._largest - 6
        for start in range(0, max(len(dataset), 1), each):
            part = dataset[start : start + each]
            control = dimse.LAST if start + each >= len(dataset) else 0
            self._send_parts([dimse.p_data_header(context_id, control, len(part)), part])
        return self._answer()

    def wait_for_request(self, seconds: float) -> Message | None:
        """The next request of the peer, also one that came while we waited for an answer; None when none begins in
        time. Raises TryAgain when the association ends."""
        if not self._requests and not self._fragments:
            try:
                kind, body = self._reader.read(seconds)
            except PeerSilent:
                return None
            except (PeerGone, BrokenPdu) as error:
                raise TryAgain(f"{self._where}: {error}") from error
            self._take(kind, body)
        return self._requests.popleft() if self._requests else self._message()

    def respond(self, message: Message, status: int, comment: str = "") -> None:
        """Answer a request of the peer."""
        self._send_command(message.context_id, dimse.response(message.command, status, comment))

    def _answer(self) -> tuple[int, str]:
        while True:
            message = self._message()
            answer = message.command
            if self.longest_request and not answer.field & dimse.RESPONSE:
                self._requests.append(message)  # requests of both sides crossed
                continue
            if answer.status is None or answer.message_id != self._message_id:
                raise TryAgain(f"{self._where}: the answer has no status or belongs to another request")
            return answer.status, answer.comment

    def _message(self) -> Message:
        """The next message. Raises TryAgain when it does not come, or is none, or is too long."""
        encoded, dataset = bytearray(), bytearray()
        command: dimse.Command | None = None
        while True:
            while not self._fragments:
                self._take(*self._read(self._node.dimse_timeout))
            fragment = self._fragments.popleft()
            part, most = (encoded, dimse.LONGEST_COMMAND) if fragment.is_command else (dataset, self.longest_request)
            if len(part) + len(fragment.data) > most:
                raise TryAgain(f"{self._where}: a message is too long")
            part += fragment.data
            if fragment.is_last and fragment.is_command:
                try:
                    command = dimse.read_command(bytes(encoded))
                except dimse.BadCommand as error:
                    raise TryAgain(f"{self._where}: {error}") from error
            if fragment.is_last and command is not None and fragment.is_command is not command.has_dataset:
                return Message(fragment.context_id, command, bytes(dataset))

    def _take(self, kind: int, body: memoryview) -> None:
        """The fragments of a PDU; their bytes are gone with the next one, which is read when these are."""
        if kind == pdu_guard.ABORT:
            raise TryAgain(f"{self._where} aborted the association")
        if kind != pdu_guard.P_DATA:
            raise TryAgain(f"{self._where} ended the association in the middle")
        try:
            self._fragments.extend(dimse.fragments(body))
        except dimse.BadCommand as error:
            raise TryAgain(f"{self._where}: {error}") from error

    def _settle(self, offers: Sequence[Offer], as_scp: str | None) -> None:
        kind, body = self._read(self._node.acse_timeout)
        if kind not in (pdu_guard.ASSOCIATE_RJ, pdu_guard.ASSOCIATE_AC):
            raise TryAgain(f"{self._where} does not answer as a DICOM peer")
        encoded = bytes((kind, 0)) + len(body).to_bytes(4, "big") + bytes(body)
        answer = A_ASSOCIATE_RJ() if kind == pdu_guard.ASSOCIATE_RJ else A_ASSOCIATE_AC()
        try:
            answer.decode(encoded)
            if isinstance(answer, A_ASSOCIATE_RJ):
                raise TryAgain(f"{self._where} rejects the association: {answer.reason_str}")
            primitive = answer.to_primitive()
        except pdu_guard.MALFORMED as error:
            raise TryAgain(f"{self._where} answers with a malformed PDU ({type(error).__name__})") from error
        results = primitive.presentation_context_definition_results_list
        if not results:
            raise TryAgain(f"{self._where} answers with an A-ASSOCIATE-AC that names no presentation context")
        for context in results:
            index = (int(context.context_id or 0) - 1) // 2
            if context.result == 0 and 0 <= index < len(offers):
                self._contexts[offers[index]] = 2 * index + 1
        for item in primitive.user_information:
            if isinstance(item, MaximumLengthNotification) and item.maximum_length_received:
                self._largest = max(_SMALLEST_PDU, min(_LARGEST_PDU, item.maximum_length_received))
            # A peer that is silent about roles may still take the role; one that says no does not.
            role = item if isinstance(item, SCP_SCU_RoleSelectionNegotiation) else None
            if as_scp is not None and role is not None and role.sop_class_uid == as_scp and not role.scp_role:
                raise TryAgain(f"{self._where} does not let us be the SCP of {UID(as_scp).name}")
