"""The spool: the only module that writes study files. Temporary name, fsync, rename, fsync the folder.

Names are digests: nothing that came over the network ever becomes a path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from node import faults

RECEIVING, MAKING = "*.tmp", "*.part"  # names in `incoming`: of instances on their way in, of results
_REMEMBERED = 1024  # folders


class Spool:
    """Received instances under `studies/`, results under `results/`, half-written files under `incoming/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._durable: set[Path] = set()  # folders whose own names are on the disk
        self.incoming = root / "incoming"
        for folder in (self.incoming, root / "studies", root / "results"):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, temporary: Path, study_uid: str, digest: str) -> str:
        """Make `temporary` (a complete file in `incoming`) durable under its study; return its path under the root.

        The name is `digest` (hex SHA-256 that the caller computed over study, instance and content), so that
        nothing is ever overwritten by other bytes and the same bytes always land on the same name.
        """
        folder = Path("studies") / _folder(study_uid)
        self._flush(temporary, folder)
        faults.point("receive.flushed")
        path = self._rename(temporary, folder, f"{digest}.dcm")
        faults.point("receive.renamed")
        _fsync(self.root / folder)
        return path

    def put_result(self, parts: Iterable[bytes], study_uid: str, sop_uid: str, digest: str) -> str:
        """Write one result object, given in parts; return its path relative to the root.

        Durable after `sync_results`, once for all.
        """
        name = f"{_folder(sop_uid)}-{digest[:16]}.dcm"
        temporary = self.incoming / f"{name}.{os.getpid()}.part"
        with temporary.open("wb", buffering=0) as file:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[file.write(left) or 0 :]
        faults.point("models.written")
        folder = Path("results") / _folder(study_uid)
        self._flush(temporary, folder)
        path = self._rename(temporary, folder, name)
        faults.point("models.renamed")
        return path

    def sync_results(self, study_uid: str) -> None:
        """Make the names of a study's results durable; what the files hold is so already."""
        _fsync(self.root / "results" / _folder(study_uid))

    def path(self, relative: str) -> Path:
        """Where a stored file lies."""
        return self.root / relative

    def free_bytes(self) -> int:
        """Free space on the spool's file system, in bytes, as an unprivileged process sees it."""
        return shutil.disk_usage(self.root).free

    def files(self) -> Iterator[str]:
        """Every settled file, relative to the root."""
        for top in ("studies", "results"):
            for folder, _, names in os.walk(self.root / top):
                for name in names:
                    yield os.path.relpath(os.path.join(folder, name), self.root)

    def sweep_incoming(self, which: str = "*") -> int:
        """Delete what a dead listener (`RECEIVING`) or model process (`MAKING`) left half-written: nobody was told of
        it. Return how many files."""
        count = 0
        for leftover in self.incoming.glob(which):
            leftover.unlink(missing_ok=True)
            count += 1
        return count

    def sweep(self, known: Iterable[str], older_than: float) -> list[str]:
        """Delete settled files that no row knows and that are older than `older_than` (seconds since the epoch)."""
        keep = set(known)
        swept = []
        for relative in list(self.files()):
            if relative not in keep and os.stat(self.root / relative).st_mtime < older_than:
                os.unlink(self.root / relative)
                swept.append(relative)
        return swept

    def _flush(self, temporary: Path, folder: Path) -> None:
        target = self.root / folder
        if folder not in self._durable or not target.is_dir():
            # That it is there says nothing: who made it may have died, or may not have flushed its parent yet.
            target.mkdir(parents=True, exist_ok=True)
            _fsync(target.parent)
            if len(self._durable) >= _REMEMBERED:
                self._durable.clear()
            self._durable.add(folder)
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rename(self, temporary: Path, folder: Path, name: str) -> str:
        os.replace(temporary, self.root / folder / name)
        return str(folder / name)


def _folder(uid: str) -> str:
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
