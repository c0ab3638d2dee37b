"""The Storage SCP: C-STORE and C-ECHO; bytes into the spool, rows into the store, and only then success."""

from __future__ import annotations

import threading
from collections.abc import Callable

from node import logs
from node.config import Config
from node.receive.commitment import WORKER
from node.receive.listener import Listener, limits_of
from node.receive.reception import Reception
from node.receive.storage import Storage
from node.spool import Spool
from node.store import Store

__all__ = ["serve"]

_log = logs.get(__name__)


def serve(
    config: Config, store: Store, spool: Spool, stop: threading.Event, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Receive until `stop` is set, and a few seconds longer for those who are still sending.

    `ready` is called with the port once connections are accepted (`node.port` 0: the system chose it).
    Raises ConfigError when the port cannot be bound.
    """
    lost = store.end_open_associations()
    if lost:
        _log.warning("associations of a former listener are lost", count=lost)
    store.release_commitments(WORKER)  # a former listener may have died in the middle of an answer
    storage = Storage(spool, store, config.node)
    reception = Reception(config, storage)

    def tick() -> None:
        reception.closing = stop.is_set()
        reception.record_ends()

    listener = Listener(
        config.node.host, config.node.port, limits_of(config.node), reception, reception.allowlist.knows_address, tick
    )
    _log.info("listening", ae_title=config.node.ae_title, host=config.node.host, port=listener.port)
    ready(listener.port)
    listener.run(stop)
    reception.record_ends()
    storage.close()
