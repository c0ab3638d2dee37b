"""The spool: the only module that writes study files. Temporary name, fsync, rename, fsync the folder.

Names are digests: nothing that came over the network ever becomes a path.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from node import faults
from node.errors import TryAgain

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
        folder = Path("studies") / folder_of(study_uid)
        self._flush(temporary, folder)
        faults.point("receive.flushed")
        path = self._rename(temporary, folder, f"{digest}.dcm")
        faults.point("receive.renamed")
        sync_folder(self.root / folder)
        return path

    def put_result(self, parts: Iterable[bytes], study_uid: str, sop_uid: str, digest: str) -> str:
        """Write one result object, given in parts; return its path relative to the root.

        Durable after `sync_results`, once for all.
        """
        name = f"{folder_of(sop_uid)}-{digest[:16]}.dcm"
        temporary = self.incoming / f"{name}.{os.getpid()}.part"
        folder = Path("results") / folder_of(study_uid)
        try:
            with temporary.open("wb", buffering=0) as file:
                for part in parts:
                    left = memoryview(part)
                    while left:
                        left = left[file.write(left) or 0 :]
            faults.point("models.written")
            self._flush(temporary, folder)
            path = self._rename(temporary, folder, name)
        except OSError:
            with contextlib.suppress(OSError):  # half a file on a full disk is in everybody's way
                temporary.unlink(missing_ok=True)
            raise
        faults.point("models.renamed")
        return path

    def sync_results(self, study_uid: str) -> None:
        """Make the names of a study's results durable; what the files hold is so already."""
        sync_folder(self.root / "results" / folder_of(study_uid))

    def path(self, relative: str) -> Path:
        """Where a stored file lies."""
        return self.root / relative

    def free_bytes(self) -> int:
        """Free space on the spool's file system, in bytes, as an unprivileged process sees it."""
        return shutil.disk_usage(self.root).free

    def folders(self) -> Iterator[str]:
        """Every folder of settled files, relative to the root."""
        for top in ("studies", "results"):
            with os.scandir(self.root / top) as entries:
                yield from (f"{top}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False))

    def files(self, folder: str) -> list[str]:
        """The settled files of one of `folders`, relative to the root."""
        return [f"{folder}/{name}" for name in os.listdir(self.root / folder)]

    def sweep_incoming(self, which: str = "*") -> int:
        """Delete what a dead listener (`RECEIVING`) or model process (`MAKING`) left half-written: nobody was told of
        it. Return how many files."""
        count = 0
        for leftover in self.incoming.glob(which):
            leftover.unlink(missing_ok=True)
            count += 1
        return count

    def usage(self) -> tuple[int, int]:
        """Size of the spool's file system and what is free there, in bytes, as an unprivileged process sees it."""
        found = shutil.disk_usage(self.root)
        return found.used + found.free, found.free

    @contextlib.contextmanager
    def deleting(self) -> Iterator[None]:
        """Hold `keep.lock`, without which no settled file is deleted. Raises TryAgain while another, such as a
        back-up, holds it: what its copy of the database speaks of stays until it has copied that, too."""
        with open(self.root / "keep.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TryAgain(f"{file.name} is held, by a back-up or another purge: nothing is deleted") from error
            yield

    def delete(self, paths: Iterable[str], older_than: float) -> list[str]:
        """Delete settled files that were written before `older_than` (seconds since the epoch); return which.

        A younger one came again just now, and its row is about to: it is left for the sweep to look at later.
        """
        deleted = []
        for relative in paths:
            path = self.root / relative
            with contextlib.suppress(FileNotFoundError), _locked(path.parent, fcntl.LOCK_EX):
                if os.stat(path).st_mtime < older_than:
                    os.unlink(path)
                    deleted.append(relative)
        return deleted

    def remove_empty(self) -> None:
        """Remove folders without a file. Only while nobody writes: one that is about to be used may go, too."""
        for folder in list(self.folders()):
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(self.root / folder)

    def _flush(self, temporary: Path, folder: Path) -> None:
        target = self.root / folder
        if folder not in self._durable or not target.is_dir():
            # That it is there says nothing: who made it may have died, or may not have flushed its parent yet.
            target.mkdir(parents=True, exist_ok=True)
            sync_folder(target.parent)
            if len(self._durable) >= _REMEMBERED:
                self._durable.clear()
            self._durable.add(folder)
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rename(self, temporary: Path, folder: Path, name: str) -> str:
        with _locked(self.root / folder, fcntl.LOCK_SH):
            os.replace(temporary, self.root / folder / name)
        return str(folder / name)


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Between the look at a file's age and its end nothing takes its place: who moves files in shares the lock, who
    deletes has it alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def folder_of(uid: str) -> str:
    """The name of a study's folder (under `studies` and `results`)."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file that was made, renamed or appended to stays there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
