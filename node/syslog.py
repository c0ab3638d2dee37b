"""Syslog over TLS: messages of RFC 5424, framed as RFC 5425 says, to a receiver whose certificate is checked."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

from node.errors import ConfigError, TryAgain

_PRIORITY = 10 * 8 + 5  # security messages, normal but significant (PS3.15, A.6)
_MESSAGE_ID = "DICOM+RFC3881"  # PS3.15, A.6
_TIMEOUT = 5.0  # seconds for each step
_BOM = "\ufeff"


class Receiver:
    """Where messages go. `certificate` and `key`: what we show, where it wants to see something."""

    def __init__(self, host: str, port: int, ca: Path, certificate: Path | None, key: Path | None) -> None:
        """Raises ConfigError where a file is wrong."""
        self.host, self.port = host, port
        try:
            self._context = ssl.create_default_context(cafile=str(ca))
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            if certificate is not None and key is not None:
                self._context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            where = "audit.syslog-ca" if certificate is None else "audit.syslog-ca, -certificate or -key"
            raise ConfigError(where, f"cannot be used ({getattr(error, 'reason', None) or error})") from error

    def send(self, messages: Iterable[bytes]) -> None:
        """Send framed messages and close. Syslog has no answers: that all has come is known when the receiver closes
        its side after ours, for TLS keeps the order. Raises TryAgain when it is not known: send them again."""
        try:
            with (
                socket.create_connection((self.host, self.port), _TIMEOUT) as plain,
                self._context.wrap_socket(plain, server_hostname=self.host) as secure,
            ):
                for message in messages:
                    secure.sendall(message)
                _close(secure)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            where = f"{self.host}:{self.port}"
            raise TryAgain(f"the syslog receiver at {where} did not take the events ({reason})") from error


def _close(secure: ssl.SSLSocket) -> None:
    """Say that nothing more comes, and wait for the receiver to say the same. Raises OSError when it breaks off."""
    # A receiver that just closes has read all before it; one that had not would reset the connection.
    with contextlib.suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):
        secure.unwrap()


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type its password")


def framed(text: str, at: str) -> bytes:
    """One message with its length before it. `at`: ISO 8601 with a zone and microseconds at most (RFC 5424, 6.2.3)."""
    header = f"<{_PRIORITY}>1 {at} {_word(socket.gethostname(), 255)} overread {os.getpid()} {_MESSAGE_ID} - "
    content = (header + _BOM + text).encode("utf-8", "replace")
    return f"{len(content)} ".encode("ascii") + content


def _word(text: str, most: int) -> str:
    return "".join(c for c in text if 33 <= ord(c) <= 126)[:most] or "-"
