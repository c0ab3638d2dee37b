"""The door of HL7: MLLP over TCP or TLS (HL7 v2 Transport Specification, MLLP release 1), bounded in every way.

A message is answered AA once its labels are committed, so that a sender that got no answer may send it again: the same
labels again change nothing. AE: its content; AR: its kind, or the database is away. No log line, event or answer holds
anything of a message but its control ID, which goes back to who sent it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections import Counter

from node import logs, tls
from node.clock import steady
from node.config import Config
from node.errors import ConfigError, GiveUp, TryAgain
from node.reports import hl7, oru
from node.store import Store

log = logs.get(__name__)
MOST = 32  # connections at once
MOST_PER_ADDRESS = 8
MESSAGE_WITHIN = 30.0  # seconds from a message's first byte to its last; also for the TLS handshake
IDLE = 3600.0  # seconds without a message until a connection is closed
TELL_EVERY = 60.0  # seconds between two records of refusals of one address for one reason
_MOST_TOLD = 1000  # of these
_LOOK = 0.5  # seconds
_BEGIN, _END = b"\x0b", b"\x1c"


class Frames:
    """The messages of a stream; keeps at most one that is not whole yet."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._looked = 0

    @property
    def inside(self) -> bool:
        """Whether a message has begun."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises Unreadable for what is not MLLP, or too large."""
        self._held += data
        whole: list[bytes] = []
        while True:
            if not self._looked:
                while self._held[:1] in (b"\r", b"\n"):  # behind the message before
                    del self._held[0]
                if not self._held:
                    return whole
                if self._held[:1] != _BEGIN:
                    raise hl7.Unreadable("it does not begin as MLLP does")
            end = self._held.find(_END, self._looked)
            if end < 0:
                self._looked = len(self._held)
                if self._looked > hl7.LARGEST:
                    raise hl7.Unreadable(f"it is larger than {hl7.LARGEST >> 10} KiB")
                return whole
            whole.append(bytes(self._held[1:end]))
            del self._held[: end + 1]
            self._looked = 0


class Door:
    """Listens, and reads what allowed callers say. Raises ConfigError when the port or TLS cannot be had."""

    def __init__(self, config: Config, store: Store) -> None:
        self._section, self._store, self._name = config.hl7, store, config.node.ae_title
        self._networks = [ipaddress.ip_network(one, strict=False) for one in config.hl7.peers]
        ask = config.node.tls_client_certificates == "required"
        self._tls = tls.server_context(config.node, ask) if config.hl7.tls else None
        try:
            self._socket = socket.create_server((config.hl7.host, config.hl7.port))
        except OSError as error:
            where = f"{config.hl7.host}:{config.hl7.port}"
            raise ConfigError("hl7.port", f"{where} cannot be listened on ({error.strerror})") from error
        self._socket.settimeout(_LOOK)
        self.port = int(self._socket.getsockname()[1])
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()
        # (address, answer, reason) -> when it was told, refusals since
        self._told: dict[tuple[str, str, str], tuple[float, int]] = {}

    def serve(self, stop: threading.Event) -> None:
        """Let callers in until `stop` is set, and wait for those inside."""
        threads: list[threading.Thread] = []
        with self._socket:
            while not stop.is_set():
                try:
                    connection, place = self._socket.accept()
                except TimeoutError:
                    continue
                except OSError as error:
                    log.warning("hl7 cannot accept a connection", reason=error.strerror)
                    stop.wait(_LOOK)
                    continue
                threads = [one for one in threads if one.is_alive()]
                address = str(place[0])
                why_not = self._enter(address)
                if why_not is not None:
                    connection.close()
                    self.refused(address, "none", why_not)
                    continue
                thread = threading.Thread(target=self._guest, args=(connection, address, stop), daemon=True)
                threads.append(thread)
                thread.start()
        for thread in threads:
            thread.join(2 * _LOOK)

    def _enter(self, address: str) -> str | None:
        plain = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(plain, "ipv4_mapped", None) or plain
        if not any(mapped in network for network in self._networks):
            return "its address is not of [hl7] peers"
        with self._lock:
            if self._inside.total() >= MOST or self._inside[address] >= MOST_PER_ADDRESS:
                return f"{MOST} connections are open, or {MOST_PER_ADDRESS} from there"
            self._inside[address] += 1
        return None

    def _guest(self, connection: socket.socket, address: str, stop: threading.Event) -> None:
        try:
            with contextlib.closing(self._secured(connection)) as secured:
                self._converse(secured, address, stop)
        except (OSError, ssl.SSLError) as error:
            self.refused(address, "none", f"the connection broke: {tls.words(error)}")
        except hl7.Unreadable as error:
            self.refused(address, "none", str(error))
        finally:
            connection.close()
            with self._lock:
                self._inside[address] -= 1
                if not self._inside[address]:
                    del self._inside[address]

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        connection.settimeout(MESSAGE_WITHIN)
        secured = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        secured.do_handshake()
        return secured

    def _converse(self, connection: socket.socket, address: str, stop: threading.Event) -> None:
        frames, heard, begun = Frames(), steady(), None
        while not stop.is_set() or frames.inside:
            connection.settimeout(_LOOK)
            try:
                data = connection.recv(1 << 16)
                if not data:
                    return
            except TimeoutError:
                data = b""
            for content in frames.feed(data) if data else ():
                connection.settimeout(MESSAGE_WITHIN)
                connection.sendall(_BEGIN + self.answer(content, address) + _END + b"\r")
                heard, begun = steady(), None
            begun = (begun or steady()) if frames.inside else None
            if begun is not None and steady() - begun > MESSAGE_WITHIN:
                raise hl7.Unreadable(f"it was not whole within {MESSAGE_WITHIN:g} s")
            if begun is None and steady() - heard > IDLE:
                return

    def answer(self, content: bytes, address: str) -> bytes:
        """Take a message in; the acknowledgement for its sender."""
        code, reason = "AA", ""
        try:
            message = hl7.parse(content)
            oru.check(message)
            found = oru.labels_of(message, self._section)
            words = Counter(str(one.word) for one in self._store.add_labels(found, "hl7")) if found else {}
            log.info("hl7 message read", address=address, labels=len(found), **words)
        except oru.Declined as declined:
            code, reason = declined.code, str(declined)
        except (hl7.Unreadable, GiveUp) as error:
            code, reason = "AE", str(error)
        except TryAgain as away:
            code, reason = "AR", f"{away.reason}: send it again"
        except Exception as error:  # noqa: BLE001  the loop's one broad except: one message must not end the others'
            code, reason = "AR", "it cannot be read"
            log.error("hl7 message broke the reading", error=type(error).__name__, where=logs.where(error))
        if code != "AA":
            self.refused(address, code, reason)
        return hl7.answer(content, code, reason, self._store.clock(), self._name)

    def refused(self, address: str, code: str, reason: str) -> None:
        """Put a refusal on record, of one address for one reason at most every minute."""
        now, key = steady(), (address, code, reason)
        with self._lock:
            at, before = self._told.get(key, (-TELL_EVERY, 0))
            count = before + 1
            telling = now - at >= TELL_EVERY
            if len(self._told) >= _MOST_TOLD and key not in self._told:
                self._told.clear()
            self._told[key] = (now, 0) if telling else (at, count)
        if telling:
            log.warning("hl7 refused", address=address, answer=code, reason=reason, count=count)
            try:
                self._store.refuse_message(address, code, reason, count)
            except TryAgain as away:
                log.warning("not in the audit log", what="message.refused", reason=away.reason)
