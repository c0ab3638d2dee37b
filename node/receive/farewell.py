"""The last word on a connection: sent so that the peer gets to read it."""

from __future__ import annotations

import contextlib
import socket
import time

from node import tls

_LINGER = 1.0  # seconds that the peer may take to read our last word


def last_word(sock: socket.socket, encoded: bytes) -> None:
    """Send, and give the peer a moment to read: a close over unread bytes would reset the connection."""
    deadline = time.monotonic() + _LINGER
    with contextlib.suppress(OSError):
        sock.settimeout(_LINGER)
        sock.sendall(encoded)
        tls.close_notify(sock)
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65536):
                break
