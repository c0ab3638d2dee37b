"""Work spread over copies of this process arrives whole, with its errors, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from node.spreading import spread_over_processes
from pipelines.base import InvalidOutput

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="copies of a process are for Linux")
HERE = os.getpid()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 300, 20_000])
def test_everything_is_done_once_whatever_the_number(count: int) -> None:
    found = list(spread_over_processes(count, lambda index: index * index))
    assert sorted(found) == [(index, index * index) for index in range(count)]


def test_what_is_larger_than_a_pipe_arrives() -> None:
    values = [bytes([index]) * size for index, size in enumerate((1, 3_000_000, 10, 5_000_000, 2_000_000, 100))]
    assert dict(spread_over_processes(len(values), values.__getitem__)) == dict(enumerate(values))


def test_several_processes_take_part() -> None:
    def slow(index: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    found = dict(spread_over_processes(12, slow))
    assert len(set(found.values())) > 1 and HERE in found.values()


def test_an_error_of_a_copy_is_raised_here_and_ends_the_others() -> None:
    begun = time.monotonic()

    def break_in_a_copy(index: int) -> int:
        time.sleep(0.05)
        if os.getpid() != HERE:
            raise InvalidOutput("report, object 1: a fault")
        return index

    with pytest.raises(InvalidOutput, match="report, object 1: a fault"):
        list(spread_over_processes(2000, break_in_a_copy))
    assert time.monotonic() - begun < 60  # and not the hundred seconds of all of them


def test_an_error_here_ends_the_copies(tmp_path: Path) -> None:
    def break_here(index: int) -> None:
        if os.getpid() == HERE:
            raise ValueError
        (tmp_path / str(index)).touch()
        time.sleep(0.05)

    with pytest.raises(ValueError):
        list(spread_over_processes(500, break_here))
    begun = len(list(tmp_path.iterdir()))
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) == begun < 400


def test_an_error_that_cannot_travel_is_named() -> None:
    class Local(Exception):
        """Not to be found where it arrives."""

    def break_in_a_copy(index: int) -> None:
        time.sleep(0.05)
        if os.getpid() != HERE:
            raise Local

    with pytest.raises(RuntimeError, match="Local"):
        list(spread_over_processes(20, break_in_a_copy))


def test_a_copy_that_is_killed_is_an_error_and_not_an_end() -> None:
    def die(index: int) -> None:
        time.sleep(0.05)
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ChildProcessError, match="ended before it was done"):
        list(spread_over_processes(20, die))


def test_a_copy_keeps_no_file_of_ours_open() -> None:
    reader, writer = os.pipe()
    copying, seen = threading.Event(), list[bytes]()

    def slow(index: int) -> None:
        if os.getpid() == HERE and not copying.is_set():
            os.close(writer)
            copying.set()
            seen.append(os.read(reader, 1))  # the end at once: nobody else holds the other side
        time.sleep(0.05)

    list(spread_over_processes(40, slow))
    os.close(reader)
    assert seen == [b""]


def test_no_copy_is_left_behind() -> None:
    pids = {pid for _, pid in spread_over_processes(30, lambda index: (time.sleep(0.01), os.getpid())[1])}
    assert not [pid for pid in pids - {HERE} if Path(f"/proc/{pid}").exists()]
