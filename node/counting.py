"""How many instances of an open study other peers count, asked by C-FIND beside the closing loop: one thread for each
peer that is asked, so that a slow or dead one holds up nothing but what only it can tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from node import logs, retry
from node.config import Config
from node.errors import ConfigError, GiveUp, TryAgain
from node.peers import find
from node.sections import Peer

log = logs.get(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds until the same is asked again, doubled each time

Ask = Callable[[Config, Peer, str, Collection[str]], int]
"""See node.peers.find.count."""


@dataclass(frozen=True)
class Count:
    """What a peer last said of a study. `instances`: None when it never said; `reason`: why it did not say when it was
    asked last, empty when it did."""

    peer: str
    instances: int | None = None
    reason: str = "not asked yet"
    about: float = -1.0  # the study's last_received_at when it was asked: what came later it may not have counted


@dataclass
class _Asked:
    """What was asked about one study at one peer."""

    count: Count
    running: Future[int] | None = None
    running_about: float = -1.0
    times: int = 0  # about the same last_received_at
    again_at: float = 0.0  # time.monotonic()


@dataclass
class _Away:
    """A peer that could not be asked: nobody else need find that out before `until` (time.monotonic())."""

    reason: str = ""
    times: int = 0
    until: float = 0.0


class Counting:
    """The counts of the studies that are open; used by one thread."""

    def __init__(self, config: Config, ask: Ask = find.count) -> None:
        self._config = config
        self._ask = ask
        self._asked: dict[tuple[int, str], _Asked] = {}
        self._away: dict[str, _Away] = {}
        self._threads: dict[str, ThreadPoolExecutor] = {}

    def of(self, study_id: int, peers: Sequence[str]) -> tuple[Count, ...]:
        """What the peers said last; never waits."""
        return tuple(self._settle(study_id, name).count for name in peers)

    def ask(
        self, study_id: int, study_uid: str, about: float, peers: Sequence[str], ours: Callable[[], Collection[str]]
    ) -> None:
        """Have the peers asked about a study as of `about` (its last_received_at), unless that is under way or was done
        a moment ago. `ours`: gives the series that are not to be counted. Never waits."""
        for name in peers:
            known, now = self._settle(study_id, name), time.monotonic()
            if known.count.about != about:
                known.again_at, known.times = 0.0, 0
            if known.running is not None or now < known.again_at:
                continue
            away = self._away.setdefault(name, _Away())
            if now < away.until:
                known.count = Count(name, known.count.instances, away.reason, about)
                continue
            known.times, known.running_about = known.times + 1, about
            threads = self._threads.get(name)
            if threads is None:
                threads = self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=f"counts at {name}")
            known.running = threads.submit(self._count, name, study_uid, ours())

    def forget_all_but(self, study_ids: Collection[int]) -> None:
        """Drop what is known of studies that are no longer open."""
        for study_id, name in [key for key in self._asked if key[0] not in study_ids]:
            gone = self._asked.pop((study_id, name))
            if gone.running is not None:
                gone.running.cancel()

    def stop(self) -> None:
        """Ask nothing any more. A question that is under way ends by its own limits."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    def _count(self, name: str, study_uid: str, ours: Collection[str]) -> int:
        """In the peer's own thread, which alone writes whether it is away."""
        away = self._away[name]
        if time.monotonic() < away.until:  # found out while this question waited for its turn
            raise TryAgain(away.reason)
        try:
            counted = self._ask(self._config, self._config.peer(name), study_uid, ours)
        except (TryAgain, GiveUp) as error:
            pause = retry.backoff(away.times + 1, FIRST_PAUSE, LONGEST_PAUSE)
            self._away[name] = _Away(error.reason, away.times + 1, time.monotonic() + pause)
            log.warning("a peer does not say how many instances there are", peer=name, reason=error.reason)
            raise
        self._away[name] = _Away()
        return counted

    def _settle(self, study_id: int, name: str) -> _Asked:
        """What is known, with the answer that has come since."""
        known = self._asked.setdefault((study_id, name), _Asked(Count(name)))
        if known.running is None or not known.running.done():
            return known
        running, known.running = known.running, None
        error = running.exception()
        pause = retry.backoff(known.times, FIRST_PAUSE, LONGEST_PAUSE)
        known.again_at = time.monotonic() + pause
        if error is None:
            known.count = Count(name, running.result(), "", known.running_about)
            return known
        if isinstance(error, TryAgain | GiveUp | ConfigError):
            reason = str(error)
        else:  # a defect of ours: told, and the study closes by the other evidence
            reason = f"{name} could not be asked ({type(error).__name__})"
            log.error("count failed", peer=name, error=type(error).__name__, where=logs.where(error))
        known.count = Count(name, known.count.instances, reason, known.running_about)
        return known
