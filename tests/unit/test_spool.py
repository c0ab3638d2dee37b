from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from node.spool import MAKING, RECEIVING, Spool


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


def test_what_the_listener_and_the_model_process_left_half_written_is_swept_apart(spool: Spool) -> None:
    _incoming(spool)
    (spool.incoming / "result.dcm.17.part").write_bytes(b"half")
    assert spool.sweep_incoming(MAKING) == 1
    assert [path.name for path in spool.incoming.iterdir()] == ["x.tmp"]
    assert spool.sweep_incoming(RECEIVING) == 1


def test_regression_a_folder_that_a_dead_process_made_is_made_durable_before_its_first_file_counts(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who found the folder of a study there took it for durable, though its maker may have died before it was."""
    folder = spool.path(spool.put(_incoming(spool), "1.2", "1" * 64)).parent
    flushed: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    Spool(spool.root).put(_incoming(spool), "1.2", "2" * 64)
    assert str(folder.parent) in flushed and str(folder) in flushed
    assert flushed.index(str(folder.parent)) < flushed.index(str(folder))


def test_a_folder_that_was_removed_is_made_again(spool: Spool) -> None:
    first = spool.path(spool.put(_incoming(spool), "1.2", "1" * 64))
    first.unlink()
    first.parent.rmdir()
    assert spool.path(spool.put(_incoming(spool), "1.2", "1" * 64)).is_file()


def test_a_result_that_the_disk_does_not_take_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", full)
        spool.put_result([b"result"], "1.2", "1.2.3", "a" * 64)
    assert not list(spool.incoming.iterdir()) and not list((spool.root / "results").rglob("*.dcm"))
