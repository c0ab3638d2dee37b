"""What happened at the door and is not on record yet: the database may be away for a while, the door is not."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from node import logs
from node.errors import TryAgain

_log = logs.get(__name__)
_MOST_REFUSALS = 1000  # that wait for the database; they are told of sparingly as it is
_EVERY = 0.2  # seconds between two looks

Write = Callable[[], None]


class Book:
    """Entries are written in their order: at once unless the database is away, then by `serve`, in its own thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._entries: deque[Write] = deque()
        self._away = False  # the database, when it was last asked
        self._told = False  # in the log

    def enter(self, write: Write, later: bool = False, keep: bool = True) -> None:
        """Put an entry on record. `later`: the database is known to be away, and who waits for us must not wait for it
        again. `keep` False: it may be dropped when too many wait."""
        with self._lock:
            if not keep and len(self._entries) >= _MOST_REFUSALS:
                _log.error("a refusal is not in the audit log: too many wait for the database")
                return
            self._entries.append(write)
            self._away = self._away or later
        if not self._away:
            self.write(patient=False)

    def write(self, patient: bool = True) -> None:
        """Write down what waits, until the database is away again; with `patient` even if it was away just now."""
        with self._writing:
            while self._entries and (patient or not self._away):
                try:
                    self._entries[0]()
                except TryAgain as away:
                    if not self._told:
                        _log.warning("not on record yet", entries=len(self._entries), reason=away.reason)
                    self._away = self._told = True
                    return
                except BaseException:
                    self._entries.popleft()  # a defect, told by who called; it must not hold up the others
                    raise
                self._entries.popleft()
                self._away = self._told = False

    def serve(self, stop: threading.Event) -> None:
        """Write until `stop` is set."""
        while not stop.wait(_EVERY):
            if self._entries:
                self.write()
