"""kill -9 while monitoring keeps what it saw, holds a route and tells people: nothing is lost, nothing is doubled, and a
replay of the log gives the state that is there; on both databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from node import audit, faults
from node.queries import Queries
from node.schema import messages, watch_states
from node.store import Store
from node.watch.watcher import replay
from tests.conftest import ROOT, Clock
from tests.watching import MODEL, Traffic, accepted, config, usual

RUNS = """
import sys
from node.store import Store
from tests.watching import config, run, watching
url, now, hook = sys.argv[1:]
store = Store(url, lambda: float(now))
watch = watching(store, config(webhook=hook, on_stop="review", escalate_after=(1,)))
run(watch)
watch.look_around()
"""


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append(body)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not on the screen."""


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        server.got = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _dies(folder: Path, point: str | None, *given: str) -> None:
    """A watch loop that goes to the end of the log, looks around and ends; or dies at an armed point."""
    if point is not None:
        (folder / point.partition("@")[0]).write_text("kill@" + (point.partition("@")[2] or "1"))
    ended = subprocess.run([sys.executable, "-c", RUNS, *given], env={**os.environ, faults.VARIABLE: str(folder)},
                           cwd=ROOT, capture_output=True, text=True, timeout=240)  # fmt: skip
    assert ended.returncode == (0 if point is None else -signal.SIGKILL), (point, ended.stderr[-2000:])
    assert not list(folder.glob("watch.*")), f"{point} was not reached"


def _is_what_the_log_gives(store: Store) -> bool:
    with store.engine.connect() as connection:
        kept = {row.family: row for row in connection.execute(sa.select(watch_states))}
        again = replay(connection, "main", kept.pop("*").seq)
    return again.states(set(again.courses)) == {name: row.state for name, row in kept.items()} and bool(kept)


def test_a_watch_loop_that_dies_at_each_of_its_steps_loses_nothing_and_doubles_nothing(
    store: Store, queries: Queries, database: str, clock: Clock, hook: HTTPServer, tmp_path: Path
) -> None:
    url, traffic = f"http://127.0.0.1:{hook.server_port}/", Traffic(store, clock)
    traffic.add(list(usual(400, 1)))
    accepted(store, config())
    traffic.add(list(usual(30, 3, device="C", shift=2.0)))
    with store.engine.begin() as connection:
        audit.append(connection, clock(), "golden.mismatch", "work", "pipeline/cxr-triage", {"model": MODEL})
    given = (database, str(clock()), url)
    # Five stretches of the log, with the alarms in the last. Each time the next one goes on where this one died.
    for point in ("watch.keeping", "watch.keeping@5", "watch.kept"):
        _dies(tmp_path, point, *given)
    assert _is_what_the_log_gives(store), "an alarm is open, nobody was told"
    opened = {alarm["channel"]: alarm["id"] for alarm in queries.alarms(open_only=True)}
    assert {"pixels.mean", "device.ManufacturerModelName", "golden"} <= set(opened)
    assert hook.got == [], "the messages wait"  # type: ignore[attr-defined]
    for point in ("watch.held", "watch.sent"):
        _dies(tmp_path, point, *given)
    later = (database, str(clock() + 7200), url)
    _dies(tmp_path, "watch.escalating", *later)
    _dies(tmp_path, None, *later)

    told: Counter[str] = Counter(event.type for event in queries.events())
    assert told["alarm.opened"] == told["alarm.escalated"] == len(opened) == len(queries.alarms())
    assert told["alarm.stopped"] == told["route.mode"] == 1 and queries.stored_modes() == {"chest": "review"}
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(messages.c.id, messages.c.state)).all()
    came: Counter[int] = Counter(one["message"] for one in hook.got)  # type: ignore[attr-defined]
    assert {row.state for row in rows} == {"sent"} and set(came) == {row.id for row in rows}
    assert sorted(came.values())[-2:] == [1, 2], "only what was sent when it died comes again, under the same number"
    assert _is_what_the_log_gives(store)

    accepted(store, config())  # a person signs, and the loop dies before the evidence began anew
    _dies(tmp_path, "watch.keeping", *later)
    assert {alarm["channel"] for alarm in queries.alarms(open_only=True)} == set(opened)
    _dies(tmp_path, None, *later)
    assert {alarm["channel"] for alarm in queries.alarms(open_only=True)} == {"golden"}
    assert Counter(event.type for event in queries.events())["alarm.cleared"] == len(opened) - 1
    assert _is_what_the_log_gives(store) and queries.verify()[1] is None
