"""Lets "nothing was reported" become a negative once the time for reports is over (`watch.label-maturity-days`)."""

from __future__ import annotations

import threading

from node import logs
from node.clock import steady
from node.errors import TryAgain
from node.store import Store

log = logs.get(__name__)
EVERY = 600.0  # seconds between two looks
_LOOK = 5.0
_AT_ONCE = 500  # negatives of one finding in one transaction: the listener waits meanwhile


def serve(store: Store, days: float, stop: threading.Event) -> None:
    """Look every ten minutes until `stop` is set."""
    due = steady() + EVERY / 10
    while not stop.wait(_LOOK):
        if steady() < due:
            continue
        try:
            count = look(store, days, stop)
            if count:
                log.info("nothing was reported within the time: negatives", count=count)
            due = steady() + EVERY
        except TryAgain as error:
            log.warning("labels wait", reason=error.reason)


def look(store: Store, days: float, stop: threading.Event) -> int:
    """Make all negatives that are due; return how many. Raises TryAgain."""
    made = 0
    while not stop.is_set() and (some := store.mature_labels(days * 86400.0, _AT_ONCE)):
        made += some
    return made
