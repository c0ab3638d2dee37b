from __future__ import annotations

import hashlib
import os
import threading
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
    assert [spool.files(folder) for folder in spool.folders()] == [[relative]]


def test_only_files_of_a_certain_age_are_deleted(spool: Spool) -> None:
    one = spool.put(_incoming(spool, b"1"), "1.2", "1" * 64)
    assert spool.delete([one, "studies/none/there.dcm"], time.time() - 3600) == []
    assert spool.delete([one, "studies/none/there.dcm"], time.time() + 1) == [one]
    assert not spool.path(one).exists()


def test_a_file_that_comes_again_while_it_is_deleted_stays(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the age and the end of the file no other may take its place."""
    one = spool.put(_incoming(spool, b"1"), "1.2", "1" * 64)
    os.utime(spool.path(one), (0, 0))
    sender = threading.Thread(target=lambda: spool.put(_incoming(spool, b"1"), "1.2", "1" * 64))
    unlink = os.unlink

    def slowly(path: Path) -> None:
        sender.start()
        time.sleep(0.3)
        unlink(path)

    monkeypatch.setattr(os, "unlink", slowly)
    assert spool.delete([one], time.time() - 3600) == [one]
    sender.join()
    assert spool.path(one).read_bytes() == b"1"


def test_empty_folders_are_removed_and_others_stay(spool: Spool) -> None:
    one = spool.put(_incoming(spool, b"1"), "1.2", "1" * 64)
    gone = spool.put(_incoming(spool, b"2"), "3.4", "2" * 64)
    spool.delete([gone], time.time() + 1)
    spool.remove_empty()
    assert [spool.files(folder) for folder in spool.folders()] == [[one]]


def test_half_written_files_are_swept_at_start(spool: Spool) -> None:
    _incoming(spool)
    assert spool.sweep_incoming() == 1
    assert not list(spool.incoming.iterdir())
