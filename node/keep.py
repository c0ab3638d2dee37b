"""The keep loop: purges what is old or in the way, sweeps files that no row knows, raises an alarm for what is not as
it should be, signs the audit log and sends it on. It runs in the process of the close loop, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import Counter

from node import logs
from node.config import Config
from node.errors import ConfigError, TryAgain
from node.forwarding import Forwarding
from node.inventory import Inventory
from node.purging import Purge
from node.retention import HOUR, KINDS
from node.spool import Spool
from node.store import Store
from node.sweeping import missing, sweep
from node.witness import Witness

log = logs.get(__name__)
_NAMED = 10  # paths of missing files that an event names


def serve(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    """Look at the spool every `keep.every` seconds until `stop` is set."""
    keep = Keep(config, store, spool)
    witness, forwarding = Witness(config, store), Forwarding(config, store)
    while not stop.wait(config.keep.every):
        try:
            keep.purge(stop)
            keep.sweep_sometimes()
            witness.look()
            forwarding.send(stop)
        except (TryAgain, ConfigError) as error:  # ConfigError: a key or certificate was taken away
            log.warning("keep waits", reason=str(error))
        except Exception as error:  # noqa: BLE001  the loop's one broad except: a defect must not end housekeeping
            log.error("keep failed", error=type(error).__name__, where=logs.where(error))


class Keep:
    """Housekeeping of one spool; remembers what it told, so that an alarm is one event and not one a minute."""

    def __init__(self, config: Config, store: Store, spool: Spool, purge: Purge | None = None) -> None:
        self._config = config
        self._store = store
        self._spool = spool
        self._inventory = Inventory(store.engine)
        self._purge = purge or Purge(config, store, spool, "keep")
        self._full = False
        self._missing: set[str] = set()
        self._ages_at = 0.0
        self._sweep_at = time.monotonic() + HOUR  # the start of the node swept already

    def purge(self, stop: threading.Event) -> None:
        """Purge what may go, at once when the disk is too full and else every hour; raise the alarm when that leaves it
        too full. Raises TryAgain."""
        short = self._purge.missing_room()
        if short or time.monotonic() >= self._ages_at:
            for _ in self._purge.run(stop.is_set):
                pass
            self._ages_at = time.monotonic() + HOUR
            short = self._purge.missing_room()
        if short and not self._full and not stop.is_set():
            self._tell_full(short)
        self._full = bool(short)

    def sweep_sometimes(self) -> None:
        """Sweep when an hour has passed. Raises TryAgain."""
        if time.monotonic() >= self._sweep_at:
            self.sweep()
            self._sweep_at = time.monotonic() + HOUR

    def sweep(self) -> None:
        """Delete files without a row, tell of rows without their file. Raises TryAgain."""
        received_before = time.time() - HOUR
        with self._spool.deleting():
            # Results get their rows at the end of their job, which may have been long.
            swept = sweep(self._spool, self._inventory, received_before, received_before - self._config.work.time_limit)
        if swept:
            self._store.note("spool.swept", "keep", "node", {"half_written": 0, "without_row": len(swept)})
            log.info("spool swept", without_row=len(swept))
        gone = set(missing(self._spool, self._inventory))
        news = sorted(gone - self._missing)
        if news:
            self._store.note("spool.missing", "keep", "node", {"files": len(news), "first": news[:_NAMED]})
            log.error("files are missing in the spool: `overread spool verify` names them", files=len(news))
        self._missing = gone

    def _tell_full(self, short: int) -> None:
        now = self._store.clock()
        held: Counter[str] = Counter()
        for kind in KINDS:
            for pile in self._inventory.piles(kind, now, self._config.keep, now, held=True):
                held[pile.held or "it is too young"] += pile.bytes
        total, free = self._spool.usage()
        body = {"free": free, "total": total, "wanted": short, "held": dict(held)}
        self._store.note("spool.full", "keep", "node", body)
        log.error("the disk is over its high watermark, and nothing more may be purged", free=free, held=dict(held))
