"""A stand-in for a PACS: a small Storage SCP that keeps what it gets as files, for the demo and for tests.

    python -m node.stand_in_pacs --port 0 --folder DIR --ae-title PACS

prints one line of JSON when it takes connections ({"port": 12345, ...}) and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from node import dimse, header, logs
from node.errors import Refused
from node.part10 import file_head
from node.receive.association import Arrival
from node.receive.limits import Limits
from node.receive.listener import Listener
from node.receive.negotiation import Context, Rejection, Request

LIMITS = Limits(max_pdu=131072, acse_timeout=10, dimse_timeout=30, network_timeout=60, idle_pdu_timeout=15)


@dataclass(frozen=True)
class StandIn:
    """Takes everybody who calls it by its AE title."""

    folder: Path
    ae_title: str
    may: frozenset[str] = frozenset({"store", "echo"})

    def knock(self, request: Request, address: str) -> StandIn | Rejection:
        """Let the caller in."""
        if request.called_ae.strip() != self.ae_title:
            return Rejection(1, 1, 7, f"called AE title is not {self.ae_title}")
        return self

    def turned_away(self, address: str, reason: str) -> None:
        """A connection that was no association."""
        logs.get(__name__).warning("connection dropped", address=address, reason=reason)

    def arrive(self, command: dimse.Command, context: Context) -> Arrival:
        """Begin a file."""
        return _File(self.folder, command, context)

    def answered(self) -> None:
        """The sender has its answer."""

    def refused(self, command: dimse.Command, refusal: Refused) -> None:
        """An instance is answered with a failure."""
        logs.get(__name__).warning("instance refused", reason=str(refusal))

    def end(self, how: str) -> None:
        """The association is over."""


class _File:
    def __init__(self, folder: Path, command: dimse.Command, context: Context) -> None:
        self._folder = folder
        self._syntax = context.transfer_syntax
        self._head = file_head(command.sop_class, command.sop_uid, context.transfer_syntax, "")
        self._path = folder / f".{secrets.token_hex(8)}.tmp"
        self._file = open(self._path, "w+b")  # noqa: SIM115 - closed in finish and drop
        self._file.write(self._head)

    def write(self, fragment: memoryview) -> None:
        self._file.write(fragment)

    def finish(self) -> None:
        self._file.flush()
        size = self._file.tell() - len(self._head)
        try:
            identity = header.read_identity(self._read, size, self._syntax)
        except header.Unreadable as error:
            raise Refused(dimse.CANNOT_UNDERSTAND, str(error)) from error
        os.fsync(self._file.fileno())
        self._file.close()
        series = self._folder / _digest(identity.StudyInstanceUID) / _digest(identity.SeriesInstanceUID)
        series.mkdir(parents=True, exist_ok=True)
        os.replace(self._path, series / f"{_digest(identity.SOPInstanceUID)}.dcm")

    def drop(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, len(self._head) + offset)


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m node.stand_in_pacs", description="A stand-in PACS for the demo.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ae-title", default="PACS")
    asked = parser.parse_args()
    logs.set_up("warning", loop="stand-in-pacs")
    asked.folder.mkdir(parents=True, exist_ok=True)
    pacs = StandIn(asked.folder, asked.ae_title)
    listener = Listener(asked.host, asked.port, LIMITS, pacs, lambda address: True)
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    print(json.dumps({"port": listener.port, "ae_title": asked.ae_title, "folder": str(asked.folder)}), flush=True)
    listener.run(stop)


if __name__ == "__main__":
    main()
