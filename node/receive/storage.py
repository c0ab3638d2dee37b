"""One C-STORE on its way to the spool: bytes as they come, then identity, then durable, then committed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import struct
from collections import deque
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.values import convert_SQ

from node import dimse, header
from node.errors import Refused, TryAgain
from node.part10 import file_head
from node.receive.commit import GroupCommit
from node.receive.negotiation import UID_TEXT, Context
from node.sections import Node
from node.spool import Spool
from node.store import Received, Store
from pipelines.outputs.identity import is_ours

_MODALITY = re.compile(r"[A-Z0-9_ ]{0,16}")  # a code string (PS3.5, 6.2)
_CHECK_DISK_EVERY = 64 << 20  # bytes
_WRITE_OUT_EVERY = 192 << 10  # bytes
_MOST_BLANKS = 16


class Blanks:
    """Empty temporary files in the spool, made while a sender prepares its next instance: one costs up to 0.8 ms."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._blanks: deque[tuple[Path, int]] = deque()

    def take(self) -> tuple[Path, int]:
        """The path and the open descriptor of an empty file. Raises OSError."""
        try:
            return self._blanks.popleft()
        except IndexError:
            return self._make()

    def prepare(self) -> None:
        """Make one for later. An error shows when `take` meets it again."""
        if len(self._blanks) < _MOST_BLANKS:
            with contextlib.suppress(OSError):
                self._blanks.append(self._make())

    def close(self) -> None:
        """Delete those that are left."""
        while self._blanks:
            path, descriptor = self._blanks.popleft()
            os.close(descriptor)
            path.unlink(missing_ok=True)

    def _make(self) -> tuple[Path, int]:
        path = self._spool.incoming / f"{secrets.token_hex(16)}.tmp"
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)


class Storage:
    """Where instances go, shared by all associations; `close` it when they are over."""

    def __init__(self, spool: Spool, store: Store, node: Node) -> None:
        self.spool = spool
        self.store = store
        self.commits = GroupCommit(store.add_instances)
        self.blanks = Blanks(spool)
        self._min_free_disk = node.min_free_disk

    def check_room(self) -> None:
        """Raise Refused 0xA700 when the spool's disk is nearly full."""
        try:
            free = self.spool.free_bytes()
        except OSError as error:
            raise _no_room(error) from error
        if free < self._min_free_disk:
            raise Refused(dimse.OUT_OF_RESOURCES, f"less than {self._min_free_disk >> 20} MiB of disk are free")

    def close(self) -> None:
        """Tidy up."""
        self.blanks.close()


class Instance:
    """An instance that arrives: `write` its dataset, then `finish`, or `drop` it at any time."""

    def __init__(
        self, storage: Storage, command: dimse.Command, context: Context, calling_ae: str, peer: str, association: int
    ) -> None:
        """Raises Refused when there is no room, or when the request does not fit its presentation context."""
        if command.sop_class != context.sop_class:
            raise Refused(dimse.DOES_NOT_MATCH, "AffectedSOPClassUID is not that of the presentation context")
        for keyword, uid in (("AffectedSOPClassUID", command.sop_class), ("AffectedSOPInstanceUID", command.sop_uid)):
            if not UID_TEXT.fullmatch(uid):
                raise Refused(dimse.CANNOT_UNDERSTAND, f"{keyword} is missing or is not a UID")
        storage.check_room()
        self._storage = storage
        self._command = command
        self._transfer_syntax = context.transfer_syntax
        self._peer = peer
        self._association = association
        self._digest = hashlib.sha256()
        self._size = 0
        self._written_out = 0
        head = file_head(command.sop_class, command.sop_uid, context.transfer_syntax, calling_ae)
        self._head_size = len(head)
        self._file: int | None = None
        try:
            self._path, self._file = storage.blanks.take()
            self._put(memoryview(head))
        except OSError as error:
            raise _no_room(error) from error

    def write(self, fragment: memoryview) -> None:
        """Append bytes of the dataset. Raises Refused 0xA700 when the disk does not take them."""
        before, self._size = self._size, self._size + len(fragment)
        if before // _CHECK_DISK_EVERY != self._size // _CHECK_DISK_EVERY:
            self._storage.check_room()
        self._digest.update(fragment)
        try:
            self._put(fragment)
            self._write_out()
        except OSError as error:
            raise _no_room(error) from error

    def _write_out(self) -> None:
        """Start writing to the disk what has come, so that the flush at the end finds little left to do."""
        end = self._head_size + self._size
        if end - self._written_out >= _WRITE_OUT_EVERY and hasattr(os, "posix_fadvise"):
            length = end - self._written_out
            os.posix_fadvise(self._descriptor(), self._written_out, length, os.POSIX_FADV_DONTNEED)
            self._written_out = end

    def finish(self) -> None:
        """Make the instance durable: file, folder, row and event. Raises Refused; success only when it returns."""
        spool = self._storage.spool
        try:
            identity = self._identity()
            digest = self._digest.hexdigest()
            told_apart_by = (identity.StudyInstanceUID, identity.SOPInstanceUID, self._transfer_syntax, digest)
            name = hashlib.sha256("\x1f".join(told_apart_by).encode()).hexdigest()
            self._close()  # a file system over a network may find only now that it is full
            path = spool.put(self._path, identity.StudyInstanceUID, name)
            patient = self._storage.store.patient_digest(identity.PatientID, identity.IssuerOfPatientID)
            received = Received(
                study_uid=identity.StudyInstanceUID, series_uid=identity.SeriesInstanceUID,
                sop_uid=identity.SOPInstanceUID, sop_class=identity.SOPClassUID,
                transfer_syntax=self._transfer_syntax, modality=_code(identity.Modality), digest=digest,
                size=self._head_size + self._size, path=path,
                association_id=self._association, peer=self._peer, patient_digest=patient, ours=_is_ours(identity),
            )  # fmt: skip
            self._storage.commits.commit(received)
        except OSError as error:
            raise _no_room(error) from error
        except TryAgain as away:
            # The file stays: a start-up sweep removes it unless the sender, who got no success, sends it again.
            raise Refused(dimse.OUT_OF_RESOURCES, away.reason, database_away=True) from away

    def drop(self) -> None:
        """Forget what has come."""
        with contextlib.suppress(OSError):  # of a disk that is gone: the sender has its answer all the same
            self._close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _identity(self) -> header.Identity:
        try:
            identity = header.read_identity(self._read, self._size, self._transfer_syntax)
        except header.Unreadable as error:
            raise Refused(dimse.CANNOT_UNDERSTAND, str(error)) from error
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            if not UID_TEXT.fullmatch(getattr(identity, keyword)):
                raise Refused(dimse.CANNOT_UNDERSTAND, f"{keyword} is missing or is not a UID")
        if identity.SOPClassUID != self._command.sop_class:
            raise Refused(dimse.DOES_NOT_MATCH, "SOPClassUID of the dataset is not that of the request")
        if identity.SOPInstanceUID != self._command.sop_uid:
            raise Refused(dimse.DOES_NOT_MATCH, "SOPInstanceUID of the dataset is not that of the request")
        return identity

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor(), length, self._head_size + offset)

    def _put(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._descriptor(), data) :]

    def _descriptor(self) -> int:
        assert self._file is not None
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            descriptor, self._file = self._file, None
            os.close(descriptor)


def _no_room(error: OSError) -> Refused:
    return Refused(dimse.OUT_OF_RESOURCES, f"the spool cannot be written ({error.strerror or type(error).__name__})")


def _code(received: str) -> str:
    """A received Modality as it may stand in a row."""
    return received if _MODALITY.fullmatch(received) else ""


def _is_ours(identity: header.Identity) -> bool:
    """Whether this is one of our own results that came back."""
    encoded = identity.contributing_equipment
    if b"Overread" not in encoded:
        return False
    dataset = Dataset()
    try:
        dataset.ContributingEquipmentSequence = convert_SQ(encoded, identity.implicit, identity.little_endian)
        return is_ours(dataset)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, struct.error, RecursionError):
        return False  # a sequence that nobody can read was not written by us
