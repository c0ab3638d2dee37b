"""The web port: metrics, health and the REST end points, as one more process of the node."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

import uvicorn

from node import logs, tls
from node.config import Config
from node.errors import ConfigError, TryAgain
from node.readings import Readings
from node.spool import Spool
from node.store import Store
from node.web import site
from node.web.door import Door
from node.web.health import Checks
from node.web.limits import Refusals
from node.web.metrics import NodeCollector, registry
from node.web.tokens import Tokens

log = logs.get(__name__)
_EVERY = 5.0  # seconds between two looks at the log
_CONNECTIONS = 64  # at once
_LAST = 5.0  # seconds that requests have to end


def serve(
    config: Config, store: Store, spool: Spool, loops: Sequence[str], stop: threading.Event,
    ready: Callable[[int], None],
) -> None:  # fmt: skip
    """Serve until `stop` is set; meanwhile count what happens in the log. `ready` is called once with the port.

    Raises ConfigError where the port, the token file or the certificate cannot be used.
    """
    web = config.web
    refusals = Refusals()
    readings = Readings(store.engine, store.clock)
    app = site.make(
        store, registry(NodeCollector(config, readings, loops, spool.usage)),
        Checks(config, readings, loops, spool.usage).reasons, store.clock,
    )  # fmt: skip
    door = Door(app, Tokens(web.token_file), refusals, web.requests_per_minute, web.open_metrics or web.is_local)
    settings = uvicorn.Config(
        door, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none", http="h11",
        loop="asyncio", proxy_headers=False, limit_concurrency=_CONNECTIONS, timeout_keep_alive=5,
        h11_max_incomplete_event_size=16384, timeout_graceful_shutdown=round(_LAST),
        ssl_context_factory=(lambda *_: tls.server_context(config.node, False)) if web.tls else None,
    )  # fmt: skip
    settings.load()
    for name in ("uvicorn", "uvicorn.error", "asyncio"):  # what foreign exceptions quote may be patient data
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    listening = _listen(web.host, web.port)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listening],), name="web", daemon=True)
    thread.start()
    ready(listening.getsockname()[1])
    try:
        while not stop.wait(_EVERY):
            follow(store, refusals, stop)
            if not thread.is_alive():
                raise RuntimeError("the web server has ended by itself")
    finally:
        server.should_exit = True
        thread.join(_LAST + 1)
        listening.close()
    follow(store, refusals, stop)


def follow(store: Store, refusals: Refusals, stop: threading.Event) -> None:
    """Tell who was turned away, and count the events that are new, until all are counted or `stop` is set."""
    told = refusals.take()
    try:
        while told:
            body = {"address": told[0].address, "path": told[0].path, "why": told[0].why, "count": told[0].count}
            log.warning("a request was turned away", **body)
            store.note("web.refused", "web", f"address/{told[0].address}", body)
            told.pop(0)
        while store.tally() and not stop.is_set():
            time.sleep(0)
    except TryAgain as error:
        refusals.give_back(told)
        log.warning("metrics wait", reason=error.reason)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError("web.host, web.port", f"{host}:{port} cannot be listened on ({error.strerror})") from error
