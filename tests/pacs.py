"""A PACS of pynetdicom's for tests, which may be away, slow, full, choosy, or fall over in the middle."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, evt

from tests.peers import free_port
from tests.senders import CT, EXPLICIT

SR = "1.2.840.10008.5.1.4.1.1.88.11"  # Basic Text SR
ABORT, DIE = "abort", "die"  # instead of a status: an A-ABORT; the connection is gone after the instance is stored

Says = Callable[[str], int | str]


@dataclass
class Pacs:
    """Answers each instance, by its UID, with what `says` gives; keeps what it stores in order of arrival."""

    port: int = field(default_factory=free_port)
    says: Says = lambda uid: 0
    sop_classes: tuple[str, ...] = (CT, SR)
    seconds: float = 0  # that each answer takes
    came: list[str] = field(default_factory=list)  # every C-STORE
    kept: list[str] = field(default_factory=list)  # UIDs, in the order in which they were first stored
    ae: AE | None = None

    def on_store(self, event: Any) -> int:
        """One C-STORE."""
        uid = str(event.request.AffectedSOPInstanceUID)
        self.came.append(uid)
        time.sleep(self.seconds)
        said = self.says(uid)
        if said == ABORT:
            event.assoc.abort()
            return 0xC000
        if (said == DIE or said == 0 or (isinstance(said, int) and 0xB000 <= said <= 0xBFFF)) and uid not in self.kept:
            self.kept.append(uid)
        if said == DIE:
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            return 0
        assert isinstance(said, int)
        return said

    @contextlib.contextmanager
    def up(self) -> Iterator[Pacs]:
        """It runs."""
        self.ae = AE("PACS")
        self.ae.maximum_associations = 20
        for sop_class in self.sop_classes:
            self.ae.add_supported_context(sop_class, [EXPLICIT])
        server = self.ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.on_store)]
        )
        try:
            yield self
        finally:
            server.shutdown()


@contextlib.contextmanager
def raw(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that talks as `talk` does with each connection; gives its port. `talk` ends when its socket breaks."""
    listening = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            open_ones.append(sock)
            threading.Thread(target=speak, args=(sock,), daemon=True).start()

    def speak(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            talk(sock)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)
        for sock in open_ones:
            sock.close()


def say_nothing(sock: socket.socket) -> None:
    """Takes the connection, and that is all."""
    while sock.recv(65536):
        pass
