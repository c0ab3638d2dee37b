"""Messages to people: by webhook and by mail, waiting for servers that are away, arriving once."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from email.message import Message as Mail
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from node.store import NewAlarm, Store
from node.watch import tell
from tests.conftest import Clock
from tests.watching import FAMILY, config

DAY = 86400.0
STORY = {"says": "pixels: pixels.mean: mean 0 before, 1 after", "since": 0.0}


def _alarm() -> NewAlarm:
    return NewAlarm(FAMILY, "pixels.mean", "limit", 7, STORY)


class Hook(HTTPServer):
    """A webhook that answers what it is told to, and keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.answers: list[int] = []
        self.got: list[dict[str, Any]] = []


class _Post(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.got.append(json.loads(body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Sink(socketserver.ThreadingTCPServer):
    """A mail server (RFC 5321, as much as a sender needs) that keeps what it got."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.got: list[Mail] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: Sink

    def handle(self) -> None:
        self._say("220 sink")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                self._say("354 go on")
                text = ""
                while (more := self.rfile.readline().decode()) != ".\r\n":
                    text += more
                self.server.got.append(message_from_string(text, policy=default))
            self._say("221 bye" if verb == "QUIT" else "250 ok")
            if verb == "QUIT":
                return

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_message_waits_for_a_webhook_that_is_away_and_arrives_once(
    store: Store, database: str, clock: Clock, hook: Hook
) -> None:
    watch = config(webhook=f"http://127.0.0.1:{hook.server_port}/x").watch
    store.open_alarm(_alarm(), watch.via)
    hook.answers = [503, 429]
    assert tell.send_due(store, watch) == 0
    assert tell.send_due(store, watch) == 0 and len(hook.answers) == 1, "it waits before it tries again"
    clock.tick(20)
    again = Store(database, clock)  # a restart loses nothing
    assert tell.send_due(again, watch) == 0 and hook.answers == []
    clock.tick(20)
    assert tell.send_due(again, watch) == 1
    clock.tick(DAY)
    assert tell.send_due(again, watch) == 0
    [got] = hook.got
    assert got["event"] == "alarm.opened" and got["story"]["says"] == STORY["says"]
    assert got["text"].startswith("alarm 1: pixels")
    again.dispose()


def test_a_webhook_that_will_never_take_it_is_not_asked_for_ever(store: Store, clock: Clock, hook: Hook) -> None:
    watch = config(webhook=f"http://127.0.0.1:{hook.server_port}/x").watch
    store.open_alarm(_alarm(), watch.via)
    hook.answers = [404]
    tell.send_due(store, watch)
    clock.tick(DAY)
    assert tell.send_due(store, watch) == 0 and hook.got == []


def test_a_server_that_is_away_costs_one_wait_for_all_its_messages(store: Store, clock: Clock, hook: Hook) -> None:
    watch = config(webhook=f"http://127.0.0.1:{hook.server_port}/x").watch
    for channel in ("a", "b", "c"):
        store.open_alarm(NewAlarm(FAMILY, channel, "drift", 1, STORY), watch.via)
    hook.answers = [503]
    assert tell.send_due(store, watch) == 0 and hook.answers == [] and hook.got == []
    clock.tick(DAY)
    assert tell.send_due(store, watch) == 3
    assert [one["channel"] for one in hook.got] == ["a", "b", "c"] and len({one["message"] for one in hook.got}) == 3


def test_an_alarm_comes_by_mail_with_its_story(store: Store, clock: Clock, sink: Sink) -> None:
    port = sink.server_address[1]
    watch = config(email_to=("head@clinic.example",), smtp_host="127.0.0.1", smtp_port=port).watch
    store.open_alarm(_alarm(), watch.via)
    assert tell.send_due(store, watch) == 1
    [mail] = sink.got
    assert mail["Subject"].startswith("[Overread] alarm 1: pixels: pixels.mean") and mail["To"] == "head@clinic.example"
    text = mail.get_content()  # type: ignore[attr-defined]
    assert "overread alarm ack 1" in text and "cxr-triage" in text


def test_a_mail_server_that_is_away_is_tried_again(store: Store, clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        port = taken.getsockname()[1]
        watch = config(email_to=("a@b.example",), smtp_host="127.0.0.1", smtp_port=port).watch
        store.open_alarm(_alarm(), watch.via)
        assert tell.send_due(store, watch) == 0
    clock.tick(60)
    [message] = store.due_messages()
    assert message.attempts == 1
