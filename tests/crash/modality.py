"""Modalities of the crash tests: they keep each image until they hear success, and begin again as real ones do."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from node import peers
from node.config import Config
from node.errors import OverreadError
from node.sections import Peer
from pipelines import examples
from pipelines.study import Study
from tests.committers import dataset
from tests.peers import free_port

WAYS = ("plain", "split", "late", "commit", "commit-stay")


def small_study(folder: Path, seed: str, slices: int = 6, matrix: int = 48) -> Study:
    """A CT of its own patient, study and pixels."""
    pixels = np.random.default_rng(zlib.crc32(seed.encode())).integers(-1000, 200, (slices, matrix, matrix), np.int16)
    examples.ct_study(pixels, (5.0, 2.0, 2.0), folder, seed=seed)
    return Study.from_folder(folder)


@dataclass
class Sending:
    """One study on its way. `way`: in one association; split over three; its last two images late; or with a storage
    commitment request after it, whose answer is waited for on the association or not."""

    study: Study
    way: str
    acknowledged: dict[str, Path] = field(default_factory=dict)  # SOP Instance UID -> file, once 0x0000 was seen
    wrong: list[str] = field(default_factory=list)
    thread: threading.Thread | None = None

    @property
    def uid(self) -> str:
        return self.study.StudyInstanceUID

    @property
    def complete(self) -> bool:
        return len(self.acknowledged) == len(self.study.instances)


class Modality:
    """Sends to the node at `config` and hears its answers about storage commitment."""

    def __init__(self, port: int, seconds: float = 600) -> None:
        self.port = port
        self.config: Config
        self.node: Peer
        self._seconds = seconds
        self._reports: dict[str, tuple[set[str], set[str]]] = {}  # transaction UID -> committed, failed

    def on_report(self, event: Any) -> tuple[int, None]:
        """An answer of the node."""
        told = event.event_information
        self._reports[str(told.TransactionUID)] = (
            {str(i.ReferencedSOPInstanceUID) for i in told.get("ReferencedSOPSequence", ())},
            {str(i.ReferencedSOPInstanceUID) for i in told.get("FailedSOPSequence", ())},
        )
        return 0, None

    def begin(self, sending: Sending, closed: Any) -> None:
        """Send in a thread; `closed`: whether a study is closed, by its UID."""
        sending.thread = threading.Thread(target=self._run, args=(sending, closed), daemon=True)
        sending.thread.start()

    def _run(self, sending: Sending, closed: Any) -> None:
        files = [one.path for one in sending.study.instances]
        deadline = time.monotonic() + self._seconds
        if sending.way == "late":
            self._send(sending, files[:-2], deadline)
            while not closed(sending.uid) and time.monotonic() < deadline:
                time.sleep(0.1)
            self._send(sending, files[-2:], deadline)
        elif sending.way == "split":
            for start in range(3):
                self._send(sending, files[start::3], deadline)
        else:
            self._send(sending, files, deadline)
        if sending.way.startswith("commit") and sending.complete:
            self._commit(sending, deadline)

    def _send(self, sending: Sending, files: Sequence[Path], deadline: float) -> None:
        by_path = {one.path: one.SOPInstanceUID for one in sending.study.instances}
        while time.monotonic() < deadline:
            waiting = [path for path in files if by_path[path] not in sending.acknowledged]
            if not waiting:
                return
            try:
                for answer in peers.store(self.config, self.node, waiting):
                    if answer.status == 0:
                        sending.acknowledged[answer.sop_uid] = answer.path
            except OverreadError:
                time.sleep(0.2)
        sending.wrong.append(f"study {sending.uid} could not be sent within {self._seconds:g} s")

    def _commit(self, sending: Sending, deadline: float) -> None:
        transaction = f"2.25.{int(sending.uid.rpartition('.')[2]) + 1}"[:64]
        named = [(one.SOPClassUID, one.SOPInstanceUID) for one in sending.study.instances]
        stay = 3.0 if sending.way == "commit-stay" else 0.0
        taken = False
        while transaction not in self._reports and time.monotonic() < deadline:
            taken = taken or self._ask(transaction, named, stay)
            time.sleep(0.1)
        if transaction not in self._reports:
            sending.wrong.append(f"study {sending.uid}: no answer about its storage commitment")
        elif self._reports[transaction] != ({uid for _, uid in named}, set()):
            sending.wrong.append(f"study {sending.uid}: the node said that it does not keep all of it")

    def _ask(self, transaction: str, named: Sequence[tuple[str, str]], stay: float) -> bool:
        """One request: whether the node took it."""
        ae = AE("MODALITY")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 10
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        association = ae.associate("127.0.0.1", self.node.port, ae_title="OVERREAD", evt_handlers=handlers)
        if not association.is_established:
            return False
        arguments = (1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        try:
            answer, _ = association.send_n_action(dataset(transaction, named), *arguments)
        except RuntimeError:  # the association ended under it
            return False
        until = time.monotonic() + stay
        while time.monotonic() < until and transaction not in self._reports and association.is_established:
            time.sleep(0.05)
        if association.is_established:
            association.release()
        return "Status" in answer and answer.Status == 0


@contextmanager
def modality() -> Iterator[Modality]:
    """A modality that listens."""
    listening = Modality(free_port())
    ae = AE("MODALITY")
    ae.maximum_associations = 50
    ae.add_supported_context(UID(StorageCommitmentPushModel), scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, listening.on_report)]
    server = ae.start_server(("127.0.0.1", listening.port), block=False, evt_handlers=handlers)
    try:
        yield listening
    finally:
        server.shutdown()
