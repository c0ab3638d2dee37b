"""A full disk: refused before it is full, what was acknowledged stays, and all goes on when space returns."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node import commitment, dimse
from node.commitment import EXPLICIT, PUSH_MODEL, PUSH_MODEL_INSTANCE, Reference, Request
from node.errors import Away
from node.queries import Queries
from node.spool import Spool
from tests.disks import Disk, disk
from tests.nodes import wait_until
from tests.peers import Listening, listening
from tests.senders import CT, OFFER, Sender, encode, instance
from tests.tiny import Working

__all__ = ["disk"]  # a fixture

COMMITMENT = (PUSH_MODEL, EXPLICIT)
ALL = ("echo", "store", "commit")
MB = 1 << 20


def ask(sender: Sender, uid: str, *references: Reference) -> int:
    """A storage commitment request: its status."""
    words = commitment.write_request(Request(uid, references), EXPLICIT)
    return sender.ask(
        COMMITMENT, lambda number: dimse.action_request(number, PUSH_MODEL, PUSH_MODEL_INSTANCE, 1), words
    )[0]


def check(node: Listening, acknowledged: dict[str, Dataset], in_between: bool = False) -> None:
    """What was acknowledged is held byte for byte, nothing else is, and the log is whole. `in_between`: whole files
    without a row may lie there for senders who will try again."""
    held = {row["sop_uid"]: row["file"] for row in node.instances()}
    assert set(held) == set(acknowledged)
    for uid, made in acknowledged.items():
        assert held[uid].read_bytes().endswith(encode(made))
    known = {str(path) for path in held.values()}
    there = {str(path) for path in (node.spool.root / "studies").rglob("*") if path.is_file()}
    assert known <= there if in_between else known == there
    assert Queries(node.store.engine).verify()[1] is None


def empty(node: Listening) -> bool:
    """Whether nothing half-written is left (an empty file waits for the next instance)."""
    return all(path.stat().st_size == 0 for path in node.spool.incoming.iterdir())


def send(sender: Sender, acknowledged: dict[str, Dataset], number: int, pixels: int = 400_000) -> int:
    made = instance(number, pixels=pixels)
    status, _ = sender.send(made)
    if status == 0:
        acknowledged[made.SOPInstanceUID] = made
    return status


def test_instances_are_refused_before_the_disk_is_full_and_taken_again_after(disk: Disk, tmp_path: Path) -> None:
    acknowledged: dict[str, Dataset] = {}
    with listening(tmp_path, spool=disk.root / "spool", min_free_disk=4 * MB) as node, Sender(node.port) as sender:
        statuses = [send(sender, acknowledged, number) for number in range(30)]
        assert statuses == sorted(statuses) and set(statuses) == {0, 0xA700} and disk.free() > 3 * MB
        check(node, acknowledged)
        wait_until(lambda: empty(node), 10, "no half file")
        assert "MiB of disk are free" in node.events("instance.refused")[0]["reason"]
        for path in (disk.root / "spool" / "studies").rglob("*.dcm"):
            shutil.move(path, tmp_path / path.name)  # somebody makes room
        assert send(sender, acknowledged, 99) == 0


@pytest.mark.parametrize("where", ["spool and database", "database"])
def test_a_disk_without_a_byte_left_loses_nothing(disk: Disk, tmp_path: Path, where: str) -> None:
    acknowledged: dict[str, Dataset] = {}
    database = f"sqlite:///{disk.root / 'overread.db'}"
    spool = (disk.root if where.startswith("spool") else tmp_path) / "spool"
    with listening(tmp_path, spool=spool, database=database, may=ALL) as node:
        with Sender(node.port, [OFFER, COMMITMENT]) as sender:
            assert [send(sender, acknowledged, number) for number in (1, 2)] == [0, 0]
            disk.fill()
            assert [send(sender, acknowledged, number) for number in (3, 4, 3)] == [0xA700] * 3
            assert ask(sender, "2.25.1", Reference(CT, instance(1).SOPInstanceUID)) == 0x0110, "not taken, and said so"
            with pytest.raises(Away, match="rejects the association"):
                Sender(node.port)
            check(node, acknowledged, in_between=True)
            disk.empty()
            assert [send(sender, acknowledged, number) for number in (3, 4)] == [0, 0]
            assert ask(sender, "2.25.1", Reference(CT, instance(1).SOPInstanceUID)) == 0
        with Sender(node.port):
            pass
        wait_until(lambda: {"released"} == {row["ended"] for row in node.rows("select ended from associations")}, 10, "ends")
        reasons = {event["reason"].split(" (")[0] for event in node.events("instance.refused")}
        assert len(reasons) == 1 and len(node.events("association.refused")) == 1, "refusals are on record, later"
        assert len(node.events("commitment.refused")) == len(node.events("commitment.asked")) == 1
        check(node, acknowledged)
        wait_until(lambda: empty(node), 10, "no half file")


def test_a_node_that_wants_more_than_is_free_refuses_until_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [100 * MB]
    monkeypatch.setattr(Spool, "free_bytes", lambda self: free[0])
    acknowledged: dict[str, Dataset] = {}
    with listening(tmp_path, min_free_disk=200 * MB) as node, Sender(node.port) as sender:
        assert send(sender, acknowledged, 1) == 0xA700
        free[0] = 300 * MB
        assert send(sender, acknowledged, 1) == 0
        check(node, acknowledged)


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "close"])
def test_a_disk_that_fails_in_the_middle_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    acknowledged: dict[str, Dataset] = {}
    with listening(tmp_path) as node, Sender(node.port) as sender:
        assert send(sender, acknowledged, 1) == 0
        real = getattr(os, call)

        def full(what: int | str | Path, *arguments: object) -> object:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            if path.endswith(".tmp") and "incoming" in path and (call == "replace" or os.path.getsize(path) > MB // 8):
                if call == "close":
                    real(what)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(what, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            assert [send(sender, acknowledged, number) for number in (2, 3)] == [0xA700] * 2
        assert send(sender, acknowledged, 2) == 0
        check(node, acknowledged)
        wait_until(lambda: empty(node), 10, "no half file")


def test_results_that_find_no_room_wait_and_are_written_when_there_is(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch, spool=disk.root / "spool")
    working.add("1.2.1", "report")
    disk.fill(leave=64 * 1024)
    with working.running():
        wait_until(lambda: working.runs().count("1.2.1") >= 4, 200, "more attempts than a job has")
        wait_until(lambda: working.job("1.2.1")["state"] == "due", 60, "a job that waits")
        job = working.job("1.2.1")
        assert "No space left on device" in job["reason"] and job["attempts"] == 0
        assert not [path for path in working.spool.incoming.iterdir() if path.suffix == ".tmp"], "no half file"
        disk.empty()
        working.wait(done=1)
    job = working.job("1.2.1")
    assert job["attempts"] == 1 and len(job["outputs"]) == 1
    for one in job["outputs"][0]["files"]:
        assert working.spool.path(one["path"]).stat().st_size == one["size"] > 64 * 1024
    assert working.queries.verify()[1] is None
