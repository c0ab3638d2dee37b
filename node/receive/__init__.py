"""The Storage SCP: C-STORE and C-ECHO; bytes into the spool, rows into the store, and only then success."""

from __future__ import annotations

import threading
from collections.abc import Callable

from node import logs, tls
from node.config import Config
from node.receive.commitment import WORKER
from node.receive.limits import limits_of
from node.receive.listener import Listener, Secure
from node.receive.reception import Reception
from node.receive.storage import Storage
from node.spool import Spool
from node.store import Store

__all__ = ["serve"]

_log = logs.get(__name__)


def serve(
    config: Config, store: Store, spool: Spool, stop: threading.Event, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Receive until `stop` is set, and `node.stop_grace` longer for those who are still sending.

    `ready` is called with the port once connections are accepted (`node.port` 0: the system chose it; the TLS port
    where there is no other). Raises ConfigError when a port cannot be bound or TLS has not what it needs.
    """
    node, secure = config.node, None
    if node.tls_port:
        secure = Secure(node.tls_port, tls.server_context(node, node.tls_client_certificates == "required"))
    lost = store.end_open_associations()
    if lost:
        _log.warning("associations of a former listener are lost", count=lost)
    store.release_commitments(WORKER)  # a former listener may have died in the middle of an answer
    storage = Storage(spool, store, config.node)
    reception = Reception(config, storage)

    def tick() -> None:
        reception.closing = stop.is_set()
        reception.record_ends()

    port = node.port if node.plain else None
    listener = Listener(
        node.host, port, limits_of(node), reception, reception.allowlist.knows_address, tick, secure, node.stop_grace
    )
    _log.info("listening", ae_title=node.ae_title, host=node.host, port=listener.port, tls_port=listener.tls_port)
    ready(listener.port if node.plain else listener.tls_port)
    listener.run(stop)
    reception.record_ends()
    storage.close()
