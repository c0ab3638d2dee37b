"""The PACS of the crash tests, pynetdicom's: keeps what came and counts how often, and takes commitment requests."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.committers import dataset
from tests.peers import free_port


@dataclass
class Pacs:
    """`came`: SOP Instance UID -> SHA-256 of the dataset's bytes, once for each time that it came. `elsewhere`: it
    answers commitment requests over an association of its own."""

    port: int = field(default_factory=free_port)
    node_port: int = 0
    elsewhere: bool = False
    came: dict[str, list[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _answering: list[threading.Thread] = field(default_factory=list)

    def on_store(self, event: Any) -> int:
        """Keep one instance."""
        content = event.request.DataSet.getvalue()
        with self.lock:
            uid = str(event.request.AffectedSOPInstanceUID)
            self.came.setdefault(uid, []).append(hashlib.sha256(content).hexdigest())
        return 0

    def on_action(self, event: Any) -> tuple[int, None]:
        """Take a commitment request; the answer says honestly what is here."""
        wanted = event.action_information
        named = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in wanted.ReferencedSOPSequence]
        with self.lock:
            kept = [one for one in named if str(one[1]) in self.came]
        told = dataset(wanted.TransactionUID, kept, [one for one in named if one not in kept])
        thread = threading.Thread(
            target=self._answer, args=(None if self.elsewhere else event.assoc, told), daemon=True
        )
        self._answering.append(thread)
        thread.start()
        return 0, None

    def _answer(self, association: Any, told: Any) -> None:
        """On the association of the request, or else by calling until it is taken, as a PACS does."""
        time.sleep(0.05)
        if association is not None and self._report(association, told):
            return
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ae = AE("PACS")
            ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 5
            ae.add_requested_context(StorageCommitmentPushModel)
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            ours = ae.associate("127.0.0.1", self.node_port, ae_title="OVERREAD", ext_neg=[role])
            if ours.is_established and self._report(ours, told):
                ours.release()
                return
            time.sleep(0.3)

    @staticmethod
    def _report(association: Any, told: Any) -> bool:
        arguments = (StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        try:
            answer, _ = association.send_n_event_report(told, 2 if "FailedSOPSequence" in told else 1, *arguments)
        except RuntimeError:  # the node, that is, its sender, ended the association
            return False
        return "Status" in answer

    def wait(self) -> None:
        """Until all that it has to say is said."""
        for thread in self._answering:
            thread.join(30)
        self._answering.clear()


@contextmanager
def pacs() -> Iterator[Pacs]:
    """A running PACS."""
    serving = Pacs()
    ae = AE("PACS")
    ae.maximum_associations = 50
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
    ae.add_supported_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_C_STORE, serving.on_store), (evt.EVT_N_ACTION, serving.on_action)]
    server = ae.start_server(("127.0.0.1", serving.port), block=False, evt_handlers=handlers)
    try:
        yield serving
    finally:
        serving.wait()
        server.shutdown()
