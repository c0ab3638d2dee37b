"""The web port of a running node: over HTTP, over TLS, and through the death of another loop."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node import schema, web
from node.config import Config
from node.errors import ConfigError
from node.queries import Queries
from node.spool import Spool
from node.store import Store
from node.web import tokens
from tests.certificates import sign
from tests.nodes import running_node, wait_until
from tests.peers import free_port
from tests.web import samples


def _get(
    url: str, token: str | None = None, context: ssl.SSLContext | None = None, data: bytes | None = None
) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextmanager
def _served(folder: Path, **sections: Any) -> Iterator[tuple[int, Store]]:
    url = f"sqlite:///{folder / 'overread.db'}"
    schema.upgrade(url)
    port, stop, ready = free_port(), threading.Event(), threading.Event()
    given = sections.pop("web", {})
    config = Config(web={"port": port, "host": "127.0.0.1"} | given, **sections)
    store = Store(url)
    thread = threading.Thread(
        target=web.serve, args=(config, store, Spool(folder / "spool"), ("receive",), stop, lambda _: ready.set())
    )
    thread.start()
    try:
        assert ready.wait(30)
        yield port, store
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        store.dispose()


def test_a_node_says_that_it_is_well_and_when_it_is_not(tmp_path: Path) -> None:
    port = free_port()
    changes = {"[[route]]": f"[web]\nport = {port}\n[[route]]"}
    with running_node(tmp_path / "node", free_port(), changes=changes) as node:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _get(f"{url}/healthz") == (200, b'{"status":"ok","reasons":[]}'), 30, "health")
        page = samples(_get(f"{url}/metrics")[1])
        loops = {dict(labels)["loop"]: up for labels, up in page["overread_loop_up"].items()}
        assert loops == dict.fromkeys(("receive", "close", "work", "send", "watch", "web"), 1.0)
        before = node.loop("send")
        before.kill()
        seen: list[tuple[int, bytes]] = []
        wait_until(lambda: seen.append(_get(f"{url}/healthz")) or seen[-1][0] == 503, 30, "the news that a loop died")
        assert json.loads(seen[-1][1])["reasons"] == ["loop send does not run"]
        wait_until(lambda: _get(f"{url}/healthz")[0] == 200, 60, "the loop's return")
        assert node.loop("send").pid != before.pid


def test_over_tls_with_tokens_and_refusals_in_the_log(tmp_path: Path) -> None:
    keys = sign(tmp_path / "certificates").of("node")
    token = tokens.make(tmp_path / "tokens", "prometheus", ["metrics"])
    given = {"tls": True, "token-file": tmp_path / "tokens", "host": "0.0.0.0"}
    with _served(tmp_path, node=keys, web=given) as (port, _):
        context = ssl.create_default_context(cafile=str(keys["ca"]))
        url = f"https://127.0.0.1:{port}"
        assert _get(f"{url}/metrics", token, context)[0] == 200
        assert _get(f"{url}/metrics", None, context)[0] == 401
        assert _get(f"{url}/api/labels", token, context, b"{}")[0] == 403
        with pytest.raises((urllib.error.URLError, OSError)):
            _get(f"http://127.0.0.1:{port}/metrics")
    told = [
        event
        for event in Queries(Store(f"sqlite:///{tmp_path / 'overread.db'}").engine).events()
        if event.type == "web.refused"
    ]
    assert [(one.body["path"], one.body["count"]) for one in told] == [("/metrics", 1), ("/api/labels", 1)]
    assert all(token not in json.dumps(event.body) for event in told)


def test_a_port_that_is_taken_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with (
        _served(tmp_path) as (port, store),
        pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be listened on"),
    ):
        web.serve(Config(web={"port": port}), store, Spool(tmp_path / "spool"), (), threading.Event(), lambda _: None)
