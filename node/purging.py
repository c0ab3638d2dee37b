"""Purging: which piles of files go, by age and by the room on the disk, oldest first; rows first, then files."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from node import faults, logs
from node.config import Config
from node.inventory import Inventory
from node.retention import DAY, HOUR, KINDS, Pile, age_of
from node.spool import Spool
from node.store import Store

log = logs.get(__name__)
_AT_ONCE = 100  # piles that are looked up together
FULL = "the disk is over its high watermark"
_FOR_EVER = float("inf")


@dataclass(frozen=True)
class Choice:
    """What becomes of a pile, and why."""

    pile: Pile
    goes: bool
    reason: str


class Purge:
    """One purge. `actor`: who it is in the log; `older_than`: days that take the place of the configured ages."""

    def __init__(
        self, config: Config, store: Store, spool: Spool, actor: str, older_than: float | None = None,
        disk: Callable[[], tuple[int, int]] | None = None,
    ) -> None:  # fmt: skip
        """`disk`: size of the file system and what is free there, in bytes; the spool's own by default."""
        self._keep = config.keep
        self._min_free = config.node.min_free_disk
        self._store = store
        self._spool = spool
        self._inventory = Inventory(store.engine)
        self._actor = actor
        self._older_than = older_than
        self._disk = disk or spool.usage

    def missing_room(self) -> int:
        """Bytes that should be freed: 0 below the high watermark and with more than `min-free-disk` (and a quarter)."""
        total, free = self._disk()
        if free >= max((1 - self._keep.high_watermark) * total, 1.25 * self._min_free):
            return 0
        return int(max((1 - self._keep.low_watermark) * total, 1.5 * self._min_free) - free) + 1

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Choice]:
        """Purge what may go, one pile after another, and yield it; ends early when `stop` says so. Raises TryAgain."""
        freed = 0
        with self._spool.deleting():
            for kind in KINDS:
                before, reason = self._before(kind)
                for pile in self._oldest(kind, before):
                    if stop():
                        return
                    if self._purge(pile, before, reason):
                        freed += pile.bytes
                        yield Choice(pile, True, reason)
            need, before = self.missing_room(), self._floor()
            for pile in heapq.merge(*(self._oldest(kind, before) for kind in KINDS), key=lambda pile: pile.since):
                if need <= 0 or stop():
                    return
                if self._purge(pile, before, FULL):
                    need -= pile.bytes
                    yield Choice(pile, True, FULL)

    def plan(self) -> list[Choice]:
        """What `run` would do with every pile that there is; nothing is changed. Raises TryAgain."""
        need, now, floor = self.missing_room(), self._store.clock(), self._floor()
        chosen: list[Choice] = []
        for kind in KINDS:
            before, reason = self._before(kind)
            for pile in self._inventory.piles(kind, _FOR_EVER, self._keep, now, held=True):
                goes = pile.held is None and pile.since < before
                need -= pile.bytes if goes else 0
                chosen.append(Choice(pile, goes, reason if goes else pile.held or f"not {reason}"))
        for at, one in sorted(enumerate(chosen), key=lambda pair: pair[1].pile.since):
            if need > 0 and not one.goes and one.pile.held is None and one.pile.since < floor:
                need -= one.pile.bytes
                chosen[at] = Choice(one.pile, True, FULL)
        return chosen

    def _purge(self, pile: Pile, before: float, reason: str) -> bool:
        gone = self._store.purge(pile, before, self._keep, reason, self._actor)
        if gone is None:
            return False
        faults.point("keep.purged")
        # A kill from here on leaves files that no row knows: the sweep takes them.
        still = self._inventory.known_paths(pile.study_uid)
        self._spool.delete((path for path in gone if path not in still), time.time() - HOUR)
        log.info("purged", what=pile.kind, study=pile.study_uid, files=pile.files, bytes=pile.bytes, reason=reason)
        return True

    def _oldest(self, kind: str, before: float) -> Iterator[Pile]:
        """Piles that may go, oldest first; each one once."""
        seen: set[int] = set()
        while True:
            found = self._inventory.piles(kind, before, self._keep, self._store.clock(), limit=_AT_ONCE + len(seen))
            news = [pile for pile in found if pile.key not in seen]
            if not news:
                return
            for pile in news:
                seen.add(pile.key)
                yield pile
            seen &= {pile.key for pile in found}

    def _before(self, kind: str) -> tuple[float, str]:
        """The time before which the age of a pile must begin to go now, and that in words."""
        age = age_of(kind, self._keep)
        if self._older_than is not None:
            age = max(self._older_than * DAY, HOUR)
        if age is None:
            return -_FOR_EVER, "to be purged by age (0 days)"
        return self._store.clock() - max(age, HOUR), f"older than {max(age, HOUR) / DAY:.3g} days"

    def _floor(self) -> float:
        return self._store.clock() - max(self._keep.at_least * DAY, HOUR)
