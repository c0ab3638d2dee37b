"""A small disk of its own for a test, which can be filled up and emptied again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """A mounted file system of a few megabytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Until `leave` bytes are left."""
        with open(self._ballast, "ab") as file:
            size = self.free() - leave
            if size > 0:
                os.posix_fallocate(file.fileno(), file.tell(), size)

    def empty(self) -> None:
        """Space returns."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system in memory of 12 MB; skips where we may not mount one."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(root)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mount: a small file system wants a privilege that we do not have")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True, capture_output=True)
