"""Who comes in, who is in, and what is on record about it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from node import dimse, tls
from node.config import Config
from node.errors import Refused, TryAgain
from node.receive.admission import Allowlist, Refusals, how_to_admit
from node.receive.association import Arrival
from node.receive.book import Book
from node.receive.bursts import Bursts
from node.receive.commitment import Arriving, Desk
from node.receive.negotiation import APPLICATION_CONTEXT, Context, Rejection, Request
from node.receive.storage import Instance, Storage
from node.sections import Peer


class Reception:
    """The door of the node: admits associations and records their beginning and end."""

    def __init__(self, config: Config, storage: Storage) -> None:
        self.allowlist = Allowlist(config.peers)
        self.book = Book()
        self.refusals = Refusals(self._record_refusal)
        self.bursts = Bursts(storage.store.note_burst, config.node.refusals_per_minute)
        self.closing = False
        self.storage = storage
        self.desk = Desk(config, storage.store, storage.spool)
        self._node = config.node
        self._store = storage.store
        self._lock = threading.Lock()
        self._inside: list[tuple[str, str]] = []  # address and peer of each open association

    def knock(self, request: Request, address: str) -> Guest | Rejection:
        """Admit the caller and record the association, or say why not (PS3.8, table 9-21)."""
        peer = self.allowlist.find(request.calling_ae, address, request.certificate)
        if peer is None:
            return self._reject(request, address, *self._stranger(request, address))
        if request.called_ae.strip() != self._node.ae_title.strip():
            rejection = Rejection(1, 1, 7, f"called AE title is not ours, {self._node.ae_title}")
            return self._reject(request, address, rejection)
        if request.application_context != APPLICATION_CONTEXT:
            return self._reject(request, address, Rejection(1, 1, 2, "unknown application context"))
        full = self._enter(address, peer)
        if full is not None:
            return self._reject(request, address, full)
        shown = None if request.certificate is None else tls.readable(request.certificate)
        try:
            association = self._store.open_association(request.calling_ae, request.called_ae, address, shown)
        except TryAgain as away:
            self._leave(address, peer.name)
            return self._reject(request, address, Rejection(2, 3, 1, away.reason), database_away=True)
        may = frozenset(peer.may) | (frozenset({"report"}) if peer.commitment == "ask" else frozenset())
        return Guest(self, association, peer.name, may, request.calling_ae, request.called_ae, address)

    def _stranger(self, request: Request, address: str) -> tuple[Rejection, str]:
        wanted = self.allowlist.wanted(request.calling_ae, address)
        if not wanted:
            hint = "to admit it, add " + how_to_admit(request.calling_ae, address)
            return Rejection(1, 1, 3, "no [[peer]] has this AE title and address"), hint
        came = "in plain text" if request.certificate is None else f"over TLS with {tls.readable(request.certificate)}"
        reason = f"its [[peer]] wants a certificate of certificate-names ({tls.readable(wanted)}); it came {came}"
        return Rejection(1, 1, 3, reason), ""

    def turned_away(self, address: str, reason: str) -> None:
        """A connection said nothing, or nothing that is DICOM: told like a refusal, at most once a minute."""
        self.bursts.refused(address, reason)
        self.refusals.refuse("association", "", "", address, reason)

    def _reject(
        self, request: Request, address: str, rejection: Rejection, hint: str = "", database_away: bool = False
    ) -> Rejection:
        if not database_away:  # no fault of the caller's
            self.bursts.refused(address, rejection.reason)
        self.refusals.refuse(
            "association", request.calling_ae, request.called_ae, address, rejection.reason, hint, database_away
        )
        return rejection

    def _record_refusal(
        self, kind: str, calling_ae: str, called_ae: str, address: str, reason: str, count: int, later: bool
    ) -> None:
        self.book.enter(
            lambda: self._store.refuse(kind, calling_ae, called_ae, address, reason, count), later, keep=False
        )

    def _enter(self, address: str, peer: Peer) -> Rejection | None:
        most, most_here = self._node.max_associations, self._node.max_associations_per_address
        with self._lock:
            if self.closing:
                return Rejection(2, 3, 1, "the node is stopping")
            if len(self._inside) >= most:
                return Rejection(2, 3, 2, f"{most} associations are open (max-associations)")
            if sum(one == address for one, _ in self._inside) >= most_here:
                return Rejection(2, 3, 2, f"{most_here} are open from there (max-associations-per-address)")
            limit = peer.max_associations
            if limit is not None and sum(name == peer.name for _, name in self._inside) >= limit:
                return Rejection(2, 3, 2, f"{limit} of peer {peer.name} are open (its max-associations)")
            self._inside.append((address, peer.name))
        return None

    def _leave(self, address: str, peer: str) -> None:
        with self._lock:
            self._inside.remove((address, peer))

    def goodbye(self, guest: Guest, how: str) -> None:
        """Record the end of an association."""
        self._leave(guest.address, guest.peer)
        # Closing waits for it, also after the database was away.
        self.book.enter(lambda: self._store.end_association(guest.association, how))


@dataclass(frozen=True)
class Guest:
    """An admitted association; the Visit of node.receive.association."""

    reception: Reception
    association: int
    peer: str
    may: frozenset[str]
    calling_ae: str
    called_ae: str
    address: str

    def arrive(self, command: dimse.Command, context: Context) -> Arrival:
        """Begin an instance, or a request of storage commitment. Raises Refused."""
        if command.field != dimse.C_STORE_RQ:
            return Arriving(self.reception.desk, command, context, self.peer, self.may)
        return Instance(self.reception.storage, command, context, self.calling_ae, self.peer, self.association)

    def answered(self) -> None:
        """The sender has its answer."""
        self.reception.storage.blanks.prepare()

    def refused(self, command: dimse.Command, refusal: Refused) -> None:
        """A request with a dataset got a failure status: on record, with the reason."""
        reason = f"0x{refusal.status:04X}: {refusal.reason}"
        kind = "instance" if command.field == dimse.C_STORE_RQ else "commitment"
        later = refusal.database_away
        self.reception.refusals.refuse(kind, self.calling_ae, self.called_ae, self.address, reason, later=later)

    def end(self, how: str) -> None:
        """The association is over."""
        self.reception.goodbye(self, how)
