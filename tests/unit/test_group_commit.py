"""Group commit: many wait, one commits, and nobody is told of success before it is durable."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from node.errors import TryAgain
from node.receive.commit import GroupCommit
from node.store import Received


def received(number: int) -> Received:
    return Received("1", "1.1", f"1.1.{number}", "c", "t", "CT", str(number), 1, "p", 1, "peer", "x")


class Slow:
    """An add_instances that takes its time and notes its batches."""

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[str]] = []
        self.error = error

    def __call__(self, batch: Sequence[Received]) -> list[str]:
        time.sleep(0.05)
        if self.error is not None:
            raise self.error
        self.batches.append([one.sop_uid for one in batch])
        return [f"new {one.sop_uid}" for one in batch]


def commit_all(commits: GroupCommit, count: int) -> list[object]:
    said: list[object] = [None] * count

    def one(number: int) -> None:
        try:
            said[number] = commits.commit(received(number))
        except Exception as error:  # noqa: BLE001 - the error is what is asked for
            said[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    return said


def test_who_waits_together_is_committed_together_and_each_gets_its_own_word():
    slow = Slow()
    assert commit_all(GroupCommit(slow), 20) == [f"new 1.1.{number}" for number in range(20)]
    assert sorted(uid for batch in slow.batches for uid in batch) == sorted(f"1.1.{number}" for number in range(20))
    assert len(slow.batches) < 10  # how many wait for one commit is the scheduler's business


def test_one_alone_is_committed_by_itself_at_once():
    slow = Slow()
    assert GroupCommit(slow).commit(received(1)) == "new 1.1.1"
    assert slow.batches == [["1.1.1"]]


def test_more_than_a_batch_takes_several():
    slow = Slow()
    assert None not in commit_all(GroupCommit(slow), 100)
    assert max(map(len, slow.batches)) <= 64


def test_when_the_database_is_away_everybody_is_told_to_try_again():
    assert all(isinstance(said, TryAgain) for said in commit_all(GroupCommit(Slow(TryAgain("away"))), 8))


def test_an_unexpected_error_is_raised_and_leaves_nobody_waiting():
    slow = Slow(ValueError("a defect"))
    commits = GroupCommit(slow)
    said = commit_all(commits, 8)
    assert any(isinstance(one, ValueError) for one in said)
    assert all(isinstance(one, ValueError | TryAgain) for one in said)
    slow.error = None
    assert commits.commit(received(9)) == "new 1.1.9"


def test_an_error_names_itself():
    with pytest.raises(TryAgain, match="away"):
        GroupCommit(Slow(TryAgain("away"))).commit(received(1))
