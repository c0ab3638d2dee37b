"""The door of HL7: who may call, what is answered, and that no caller holds it up; on a real socket."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node import tls
from node.config import Config
from node.errors import ConfigError, TryAgain
from node.queries import Queries
from node.reports import mllp
from node.reports.mllp import Door
from node.sections import Node
from node.store import Store
from tests.conftest import Arrivals
from tests.labelled import finish
from tests.unit.test_hl7 import OBR, message

SAYS = message(OBR, "OBX|1|CE|PTX||Y||||||F", "ZDS|1.2.3")
Doors = Callable[..., Door]


def config(node: dict[str, Any] | None = None, **hl7: Any) -> Config:
    section = {"port": 1, "peers": ["127.0.0.1"], "findings": {"PTX": "pneumothorax"}, **hl7}
    made = Config(**{"hl7": section, "node": {"ae-title": "OVERREAD", **(node or {})}})
    return made.model_copy(update={"hl7": made.hl7.model_copy(update={"port": 0})})  # the system chooses


@pytest.fixture
def doors(sqlite: str) -> Iterator[Doors]:
    stop, threads = threading.Event(), list[threading.Thread]()

    def open_(settings: Config | None = None) -> Door:
        door = Door(settings or config(), Store(sqlite))
        threads.append(threading.Thread(target=door.serve, args=(stop,)))
        threads[-1].start()
        return door

    yield open_
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def call(door: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port), 10)


def answer(connection: socket.socket) -> str:
    told = b""
    while not told.endswith(b"\x1c\r"):
        part = connection.recv(4096)
        if not part:
            return ""
        told += part
    return told.decode().split("MSA|")[1].split("\r")[0]


def events(door: Door, type_: str) -> list[dict[str, Any]]:
    return [dict(event.body) for event in Queries(door._store.engine).events() if event.type == type_]


def soon(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())


def test_a_message_is_answered_once_its_labels_are_committed(doors: Doors) -> None:
    door = doors()
    finish(door._store, Queries(door._store.engine), Arrivals(door._store), "1.2.3", pneumothorax=(0.9, True))
    with call(door) as caller:
        for _ in range(2):
            caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
            assert answer(caller) == "AA|M1|"
    assert [(one["finding"], one["source"]) for one in events(door, "label.added")] == [("pneumothorax", "hl7")]
    assert "Secret" not in str(Queries(door._store.engine).events())


def test_what_is_not_taken_is_told_and_the_next_message_is(doors: Doors) -> None:
    door = doors()
    with call(door) as caller:
        caller.sendall(b"\x0b" + SAYS.replace(b"ORU^R01^ORU_R01", b"ADT^A08") + b"\x1c\r\x0b" + SAYS[:-30] + b"\x00\x1c\r")
        caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert [answer_ for answer_ in _all(caller, 3)] == ["AR|M1|message type is not ORU^R01", "AE|M1|it holds control characters", "AA|M1|"]
        for _ in range(2):
            caller.sendall(b"\x0b" + SAYS.replace(b"ORU^R01^ORU_R01", b"ADT^A08") + b"\x1c\r")
            assert answer(caller) == "AR|M1|message type is not ORU^R01"
    told = [(one["answer"], one["count"]) for one in events(door, "message.refused")]
    assert told == [("AR", 1), ("AE", 1)], "one a minute from one address for one reason"


def _all(caller: socket.socket, count: int) -> list[str]:
    told = b""
    while told.count(b"\x1c\r") < count:
        told += caller.recv(4096)
    return [part.split("\r")[0] for part in told.decode().split("MSA|")[1:]]


def test_a_database_that_is_away_lets_the_sender_try_again(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise TryAgain("the database does not answer")

    door = doors()
    monkeypatch.setattr(door._store, "add_labels", away)
    with call(door) as caller:
        caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert answer(caller) == "AR|M1|the database does not answer: send it again"


def test_a_defect_is_answered_and_ends_no_connection(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    door = doors()
    with call(door) as caller:
        with monkeypatch.context() as broken:
            broken.setattr(mllp.oru, "labels_of", lambda *_: 1 / 0)
            caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
            assert answer(caller) == "AR|M1|it cannot be read"
        caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert answer(caller) == "AA|M1|"


def test_strangers_are_not_heard_and_that_is_on_record(doors: Doors) -> None:
    door = doors(config(peers=["10.0.0.0/8"]))
    with call(door) as caller:
        assert answer(caller) == ""
    assert soon(lambda: events(door, "message.refused"))
    assert "not of [hl7] peers" in events(door, "message.refused")[0]["reason"]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(b"GET / HTTP/1.1\r\n\r\n", "MLLP"), (b"\x0b" + b"x" * (mllp.hl7.LARGEST + 70_000), "larger")],
)
def test_what_is_not_mllp_ends_the_connection(doors: Doors, sent: bytes, reason: str) -> None:
    door = doors()
    with call(door) as caller:
        try:
            caller.sendall(sent)
            assert answer(caller) == ""
        except ConnectionError:
            pass  # it was closed before all was sent
    assert soon(lambda: events(door, "message.refused")) and reason in events(door, "message.refused")[0]["reason"]


def test_who_drips_is_cut_off_and_who_is_quiet_is_not(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mllp, "MESSAGE_WITHIN", 1.0)
    monkeypatch.setattr(mllp, "_LOOK", 0.1)
    door = doors()
    with call(door) as quiet, call(door) as dripping:
        try:
            for byte in b"\x0b" + SAYS:
                dripping.sendall(bytes([byte]))
                time.sleep(0.02)
        except ConnectionError:
            pass
        assert soon(lambda: events(door, "message.refused")) and "not whole within 1 s" in events(door, "message.refused")[0]["reason"]
        quiet.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert answer(quiet) == "AA|M1|"


def test_no_address_takes_all_connections(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mllp, "MOST_PER_ADDRESS", 1)
    door = doors()
    with call(door) as first:
        assert soon(lambda: door._inside.total() == 1)
        with call(door) as second:
            assert answer(second) == ""
        first.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert answer(first) == "AA|M1|"
    assert soon(lambda: not door._inside)


def test_over_tls_a_caller_shows_a_certificate(doors: Doors, tmp_path: Path) -> None:
    from node import trial_certificates

    trial_certificates.make(tmp_path, None, ["ris"])
    node = {"certificate": tmp_path / "node.pem", "key": tmp_path / "node.key", "ca": tmp_path / "ca.pem"}
    door = doors(config(node, tls=True))
    keys = Node(certificate=tmp_path / "peer-ris.pem", key=tmp_path / "peer-ris.key", ca=tmp_path / "ca.pem")
    context = tls.client_context(keys)
    context.check_hostname = False
    with context.wrap_socket(call(door)) as caller:
        caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert answer(caller) == "AA|M1|"
    bare = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    bare.check_hostname = False
    with pytest.raises(OSError), bare.wrap_socket(call(door)) as caller:
        caller.sendall(b"\x0b" + SAYS + b"\x1c\r")
        assert answer(caller) == "", "closed"
        raise ConnectionError
    assert soon(lambda: any("shows no certificate" in one["reason"] for one in events(door, "message.refused")))


def test_a_port_that_is_taken_is_a_configuration_error(sqlite: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = config()
        settings = settings.model_copy(update={"hl7": settings.hl7.model_copy(update={"port": taken.getsockname()[1]})})
        with pytest.raises(ConfigError, match=r"hl7\.port.*cannot be listened on"):
            Door(settings, Store(sqlite))
