"""DICOM over TLS: the contexts of both sides, the handshake, whose certificate it was, and failures in words.

The profile is PS3.15, B.12 (BCP 195 with RFC 8996 and RFC 9325): TLS 1.2 or 1.3, authenticated encryption with
forward secrecy only. Compression, renegotiation and session resumption are off: what is not there needs no defence.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from node.errors import ConfigError

# RFC 9325, 4.2, for TLS 1.2; OpenSSL's own suites for TLS 1.3 are all of that kind.
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)
HANDSHAKE, ALERT = 0x16, 0x15  # record types (RFC 8446, 5.1): what a connection that speaks TLS begins with
ACCESS_DENIED = bytes((ALERT, 3, 3, 0, 2, 2, 49))  # a fatal alert (RFC 8446, 6.2), readable before any handshake
FINGERPRINT = "sha256:"

_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "WRONG_VERSION_NUMBER": "what it says is not TLS",
    "PACKET_LENGTH_TOO_LONG": "what it says is not TLS",
    "HTTP_REQUEST": "what it says is HTTP in plain text",
    "NO_SHARED_CIPHER": "it offers no cipher suite of BCP 195",
    "UNSUPPORTED_PROTOCOL": "it speaks nothing newer than TLS 1.1",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that we do",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the CA of our certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not take our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses the handshake: no cipher suite in common, or it wants a certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "it lets nobody in from our address",
}


class Keys(Protocol):
    """Where our certificate (with its chain), its key and the CAs that we trust lie: PEM files."""

    @property
    def certificate(self) -> Path | None:
        """Our certificate."""

    @property
    def key(self) -> Path | None:
        """Its key."""

    @property
    def ca(self) -> Path | None:
        """Who signs the certificates of others."""


class NoHandshake(Exception):
    """TLS did not come about; the text says why. `answer`: bytes that tell the caller, where OpenSSL has not."""

    def __init__(self, reason: str, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.answer = answer


def server_context(keys: Keys, ask_for_certificates: bool) -> ssl.SSLContext:
    """For our TLS port. Raises ConfigError with the key whose file is wrong."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    _present(context, keys)
    if ask_for_certificates:
        _trust(context, keys)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(keys: Keys) -> ssl.SSLContext:
    """For calling a peer; our certificate is shown where the peer asks. Raises ConfigError."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, keys)
    if keys.certificate is not None:
        _present(context, keys)
    return context


def knock(sock: socket.socket, context: ssl.SSLContext, host: str, names: Collection[str]) -> ssl.SSLSocket:
    """Open TLS on a connection to a peer, within the socket's time-out; on an error the connection is closed.

    `names`: its certificate must have one of them; without them it must be issued for `host` (a name or an address).
    Raises NoHandshake.
    """
    context.check_hostname = not names
    try:
        secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        sock.close()
        raise NoHandshake(words(error)) from error
    try:
        secured.do_handshake()
        found = names_of(secured)
        if names and found.isdisjoint(names):
            raise NoHandshake(f"its certificate is for {readable(found)}, not for {' or '.join(names)}")
    except OSError as error:
        secured.close()
        raise NoHandshake(words(error)) from error
    except NoHandshake:
        secured.close()
        raise
    return secured


def names_of(sock: ssl.SSLSocket) -> frozenset[str]:
    """What the other side's verified certificate may be called, in small letters: CN, DNS names, `sha256:` digest."""
    encoded = sock.getpeercert(binary_form=True)
    shown: Any = sock.getpeercert()  # its stub knows no shape
    if not encoded or not shown:
        return frozenset()
    pairs = [pair for part in shown.get("subject", ()) for pair in part]
    found = {str(value) for key, value in pairs if key == "commonName"}
    found |= {str(value) for kind, value in shown.get("subjectAltName", ()) if kind == "DNS"}
    return frozenset(name.lower() for name in found) | {FINGERPRINT + hashlib.sha256(encoded).hexdigest()}


def readable(names: Collection[str]) -> str:
    """Names of a certificate as they may stand in a log line."""
    if not names:
        return "no certificate"
    chosen = sorted(name for name in names if not name.startswith(FINGERPRINT)) or sorted(names)
    return " ".join("".join(c if " " < c <= "~" and c not in '"\\' else "?" for c in name[:64]) for name in chosen[:4])


def close_notify(sock: socket.socket) -> None:
    """Tell the other side that no more comes (RFC 8446, 6.1), without waiting for its answer; nothing without TLS."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # ValueError: the connection had ended before it was TLS
            sock.settimeout(0)
            sock.unwrap()


def words(error: OSError) -> str:
    """A failure of TLS or of the connection in plain words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not taken: {error.verify_message.rstrip('.')}"
    if isinstance(error, TimeoutError):
        return "the handshake was not complete in time"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "it closed the connection"
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason or "unknown failure")
        return _WORDS.get(reason, reason.lower().replace("_", " "))
    return error.strerror or type(error).__name__


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    return context


def _present(context: ssl.SSLContext, keys: Keys) -> None:
    certificate, key = _file("certificate", keys.certificate), _file("key", keys.key)

    def password() -> str:
        raise ConfigError("node.key", f"{key} is encrypted; a node starts without a person: give it a key without")

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError("node.key", f"{key} does not belong to the certificate {certificate}") from error
        reason = f"no certificate and key that OpenSSL takes in {certificate} and {key} ({words(error)})"
        raise ConfigError("node.certificate, node.key", reason) from error


def _trust(context: ssl.SSLContext, keys: Keys) -> None:
    file = _file("ca", keys.ca)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ConfigError("node.ca", f"{file} holds no PEM certificate ({words(error)})") from error


def _file(name: str, path: Path | None) -> Path:
    if path is None:
        raise ConfigError(f"node.{name}", "TLS needs this key; `overread certs` makes what it names")
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise ConfigError(f"node.{name}", f"{path} cannot be read ({error.strerror})") from error
