"""Reading PDUs from a socket that may be hostile: bounded in length, in time, and in memory.

A PDU is a type byte, a reserved byte, a length of four bytes and that many bytes of body (PS3.8, 9.3.1).
Nothing is allocated for a length that was only declared, a PDU that has begun must be complete by a
deadline however slowly it drips, and no read takes more than 64 KiB. The socket's own time-out does the
waiting (poll, not select), so descriptors over 1,023 and what a TLS socket holds pending are no special cases.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time

from node import tls

LARGEST_READ = 64 * 1024  # bytes
HEADER = 6  # bytes

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

# An association request names its contexts and grows with them: 128 contexts with every transfer syntax are 160 KB.
LONGEST_REQUEST = 256 * 1024

# What pynetdicom's decoders raise for a malformed PDU: with lengths that do not add up, also an assertion of theirs.
MALFORMED = (ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError, struct.error,
             AssertionError)  # fmt: skip


class BrokenPdu(Exception):
    """The peer broke the rules of the upper layer. `diagnostic`: the reason of the A-ABORT (PS3.8, table 9-26)."""

    def __init__(self, reason: str, diagnostic: int = 0) -> None:
        super().__init__(reason)
        self.diagnostic = diagnostic


class PeerGone(Exception):
    """The connection ended without a word: closed or reset."""


class PeerSilent(Exception):
    """No PDU began within the time allowed."""


class PduReader:
    """Reads one PDU after the other from `sock` into one buffer that it uses again.

    `longest`: bytes that a body may have; `pdu_seconds`: the time from a PDU's first byte to its last.
    """

    def __init__(self, sock: socket.socket, longest: int, pdu_seconds: float) -> None:
        self._socket = sock
        self._longest = longest
        self._pdu_seconds = pdu_seconds
        self._header = bytearray(HEADER)
        self._buffer = bytearray()

    def read(self, wait: float) -> tuple[int, memoryview]:
        """Return (type, body); the body is valid until the next call. `wait`: seconds until the first byte.

        Raises PeerSilent when nothing begins in time, BrokenPdu for a wrong type, too long or too slow a PDU,
        PeerGone when the connection ends.
        """
        header = memoryview(self._header)
        got = self._receive(header, time.monotonic() + wait)
        if got < 0:
            raise PeerSilent(f"nothing came for {wait:.3g} s")
        deadline = time.monotonic() + self._pdu_seconds
        while got < HEADER:
            got += self._more(header[got:], deadline)
        kind = header[0]
        if kind == tls.HANDSHAKE:
            raise BrokenPdu("it speaks TLS on the port for plain text; TLS has its own (tls-port)", 1)
        if kind == tls.ALERT:
            raise BrokenPdu("it answers with an alert of TLS: it takes no plain text there", 1)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            raise BrokenPdu(f"unknown PDU type 0x{kind:02X}", 1)
        length = int.from_bytes(header[2:6], "big")
        longest = max(self._longest, LONGEST_REQUEST) if kind in (ASSOCIATE_RQ, ASSOCIATE_AC) else self._longest
        if length > longest:
            raise BrokenPdu(f"a PDU of {length} bytes is declared, {longest} are allowed", 6)
        return kind, self._body(length, deadline)

    def _body(self, length: int, deadline: float) -> memoryview:
        got = 0
        while got < length:
            if got == len(self._buffer):
                # Grown only by what has come, so that a declared length costs its sender as much as us.
                self._buffer = bytearray(self._buffer.ljust(min(length, max(LARGEST_READ, 2 * got)), b"\0"))
            end = min(length, len(self._buffer), got + LARGEST_READ)
            got += self._more(memoryview(self._buffer)[got:end], deadline)
        return memoryview(self._buffer)[:length]

    def _more(self, into: memoryview, deadline: float) -> int:
        got = self._receive(into, deadline)
        if got < 0:
            raise BrokenPdu(f"a PDU was not complete after {self._pdu_seconds:g} s")
        return got

    def _receive(self, into: memoryview, deadline: float) -> int:
        """Bytes read, or -1 when the deadline passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            return -1
        try:
            self._socket.settimeout(left)
            got = self._socket.recv_into(into)
        except TimeoutError:
            return -1
        except ssl.SSLError as error:
            raise PeerGone(f"TLS: {tls.words(error)}") from error
        except OSError as error:
            raise PeerGone(f"the connection broke ({type(error).__name__})") from error
        if got == 0:
            raise PeerGone("the peer closed the connection")
        return got
