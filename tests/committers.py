"""pynetdicom's side of storage commitment for tests: a provider that answers us, a requester that asks us."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification

from tests.peers import free_port


def dataset(transaction_uid: str, kept: Sequence[tuple[str, str]], failed: Sequence[tuple[str, str]] = ()) -> Dataset:
    """Action or event information; instances are (SOP class, SOP instance)."""
    made = Dataset()
    made.TransactionUID = transaction_uid
    for keyword, named in (("ReferencedSOPSequence", kept), ("FailedSOPSequence", failed)):
        items = []
        for sop_class, sop_uid in named:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
            if keyword == "FailedSOPSequence":
                item.FailureReason = 0x0112
            items.append(item)
        if items:
            setattr(made, keyword, Items(items))
    return made


@dataclass
class Provider:
    """An SCP of storage commitment. `lacks`: instances that it says it does not keep; `how`: "same" or "new"
    association for its answer, "never" for none; `status`: its answer to the request."""

    port: int = field(default_factory=free_port)
    lacks: set[str] = field(default_factory=set)
    how: str = "same"
    status: int = 0
    node_port: int = 0
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    said: list[int] = field(default_factory=list)  # the statuses of our responses to its answers
    threads: list[threading.Thread] = field(default_factory=list)

    def on_action(self, event: Any) -> tuple[int, Dataset | None]:
        """Take a request and answer it from a thread of its own."""
        wanted = event.action_information
        named = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in wanted.ReferencedSOPSequence]
        self.asked.append((str(wanted.TransactionUID), [uid for _, uid in named]))
        told = dataset(
            wanted.TransactionUID, [one for one in named if one[1] not in self.lacks],
            [one for one in named if one[1] in self.lacks],
        )  # fmt: skip
        if self.how != "never" and self.status == 0:
            self.threads.append(threading.Thread(target=self._answer, args=(event.assoc, told)))
            self.threads[-1].start()
        return self.status, None

    def _answer(self, association: Any, told: Dataset) -> None:
        if self.how == "new":
            ae = AE("PACS")
            ae.add_requested_context(StorageCommitmentPushModel)
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            association = ae.associate("127.0.0.1", self.node_port, ae_title="OVERREAD", ext_neg=[role])
            assert association.is_established
        else:
            time.sleep(0.1)
        type_ = 2 if "FailedSOPSequence" in told else 1
        arguments = (StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        answer, _ = association.send_n_event_report(told, type_, *arguments)
        self.said.append(answer.Status if "Status" in answer else -1)
        if self.how == "new":
            association.release()


@contextlib.contextmanager
def provider(**settings: Any) -> Iterator[Provider]:
    """A running provider called PACS."""
    serving = Provider(**settings)
    ae = AE("PACS")
    ae.add_supported_context(StorageCommitmentPushModel)
    ae.add_supported_context(Verification)
    server = ae.start_server(
        ("127.0.0.1", serving.port), block=False, evt_handlers=[(evt.EVT_N_ACTION, serving.on_action)]
    )
    try:
        yield serving
    finally:
        for thread in serving.threads:
            thread.join(20)
        server.shutdown()


@dataclass
class Requester:
    """An SCU of storage commitment that hears answers on its port and on the association of its request."""

    port: int = field(default_factory=free_port)
    heard: list[Dataset] = field(default_factory=list)
    status: int = 0

    def on_report(self, event: Any) -> tuple[int, Dataset | None]:
        """Note an answer."""
        if self.status == 0:
            self.heard.append(event.event_information)
        return self.status, None

    def ask(self, node_port: int, transaction_uid: str, named: Sequence[tuple[str, str]], stay: float = 0) -> int:
        """One request: its status. `stay`: seconds that the association is kept open for the answer."""
        ae = AE("SENDER")
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        association = ae.associate("127.0.0.1", node_port, ae_title="OVERREAD", evt_handlers=handlers)
        assert association.is_established
        arguments = (1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        answer, _ = association.send_n_action(dataset(transaction_uid, named), *arguments)
        deadline = time.monotonic() + stay
        while time.monotonic() < deadline and not self.heard:
            time.sleep(0.05)
        association.release()
        return int(answer.Status)


@contextlib.contextmanager
def requester() -> Iterator[Requester]:
    """A running requester called SENDER."""
    listening = Requester()
    ae = AE("SENDER")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, listening.on_report)]
    server = ae.start_server(("127.0.0.1", listening.port), block=False, evt_handlers=handlers)
    try:
        yield listening
    finally:
        server.shutdown()
