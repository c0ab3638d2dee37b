"""Work spread over copies of this process, which all take from one queue.

Making DICOM objects is Python's own work, of which one process does one thing at a time, whatever the threads.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from node import logs, processes
from pipelines.base import one_by_one

log = logs.get(__name__)
_PROCESSES = min((os.cpu_count() or 1) + 1, 8)  # one more than processors: some wait for the disk
_QUEUED = 8192  # entries of four bytes that a pipe (64 KB) surely holds


def spread_over_processes(count: int, do: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
    """Each index from 0 up to `count` with what `do` gives for it, in any order (`pipelines.base.Spread`).

    A copy has all that this process holds in memory, and must leave alone what its threads and devices hold: `do` is
    for plain computing and for files of its own, and what it gives must be picklable. Raises what `do` raises, and
    ChildProcessError when a copy ends before its work does. Where the system cannot copy a process with threads safely
    (any but Linux), all is done here.
    """
    copies = min(_PROCESSES, count) - 1
    if copies < 1 or sys.platform != "linux":
        yield from one_by_one(count, do)
        return
    each = -(-count // _QUEUED)
    queue, fill = os.pipe()
    os.write(fill, b"".join(start.to_bytes(4, "little") for start in range(0, count, each)))
    os.close(fill)
    running: dict[Connection, int] = {}
    try:
        parent = os.getpid()
        for _ in range(copies):
            ours, theirs = Pipe(duplex=False)
            with warnings.catch_warnings():
                # Python 3.12 and later warn of the threads, which a copy leaves alone: see above.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                _copy(parent, queue, each, count, do, theirs)  # does not return
            theirs.close()
            running[ours] = pid
        for index in _taken(queue, each, count):
            yield index, do(index)
            yield from _received(running, 0)
        while running:
            yield from _received(running, None)
    finally:
        while os.read(queue, 4 * _QUEUED):  # after an error: what is left shall not be begun
            pass
        os.close(queue)
        for connection, pid in running.items():
            connection.close()
            os.waitpid(pid, 0)


def _taken(queue: int, each: int, count: int) -> Iterator[int]:
    """Indices from the queue until it is empty; a read of one entry is never shared by two processes."""
    while entry := os.read(queue, 4):
        start = int.from_bytes(entry, "little")
        yield from range(start, min(start + each, count))


def _received(running: dict[Connection, int], timeout: float | None) -> Iterator[tuple[int, Any]]:
    """What the copies have sent; those that have ended are taken out."""
    for connection in wait(list(running), timeout):
        assert isinstance(connection, Connection)
        try:
            word, value = connection.recv()
        except (EOFError, OSError) as error:
            raise ChildProcessError(errno.ECHILD, "a process that makes results ended before it was done") from error
        if word == "made":
            yield value
            continue
        connection.close()
        os.waitpid(running.pop(connection), 0)
        if word == "raised":
            raise value


def _copy(parent: int, queue: int, each: int, count: int, do: Callable[[int], Any], theirs: Connection) -> None:
    """The life of a copy."""
    try:
        gc.disable()  # a pass would touch, and so copy, all memory that is still shared
        processes.end_with_parent(parent, watch=False)
        # Who waits for the other end of a file of ours must not wait for this copy.
        for open_file in [int(name) for name in os.listdir("/proc/self/fd")]:
            if open_file > 2 and open_file not in (queue, theirs.fileno()):
                with contextlib.suppress(OSError):  # the listing itself was one, and is closed already
                    os.close(open_file)
        try:
            for index in _taken(queue, each, count):
                theirs.send(("made", (index, do(index))))
            theirs.send(("end", None))
        except Exception as error:  # noqa: BLE001  told to the process that waits for it, which classifies it
            theirs.send(("raised", _portable(error)))
            log.warning("broke in a copy", where=logs.where(error), error=type(error).__name__)
    finally:
        os._exit(0)  # no clean-up: what would be cleaned up belongs to the process that this is a copy of


def _portable(error: Exception) -> Exception:
    """The error itself, or what it was called where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, ValueError, AttributeError, ImportError):
        return RuntimeError(type(error).__name__)
    return error
