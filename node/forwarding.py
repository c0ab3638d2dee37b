"""Sends the audit log on, as DICOM audit messages, to whoever `[audit]` names, without a gap: how far it has got is
kept in the database, and only goes on once the receiver has all. A step of the keep loop."""

from __future__ import annotations

import threading

from node import audit, logs
from node.config import Config
from node.errors import TryAgain
from node.queries import Queries
from node.store import Store
from node.syslog import Receiver, framed
from node.telling import atna

log = logs.get(__name__)
READER = "syslog"
_BATCH = 2000  # events between two notes of the place


class Forwarding:
    """Remembers whether the receiver took the last batch, so that an outage is two events and not one a minute."""

    def __init__(self, config: Config, store: Store) -> None:
        self._settings = config.audit
        self._ae_title = config.node.ae_title
        self._store = store
        self._queries = Queries(store.engine)
        self._away = False

    def send(self, stop: threading.Event) -> None:
        """Send what the receiver has not got. Raises TryAgain (the database), ConfigError."""
        settings = self._settings
        if not settings.syslog_host or settings.syslog_ca is None:
            return
        receiver = Receiver(settings.syslog_host, settings.syslog_port, settings.syslog_ca,
                            settings.syslog_certificate, settings.syslog_key)  # fmt: skip
        place = self._store.place(READER)
        while not stop.is_set():
            events = list(self._queries.log(after=place, most=_BATCH))
            if not events:
                return
            messages = [message for event in events if (message := self._message(event)) is not None]
            if messages:
                try:
                    receiver.send(messages)
                except TryAgain as error:
                    self._tell(place, error.reason)
                    return
                self._tell(place, None)
            place = events[-1].seq
            self._store.set_place(READER, place)

    def _message(self, event: audit.Event) -> bytes | None:
        text = atna.message(event, self._ae_title, self._queries.patient_digests)
        return None if text is None else framed(text, event.at)

    def _tell(self, place: int, reason: str | None) -> None:
        if (reason is not None) == self._away:
            return
        self._away = reason is not None
        if reason is not None:
            log.error("the audit log is not sent on; it waits", reason=reason)
        body = {"last": place} | ({"reason": reason} if reason is not None else {})
        self._store.note("audit.sending", "keep", "audit", body)
