"""Signed tree heads: how many events there were, and their tree's root, signed with Ed25519 (RFC 8032).

What is signed is the structure of RFC 6962, 3.5 (version 0, type tree_hash, milliseconds since the epoch, size, root).
A head stands in the database and as one line of JSON in the file `heads.jsonl`, which is only ever appended to and may
lie on another volume. `public.pem` beside it holds the keys that the signatures are checked with, the newest last.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.errors import ConfigError
from node.spool import sync_folder

FILE, PUBLIC = "heads.jsonl", "public.pem"
Keys = Mapping[str, Ed25519PublicKey]  # by their fingerprints
_KEYS = {"size": int, "timestamp": int, "root": str, "key": str, "signature": str}


@dataclass(frozen=True)
class Head:
    """`root`: hex; `timestamp`: milliseconds since the epoch; `key`: the signing key's fingerprint; `signature`:
    base64."""

    size: int
    timestamp: int
    root: str
    key: str
    signature: str

    def holds(self, keys: Keys) -> bool:
        """Whether one of the keys made the signature over what the head says."""
        try:
            keys[self.key].verify(base64.b64decode(self.signature, validate=True),
                                  _statement(self.size, self.timestamp, bytes.fromhex(self.root)))  # fmt: skip
        except (KeyError, ValueError, InvalidSignature):  # binascii.Error is a ValueError
            return False
        return True

    @property
    def at(self) -> str:
        """When it was signed, UTC."""
        return datetime.fromtimestamp(self.timestamp / 1000, UTC).isoformat(timespec="milliseconds")

    def line(self) -> str:
        """Its line in the file, without the end of the line."""
        return json.dumps({"at": self.at, **asdict(self)}, separators=(",", ":"))


def _statement(size: int, timestamp: int, root: bytes) -> bytes:
    return struct.pack(">BBQQ", 0, 1, timestamp, size) + root


class Signer:
    """The node's signing key. `made`: whether it was made just now."""

    def __init__(self, key: Ed25519PrivateKey, made: bool = False) -> None:
        self._key = key
        self.made = made
        self.public = key.public_key()
        self.fingerprint = fingerprint(self.public)

    def sign(self, size: int, timestamp: int, root: bytes) -> Head:
        """The head of a tree at a time."""
        signature = self._key.sign(_statement(size, timestamp, root))
        return Head(size, timestamp, root.hex(), self.fingerprint, base64.b64encode(signature).decode())


def fingerprint(key: Ed25519PublicKey) -> str:
    """The first 32 hex characters of the SHA-256 of the raw public key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:32]


def open_signer(key_file: Path, folder: Path) -> Signer:
    """The key in `key_file`, which is made for its owner alone when it is not there; its public half is added to
    `public.pem` in `folder`. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key_file.parent.mkdir(parents=True, exist_ok=True)
        made = not key_file.exists()
        if made:
            _write_key(key_file)
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError("audit.key", f"{key_file} is no Ed25519 key; move it away and the node makes one")
        signer = Signer(key, made)
        public = folder / PUBLIC
        known = read_keys(public) if public.exists() else {}
        if signer.fingerprint not in known:
            pem = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            append(public, pem)
    except OSError as error:
        raise ConfigError("audit", f"{error.filename or folder} cannot be used ({error.strerror})") from error
    except (ValueError, TypeError) as error:  # TypeError: it wants a password
        raise ConfigError("audit.key", f"{key_file} is no private key in PEM without a password") from error
    return signer


def _write_key(path: Path) -> None:
    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Whole or not at all: a key cut short by a crash would stop every later start.
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def read_keys(path: Path) -> Keys:
    """The public keys in a PEM file. Raises ConfigError."""
    mark = b"-----END PUBLIC KEY-----"
    try:
        blocks = [part + mark for part in path.read_bytes().split(mark)[:-1]]
        keys = [serialization.load_pem_public_key(block.lstrip()) for block in blocks]
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(str(path), "holds no public keys in PEM") from error
    found = {fingerprint(key): key for key in keys if isinstance(key, Ed25519PublicKey)}
    if not found:
        raise ConfigError(str(path), "holds no Ed25519 public key in PEM")
    return found


def read_heads(path: Path) -> tuple[list[Head], str | None]:
    """The heads in a file, in its order, and a line about the first line that is none.

    A line that a crash cut short is the beginning of the one that follows it, and counts as nothing.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found: list[Head] = []
    wrong = None
    for number, line in enumerate(lines, 1):
        head = _parsed(line)
        if head is not None:
            found.append(head)
        elif line and not (number == len(lines) or lines[number].startswith(line)):
            wrong = wrong or f"line {number} of {path} is no head"
    return found, wrong


def _parsed(line: str) -> Head | None:
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    if not isinstance(raw, dict) or any(type(raw.get(name)) is not kind for name, kind in _KEYS.items()):
        return None
    try:
        root_length = len(bytes.fromhex(raw["root"]))
        base64.b64decode(raw["signature"], validate=True)
    except (ValueError, binascii.Error):
        return None
    bounded = 0 <= raw["size"] < 2**63 and 0 <= raw["timestamp"] < 2**47
    return Head(**{name: raw[name] for name in _KEYS}) if root_length == 32 and bounded else None


def append_heads(path: Path, heads: Iterable[Head]) -> None:
    """Append heads to their file, durably. Raises OSError."""
    lines = "".join(f"{head.line()}\n" for head in heads)
    if lines:
        append(path, lines.encode())


def append(path: Path, content: bytes) -> None:
    """Append whole lines to a file, durably; one that a crash left without an end of line gets it first."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "rb+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        cut = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write((b"\n" if cut else b"") + content)
        os.fsync(file.fileno())
    sync_folder(path.parent)
