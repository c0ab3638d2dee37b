"""Instances and a sender that can misbehave, for tests of the listener."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from node import dimse
from node.part10 import file_head
from node.peers.proposal import Offer
from node.peers.requestor import Requestor
from node.sections import Node, Peer

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
OFFER: Offer = (CT, EXPLICIT)


def changed(made: Dataset, changes: Mapping[str, Any]) -> Dataset:
    """`made` itself, its attributes replaced by those of `changes` or, where these are None, removed."""
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def instance(number: int = 1, study: str = "1.2.3", pixels: int = 2000, **changes: Any) -> Dataset:
    """A small CT-like instance; `changes` replace or, when None, remove attributes."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, f"{study}.9.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.9"
    made.Modality, made.PatientID, made.PatientName = "CT", "SECRET-ID-42", "Secret^Name"
    made.InstanceNumber = number
    made.add_new(0x7FE00010, "OW", bytes(number % 256 for _ in range(pixels)))
    return changed(made, changes)


def encode(made: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The dataset as it goes over the wire."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2"
    write_dataset(buffer, made)
    content = buffer.getvalue()
    if syntax == "1.2.840.10008.1.2.1.99":
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = packer.compress(content) + packer.flush()
    return content


def write(folder: Path, made: Dataset, syntax: str = EXPLICIT) -> Path:
    """A DICOM file of `made`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{made.SOPInstanceUID}-{syntax}.dcm"
    path.write_bytes(file_head(made.SOPClassUID, made.SOPInstanceUID, syntax, "SENDER") + encode(made, syntax))
    return path


class Sender(Requestor):
    """An association with full control over what is sent."""

    def __init__(
        self, port: int, offers: list[Offer] | None = None, ae_title: str = "SENDER", called: str = "OVERREAD",
        files: dict[str, Any] | None = None, names: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`files`: over TLS, with these of `certificate`, `key` and `ca`; `names`: the listener's certificate-names."""
        self.offers = offers or [OFFER]
        node = Node(**{"ae-title": ae_title, "acse-timeout": 5, "dimse-timeout": 10}, **(files or {}))
        peer = Peer(**{"name": "node", "ae-title": called, "host": "127.0.0.1", "port": port, "tls": files is not None},
                    **{"certificate-names": names})  # fmt: skip
        super().__init__(node, peer, self.offers)

    @property
    def connection(self) -> socket.socket:
        """The socket."""
        return self._socket

    def request(self, sop_uid: str, offer: Offer = OFFER, sop_class: str | None = None) -> None:
        """Send the command of a C-STORE and nothing else."""
        command = dimse.store_request(self._next_id(), sop_class or offer[0], sop_uid)
        self._send_command(self._contexts[offer], command)

    def fragment(self, data: bytes, last: bool, offer: Offer = OFFER) -> None:
        """Send a part of a dataset in a PDU of its own."""
        control = dimse.LAST if last else 0
        self._send(dimse.p_data_header(self._contexts[offer], control, len(data)) + data)

    def send(
        self, made: Dataset | bytes, sop_uid: str | None = None, offer: Offer = OFFER, sop_class: str | None = None,
        piece: int = 16384,
    ) -> tuple[int, str]:  # fmt: skip
        """One C-STORE: (status, comment)."""
        content = made if isinstance(made, bytes) else encode(made, offer[1])
        self.request(sop_uid or getattr(made, "SOPInstanceUID", "1.2.3.9.1"), offer, sop_class)
        pieces = [content[at : at + piece] for at in range(0, len(content), piece)] or [b""]
        for index, data in enumerate(pieces):
            self.fragment(data, index == len(pieces) - 1, offer)
        return self._answer()

    def command(self, encoded: bytes, offer: Offer = OFFER) -> tuple[int, str]:
        """Any command without a dataset: (status, comment)."""
        self._send_command(self._contexts[offer], encoded)
        return self._answer()
