"""The listening socket: connections come in here, stand in the hall until they have spoken, and are counted out.

A connection that has not sent its association request takes no place from real senders: when the hall is full,
whoever has stood there longest leaves. Addresses that no peer calls from get a small corner of it, only so that
the refusal can name their AE title.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from node import logs
from node.errors import ConfigError
from node.receive.admission import plain_address
from node.receive.association import Association, Door
from node.receive.limits import Limits

_log = logs.get(__name__)

HALL = 128  # connections that have not asked for an association yet
HALL_PER_ADDRESS = 32
STRANGERS = 8  # of them from addresses that no peer calls from
QUIET = 3.0  # seconds between two messages after which an association ends at the stop
_POLL = 0.2  # seconds
_AT_ONCE = 32  # connections accepted before the clock is looked at


@dataclass(frozen=True)
class Secure:
    """The port where TLS comes before DICOM."""

    port: int
    context: ssl.SSLContext


class Listener:
    """Accepts connections on `host`:`port` and gives each its own thread, in which a TLS handshake happens too.

    `knows_address` is asked before a byte is read; `tick` is called a few times a second. `port` None: only `secure`.
    """

    def __init__(
        self, host: str, port: int | None, limits: Limits, door: Door, knows_address: Callable[[str], bool],
        tick: Callable[[], None] = lambda: None, secure: Secure | None = None, grace: float = 10.0,
    ) -> None:  # fmt: skip
        """`grace`: seconds that associations have to finish at the stop. Raises ConfigError when an address cannot be
        bound."""
        self._grace = grace
        self._limits = limits
        self._door = door
        self._knows_address = knows_address
        self._tick = tick
        self._lock = threading.Lock()
        self._threads: dict[Association, threading.Thread] = {}
        self._strangers: set[Association] = set()
        self._sockets: dict[socket.socket, ssl.SSLContext | None] = {}
        self.port = 0 if port is None else self._listen(host, port, None, "node.port")
        self.tls_port = 0 if secure is None else self._listen(host, secure.port, secure.context, "node.tls-port")

    def _listen(self, host: str, port: int, secure: ssl.SSLContext | None, key: str) -> int:
        try:
            family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            made = socket.create_server(
                (host, port), family=family, backlog=128, dualstack_ipv6=family == socket.AF_INET6 and host == "::"
            )
        except OSError as error:
            for listening in self._sockets:
                listening.close()
            reason = f"cannot listen on {host}:{port} ({error.strerror or error})"
            raise ConfigError(f"node.host, {key}", reason) from error
        made.setblocking(False)
        self._sockets[made] = secure
        return int(made.getsockname()[1])

    def run(self, stop: threading.Event) -> None:
        """Accept until `stop` is set; then no more, and return when the associations are over or the grace is."""
        with selectors.DefaultSelector() as selector:
            for listening in self._sockets:
                selector.register(listening, selectors.EVENT_READ)
            while not stop.is_set():
                called = {key.fd for key, _ in selector.select(_POLL)}
                for listening in self._sockets:
                    for _ in range(_AT_ONCE if listening.fileno() in called else 0):
                        if not self._accept(listening):
                            break
                self._tick()
        for listening in self._sockets:
            listening.close()
        self._finish()

    def _accept(self, listening: socket.socket) -> bool:
        """Take one connection; False when none waits."""
        try:
            sock, remote = listening.accept()
        except BlockingIOError:
            return False
        except OSError as error:  # the peer left while it waited, or we are out of descriptors
            _log.warning("a connection could not be accepted", reason=error.strerror or str(error))
            time.sleep(0.01)
            return False
        address = str(plain_address(remote[0]))
        sock.setblocking(True)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        known = self._knows_address(address)
        association = Association(sock, address, self._door, self._limits, self._sockets[listening], known)
        thread = threading.Thread(target=self._talk, args=(association,), name=f"association-{address}", daemon=True)
        with self._lock:
            leaving = self._make_room(address, known)
            self._threads[association] = thread
            if not known:
                self._strangers.add(association)
        for longest in leaving:
            longest.hang_up()
        thread.start()
        return True

    def _make_room(self, address: str, known: bool) -> list[Association]:
        waiting = [one for one in self._threads if not one.established and not one.hung_up]  # oldest first
        crowds = [(waiting, HALL), ([one for one in waiting if one.address == address], HALL_PER_ADDRESS)]
        if not known:
            crowds.append(([one for one in waiting if one in self._strangers], STRANGERS))
        return list({crowd[0]: None for crowd, most in crowds if len(crowd) >= most})

    def _talk(self, association: Association) -> None:
        try:
            association.run()
        finally:
            with self._lock:
                self._threads.pop(association, None)
                self._strangers.discard(association)

    def _finish(self) -> None:
        deadline = time.monotonic() + self._grace
        while time.monotonic() < deadline:
            with self._lock:
                threads = dict(self._threads)
            if not threads:
                return
            for association in threads:
                # Between two instances a sender may pause; one that says nothing for longer has nothing more.
                if not association.established or association.quiet_for() > QUIET:
                    association.hang_up()
            time.sleep(0.05)
            self._tick()
        with self._lock:
            threads = dict(self._threads)
        for association in threads:
            association.hang_up()
        for thread in threads.values():
            thread.join(2.0)
