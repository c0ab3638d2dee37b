"""The composition root: builds one loop of the node in this process and runs it.

`overread serve` (node.supervisor) starts one such process for each loop: `python -m node.app LOOP FILE PARENT`, where
PARENT is its own process id. A loop says on standard output, as one JSON
line, when it is ready; it ends on SIGTERM, and with the process that started it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node import config as configuration
from node import logs, processes, variants
from node.config import Config
from node.errors import ConfigError, OverreadError
from node.queries import Queries
from node.routes import Routes
from node.spool import Spool
from node.store import Store
from pipelines import registry

LOOPS = ("receive", "close", "work", "send", "watch")
CANNOT_START = 4  # exit code: trying again cannot help


def loops(config: Config) -> tuple[str, ...]:
    """The loops that this configuration wants, in the order in which they are started."""
    reporting = config.hl7.port or any({"label", "review"} & set(peer.may) for peer in config.peers)
    return (*LOOPS, *(("reports",) if reporting else ()), *(("web",) if config.web.port else ()))


def _say_ready(**facts: Any) -> None:
    print(json.dumps({"ready": True, **facts}), flush=True)


def _receive(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    from node import receive  # each loop imports only what it needs: the listener never sees torch

    receive.serve(config, store, spool, stop, ready=lambda port: _say_ready(port=port))


def _close(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    from node import close, keep, maturing
    from node.counting import Counting

    routes = Routes(config, registry.names())
    housekeeping = threading.Thread(target=keep.serve, args=(config, store, spool, stop), name="keep")
    housekeeping.start()
    ripening = (store, config.watch.label_maturity_days, stop)
    maturity = threading.Thread(target=maturing.serve, args=ripening, name="maturing")
    maturity.start()
    _say_ready()
    close.serve(store, Queries(store.engine), spool, routes, Counting(config), stop)
    housekeeping.join()
    maturity.join()


def _work(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    from node.ahead import LookAhead
    from node.golden import Golden
    from node.runners.local import Local
    from node.watch import stop_rule
    from node.work import Work

    queries = Queries(store.engine)
    names = variants.wanted(config, queries.promoted())
    runner = Local(config, names)
    runner.start()
    _say_ready(runner=runner.pid)
    try:
        ahead = LookAhead(queries, spool, Routes(config, registry.names()), runner)
        golden = Golden(store, runner, names, stop_rule.of_golden(config, store, queries))
        Work(config, store, queries, spool, runner, _worker_name("work"), ahead, golden=golden).serve(stop)
    finally:
        runner.stop()


def _send(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    from node import send, tls

    if any(peer.tls for peer in config.peers):
        tls.client_context(config.node)  # what is missing for TLS shows at the start, not at the first delivery
    _say_ready()
    send.serve(config, store, spool, stop, _worker_name("send"))


def _watch(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    _say_ready()
    if not config.watch.enabled:
        stop.wait()
        return
    from node.watch import serve, sources

    serve.serve(config, store, Queries(store.engine), stop, sources.SOURCES)


def _reports(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    from node import reports

    reports.serve(config, store, spool, stop, ready=lambda port: _say_ready(hl7=port))


def _web(config: Config, store: Store, spool: Spool, stop: threading.Event) -> None:
    from node import web

    web.serve(config, store, spool, loops(config), stop, ready=lambda port: _say_ready(web=port))


_BUILD: dict[str, Callable[[Config, Store, Spool, threading.Event], None]] = {
    "receive": _receive, "close": _close, "work": _work, "send": _send, "watch": _watch,
    "reports": _reports, "web": _web,
}  # fmt: skip


def _worker_name(loop: str) -> str:
    # Stable across restarts on one machine, so that a restarted loop takes back at once what it held when it died.
    return f"{socket.gethostname()}/{loop}"


def main(loop: str, config_path: str, parent: int | None = None) -> int:
    """Run one loop until SIGTERM, or until the process `parent` that started it ends. Returns the exit code."""
    processes.end_with_parent(parent)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor says when to end
    try:
        config = configuration.load(Path(config_path))
        logs.set_up(config.node.log_level, config.node.log_json, loop)
        _BUILD[loop](config, Store(config.node.database), Spool(config.node.spool), stop)
    except (ConfigError, OverreadError, OSError) as error:
        print(json.dumps({"ready": False, "reason": str(error)}), flush=True)
        return CANNOT_START
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in a peer's silence must not hold up the end
