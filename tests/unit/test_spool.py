from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from node.spool import Spool


def _incoming(spool: Spool, content: bytes = b"bytes") -> Path:
    path = spool.incoming / "x.tmp"
    path.write_bytes(content)
    return path


def test_a_stored_file_has_a_name_that_nothing_received_can_choose(spool: Spool) -> None:
    relative = spool.put(_incoming(spool), "../../etc/passwd", "a" * 64)
    assert spool.path(relative).read_bytes() == b"bytes"
    assert spool.path(relative).resolve().is_relative_to(spool.root.resolve())
    assert "passwd" not in relative and not list(spool.incoming.iterdir())


def test_the_same_bytes_land_on_the_same_name(spool: Spool) -> None:
    assert spool.put(_incoming(spool), "1.2", "a" * 64) == spool.put(_incoming(spool), "1.2", "a" * 64)


def test_a_result_is_written_whole(spool: Spool) -> None:
    digest = hashlib.sha256(b"result").hexdigest()
    relative = spool.put_result((b"res", b"", b"ult"), "1.2", "1.2.3", digest)
    assert spool.path(relative).read_bytes() == b"result"
    assert set(spool.files()) == {relative}


def test_the_sweep_takes_only_old_files_without_a_row(spool: Spool) -> None:
    kept = spool.put(_incoming(spool, b"1"), "1.2", "1" * 64)
    orphan = spool.put(_incoming(spool, b"2"), "1.2", "2" * 64)
    assert spool.sweep({kept}, time.time() - 3600) == []
    assert spool.sweep({kept}, time.time() + 1) == [orphan]
    assert spool.path(kept).exists() and not spool.path(orphan).exists()


def test_half_written_files_are_swept_at_start(spool: Spool) -> None:
    _incoming(spool)
    assert spool.sweep_incoming() == 1
    assert not list(spool.incoming.iterdir())


def test_a_result_that_the_disk_does_not_take_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", full)
        spool.put_result([b"result"], "1.2", "1.2.3", "a" * 64)
    assert not list(spool.incoming.iterdir()) and not list(spool.files())
