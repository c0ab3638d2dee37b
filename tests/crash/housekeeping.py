"""Housekeeping once, in a process that may die of it: `python -m tests.crash.housekeeping DATABASE SPOOL NOW`."""

from __future__ import annotations

import sys
from pathlib import Path

from node.config import Config
from node.purging import Purge
from node.sections import Keep
from node.spool import Spool
from node.store import Store
from node.witness import Witness


def config(spool: Path) -> Config:
    """Signs a head after three events, and purges what is older than the least that is allowed."""
    return Config(
        node={"spool": spool, "min-free-disk": 0},
        audit={"events": 3, "retention": 183},
        keep=Keep(studies=30, results=0),
    )


def main(url: str, spool: Path, now: float) -> None:
    """Purge files, sign a head and export it, purge the log."""
    settings, store = config(spool), Store(url, lambda: now)
    list(Purge(settings, store, Spool(spool), "keep", disk=lambda: (1000, 900)).run())
    Witness(settings, store).look()
    store.dispose()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
