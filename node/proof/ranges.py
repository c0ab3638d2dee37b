"""The chain looked at by several processes at once, each with a range of events; their ends are held together here."""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Iterator

import sqlalchemy as sa

from node import audit
from node.engine import make_engine
from node.proof.merkle import nodes_of
from node.schema import events

_RANGE = 16_384  # events that a process looks at before it tells
WORTH = 50_000  # events from which on copies of this process save time
POSSIBLE = sys.platform == "linux"  # elsewhere a process cannot be copied safely
_NODE = 32  # bytes


class Readers:
    """Copies of this process, made while it has no connection to the database: what a driver keeps in memory about one
    is not for two processes."""

    def __init__(self, url: sa.URL, count: int) -> None:
        self._url = url
        self._pool = multiprocessing.get_context("fork").Pool(count)

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def nodes(self, connection: sa.Connection, after: int, previous: str) -> Iterator[list[bytes]]:
        """As node.proof.verify.in_order gives them, up to the event that is the last one now. Raises audit.Broken; in
        several transactions a purge cannot be told from a loss, and then one process must look."""
        end = connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0
        ranges = [(self._url, at, min(at + _RANGE, end)) for at in range(after, end, _RANGE)]
        for (_, at, until), told in zip(ranges, self._pool.imap(_checked, ranges), strict=True):
            if told is None or told[0] != previous or len(told[1]) != (until - at) * _NODE:
                raise audit.Broken(at + 1, f"events {at + 1} to {until}: one of them does not hold")
            _, joined, previous = told
            yield [joined[one : one + _NODE] for one in range(0, len(joined), _NODE)]


def _checked(one: tuple[sa.URL, int, int]) -> tuple[str, bytes, str] | None:
    """A range of events: the hash before it, its leaf hashes in a row, its last hash; None where it does not hold."""
    url, after, until = one
    try:
        with _engine(url).connect().execution_options(reading=True) as connection:
            first = sa.select(events.c.prev_hash).where(events.c.seq == after + 1)
            before = previous = str(connection.execute(first).scalar())
            nodes: list[bytes] = []
            for leaves in audit.walk(connection, after, previous, until):
                nodes += nodes_of(leaves)
                previous = leaves[-1].hex() if leaves else previous
            return before, b"".join(nodes), previous
    except audit.Broken:
        return None


@functools.cache
def _engine(url: sa.URL) -> sa.Engine:
    """The one of this process, which ends with its last range."""
    return make_engine(url.render_as_string(hide_password=False))
