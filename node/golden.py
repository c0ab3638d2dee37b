"""The golden set while the node runs: at each start of a model process, from its warm-up, and daily. A mismatch is an
alarm, and a stop-rule may act on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from node import logs
from node.runners.base import RunnerBroken, RunnerDied
from node.store import Store
from node.store.golden import Verdict
from pipelines.golden import Measured

log = logs.get(__name__)
DAILY = 86_400.0  # seconds
Stop = Callable[[str, str], None]
"""A stop-rule: (pipeline or variant, why in one line). It may hold back the results of the routes that run it."""


def _only_tell(variant: str, why: str) -> None:
    """The stop-rule of a node that has none: the log and the event tell it."""


class Runs(Protocol):
    """What of a runner is used here."""

    def take_golden(self) -> tuple[Measured, ...]:
        """What the model process measured when it last started, once."""

    def golden(self) -> Future[tuple[Measured, ...]]:
        """Measure now."""


class Golden:
    """Asks for runs of the golden set and puts their verdicts on record. `stop_rule`: called for each mismatch with the
    name of the pipeline or variant, after its event is written and before the next job is claimed."""

    def __init__(
        self, store: Store, runner: Runs, variants: tuple[str, ...], stop_rule: Stop = _only_tell,
        every: float = DAILY, timer: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._store = store
        self._runner = runner
        self._variants = variants
        self._stop_rule = stop_rule
        self._every = every
        self._timer = timer
        self._next = timer() + every
        self._waiting: list[Measured] = []  # measured, not yet on record
        self._acts: list[tuple[str, str]] = []  # on record, not yet given to the stop-rule
        self._broke: str | None = None
        self._running: Future[tuple[Measured, ...]] | None = None

    def look(self) -> None:
        """Settle what was measured, ask for the daily run when it is due. Called between jobs; never waits for a run.
        Raises TryAgain, and then goes on where it was."""
        self._waiting += self._runner.take_golden()
        if self._running is not None and self._running.done():
            self._take(self._running)
            self._running = None
        if self._running is None and self._timer() >= self._next:
            self._running = self._runner.golden()
            self._next = self._timer() + self._every
        self._settle()

    def _take(self, run: Future[tuple[Measured, ...]]) -> None:
        error = run.exception()
        if error is None:
            self._waiting += run.result()
        elif isinstance(error, RunnerDied):
            self._broke = f"the golden set cannot be run: {error}"
        elif isinstance(error, RunnerBroken):  # no job runs then either, and the next start measures by itself
            log.warning("golden set not run", reason=str(error))
        else:
            raise error

    def _settle(self) -> None:
        if self._broke is not None:
            self._store.golden_broke(self._variants, "work", self._broke)
            log.error("golden mismatch", reason=self._broke)
            self._acts += [(name, self._broke) for name in self._variants]
            self._broke = None
        while self._waiting:
            self._tell(self._store.settle_golden(self._waiting[0], "work"))
            del self._waiting[0]
        while self._acts:
            self._stop_rule(*self._acts[0])
            del self._acts[0]

    def _tell(self, verdict: Verdict) -> None:
        if verdict.word == "mismatch":
            why = f"golden set: {len(verdict.moved)} numbers moved, first: {verdict.moved[0].words()}"
            log.error("golden mismatch", pipeline=verdict.variant, reason=why)
            self._acts.append((verdict.variant, why))  # a candidate's must not hold back what is live, nor spare it
        else:
            log.info(f"golden {verdict.word}", pipeline=verdict.variant)
