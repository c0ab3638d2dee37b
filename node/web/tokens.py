"""Who may use the web port: a file of names, digests of tokens and rights. The tokens themselves are kept nowhere.

One line each: `NAME sha256:DIGEST RIGHT,RIGHT`; empty lines and lines that begin with # do not count. A token is 32
random bytes, so that a plain digest of it cannot be guessed back.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError

RIGHTS = ("labels", "reviews", "metrics")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Caller:
    """Who has a token, and what it may do."""

    name: str
    digest: str
    rights: frozenset[str]


class Tokens:
    """The token file; read again when it changes, so that a token that is taken out ends at once."""

    def __init__(self, path: Path | None) -> None:
        """Raises ConfigError where the file is wrong or not there."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._callers: tuple[Caller, ...] = ()
        try:
            self._refresh()
        except OSError as error:
            reason = f"{path} cannot be read ({error.strerror}); `overread web token NAME --may labels` makes it"
            raise ConfigError("web.token-file", reason) from error

    def __len__(self) -> int:
        return len(self._callers)

    def who(self, token: str) -> Caller | None:
        """Whose token it is; None for nobody's. Raises ConfigError where the file went wrong meanwhile."""
        self._refresh()
        digest = digest_of(token)
        found = [one for one in self._callers if hmac.compare_digest(one.digest, digest)]
        return found[0] if found else None

    def _refresh(self) -> None:
        if self._path is None:
            return
        with self._lock:
            try:
                told = os.stat(self._path)
                stamp = (told.st_mtime_ns, told.st_size, told.st_ino)
                if stamp != self._stamp:
                    self._callers = read(self._path)
                    self._stamp = stamp
            except (OSError, ConfigError):
                self._callers, self._stamp = (), None  # whom it names now is not known: nobody
                raise


def read(path: Path) -> tuple[Caller, ...]:
    """The callers that a token file names. Raises ConfigError with the line that is wrong, or OSError."""
    callers: list[Caller] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        where = f"{path}, line {number}"
        if len(words) != 3 or not _NAME.fullmatch(words[0]) or not _DIGEST.fullmatch(words[1]):
            raise ConfigError(where, "want NAME sha256:DIGEST RIGHTS; `overread web token` writes such lines")
        rights = frozenset(words[2].split(","))
        if rights - set(RIGHTS):
            raise ConfigError(where, f"there is no right {min(rights - set(RIGHTS))!r}; known: {', '.join(RIGHTS)}")
        if words[0] in (one.name for one in callers):
            raise ConfigError(where, f"there are two of the name {words[0]!r}")
        callers.append(Caller(words[0], words[1], rights))
    return tuple(callers)


def make(path: Path, name: str, rights: Collection[str]) -> str:
    """A new token: its digest goes into the file, it is returned and kept nowhere. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"the name {name!r}", "want small letters, digits and dashes, at most 64")
    unknown = sorted(set(rights) - set(RIGHTS))
    if unknown or not rights:
        raise ConfigError(f"the right {unknown[0]!r}" if unknown else "--may", f"known: {', '.join(RIGHTS)}")
    try:
        if path.exists() and name in (one.name for one in read(path)):
            raise ConfigError(str(path), f"it has a token for {name!r}; take that line out first")
        token = secrets.token_urlsafe(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{name} {digest_of(token)} {','.join(sorted(rights))}\n")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be used ({error.strerror})") from error
    return token


def digest_of(token: str) -> str:
    """What the file holds of a token."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
