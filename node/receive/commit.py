"""Group commit: instances that wait at the same time share one transaction, and so one fsync of the database.

There is no thread for it. Who finds the committer idle takes everything that waits, commits it as one batch
and wakes the others; a lone association therefore never waits for a hand-over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.errors import TryAgain
from node.store import Received

_LARGEST_BATCH = 64


@dataclass
class _Waiting:
    received: Received
    word: str = ""
    error: Exception | None = None
    settled: bool = False


class GroupCommit:
    """`commit` from many threads; `add` is the store's add_instances."""

    def __init__(self, add: Callable[[Sequence[Received]], list[str]]) -> None:
        self._add = add
        self._waiting: list[_Waiting] = []
        self._turn = threading.Condition()
        self._busy = False

    def commit(self, received: Received) -> str:
        """Return the store's word for `received` once it is committed. Raises what the store raised."""
        mine = _Waiting(received)
        with self._turn:
            self._waiting.append(mine)
        while batch := self._wait_for_turn(mine):
            try:
                self._settle(batch)
            finally:
                with self._turn:
                    self._busy = False
                    self._turn.notify_all()
        if mine.error is not None:
            raise mine.error
        return mine.word

    def _wait_for_turn(self, mine: _Waiting) -> list[_Waiting]:
        """What this thread is to commit; empty when another has settled `mine`."""
        with self._turn:
            while self._busy and not mine.settled:
                self._turn.wait()
            if mine.settled:
                return []
            self._busy = True
            batch, self._waiting = self._waiting[:_LARGEST_BATCH], self._waiting[_LARGEST_BATCH:]
            return batch

    def _settle(self, batch: list[_Waiting]) -> None:
        failed = TryAgain("the database did not take a batch of instances")
        words: list[str] = []
        try:
            words = self._add([one.received for one in batch])
        except TryAgain as away:
            failed = away
        finally:  # whatever else was raised goes up in this thread; nobody is left waiting for it
            for index, one in enumerate(batch):
                one.settled = True
                if words:
                    one.word = words[index]
                else:
                    one.error = failed
