"""The log goes to a syslog receiver over TLS without a gap, whatever becomes of the receiver."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from node.config import Config
from node.errors import ConfigError
from node.forwarding import READER, Forwarding
from node.queries import Queries
from node.store import Store
from node.syslog import framed
from tests.certificates import Signed, sign
from tests.conftest import missing


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return sign(tmp_path_factory.mktemp("certificates"))


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Sink:
    """A receiver that keeps what comes. `breaks_off`: bytes after which it resets the connection."""

    def __init__(self, signed: Signed, port: int, breaks_off: int | None = None, name: str = "node") -> None:
        keys = signed.of(name)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys["ca"]))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(keys["certificate"], keys["key"])
        self._breaks_off = breaks_off
        self.content = b""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.1)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._end.is_set():
            try:
                plain, _ = self._listener.accept()
                plain.settimeout(20)
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    self._read(secure)
            except OSError:  # nobody called for a moment, or the caller went
                continue

    def _read(self, secure: ssl.SSLSocket) -> None:
        came = b""
        while part := secure.recv(65536):
            came += part
            if self._breaks_off is not None and len(came) >= self._breaks_off:
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                return
        self.content += came
        secure.unwrap()

    def messages(self) -> list[str]:
        """By the lengths before them (RFC 5425, 4.3)."""
        found, left = [], self.content
        while left:
            length, _, left = left.partition(b" ")
            found.append(left[: int(length)].decode())
            left = left[int(length) :]
        return found


def _config(signed: Signed, port: int, host: str = "localhost") -> Config:
    keys = signed.of("node")
    return Config(audit={"syslog-host": host, "syslog-port": port, "syslog-ca": keys["ca"],
                         "syslog-certificate": keys["certificate"], "syslog-key": keys["key"]})  # fmt: skip


def _note(store: Store, first: int, last: int) -> None:
    for number in range(first, last + 1):
        store.note("node.configured", "node", "node", {"reason": f"number {number} ü"})


def _told(store: Store) -> list[dict[str, object]]:
    return [dict(event.body) for event in Queries(store.engine).events("audit") if event.type == "audit.sending"]


def test_every_event_comes_once_in_order_and_framed_as_rfc_5425_says(store: Store, signed: Signed) -> None:
    port = _port()
    _note(store, 1, 30)
    store.note("spool.swept", "node", "node", {})  # has no message
    with Sink(signed, port) as sink:
        forwarding = Forwarding(_config(signed, port), store)
        forwarding.send(threading.Event())
        forwarding.send(threading.Event())
    messages = sink.messages()
    assert len(messages) == 30 and store.place(READER) == 31
    header, _, text = messages[0].partition("\ufeff")
    priority, at, host, name, process, kind, data = header.split()
    assert (priority, name, kind, data) == ("<85>1", "overread", "DICOM+RFC3881", "-") and host and process.isdigit()
    ids = [ElementTree.fromstring(one.partition("\ufeff")[2]).find("EventIdentification").get("EventDateTime") for one in messages]  # type: ignore[union-attr]
    assert ids[0] == at and ids == [event.at for event in Queries(store.engine).events("node")][:30]
    assert text.startswith("<AuditMessage>") and _told(store) == []


def test_nothing_is_lost_while_the_receiver_is_down_or_breaks_off_and_the_outage_is_told_once(store: Store, signed: Signed) -> None:
    port = _port()
    forwarding = Forwarding(_config(signed, port), store)
    stop = threading.Event()
    _note(store, 1, 3)
    forwarding.send(stop)
    forwarding.send(stop)
    assert store.place(READER) == 0 and len(_told(store)) == 1 and "did not take" in str(_told(store)[0]["reason"])
    with Sink(signed, port, breaks_off=100):
        forwarding.send(stop)
    assert store.place(READER) == 0
    _note(store, 4, 5)
    with Sink(signed, port) as sink:
        Forwarding(_config(signed, port), store).send(stop)  # another process takes up where the first one was
    assert len(sink.messages()) == 5
    assert store.place(READER) >= 6


def test_a_receiver_with_a_wrong_certificate_gets_nothing(store: Store, signed: Signed) -> None:
    _note(store, 1, 1)
    for name in ("stranger", "elsewhere"):  # of another CA; for another host
        port = _port()
        with Sink(signed, port, name=name) as sink:
            Forwarding(_config(signed, port), store).send(threading.Event())
        assert sink.content == b"" and store.place(READER) == 0
    with pytest.raises(ConfigError, match="syslog-ca"):
        Forwarding(Config(audit={"syslog-host": "localhost", "syslog-ca": "/nowhere"}), store).send(threading.Event())


def test_a_header_is_ascii_whatever_the_machine_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "höst name")
    length, _, rest = framed("<x/>", "2026-11-22T02:00:00.000001+00:00").partition(b" ")
    assert int(length) == len(rest) and b" hstname overread " in rest and rest.endswith("\ufeff<x/>".encode())


RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="all" type="string" string="%rawmsg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="r")
ruleset(name="r") {{ action(type="omfile" file="{folder}/log" template="all") }}
"""


@pytest.fixture
def rsyslog(tmp_path: Path, signed: Signed) -> Iterator[tuple[int, Path]]:
    """A real rsyslogd over TLS: its port, and the file that it writes."""
    daemon = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if daemon is None:
        missing("rsyslog", "rsyslogd is not installed")
    port, keys = _port(), signed.of("node")
    (tmp_path / "rsyslog.conf").write_text(RSYSLOG.format(folder=tmp_path, port=port, **keys))
    command = [str(daemon), "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "pid")]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                said = (tmp_path / "out").read_text()
                if "gtls" in said and "could not load" in said:
                    missing("rsyslog-gnutls", "rsyslogd has no TLS")
                pytest.fail(f"rsyslogd does not listen: {said[-500:]}")
            time.sleep(0.1)
        yield port, tmp_path / "log"
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_rsyslog_gets_every_message(sqlite: str, signed: Signed, rsyslog: tuple[int, Path]) -> None:
    port, written = rsyslog
    store = Store(sqlite)
    _note(store, 1, 200)
    Forwarding(_config(signed, port), store).send(threading.Event())
    assert store.place(READER) == 200, _told(store)
    deadline = time.monotonic() + 30
    while (not written.exists() or written.read_text().count("</AuditMessage>") < 200) and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = written.read_text().splitlines()
    assert len(lines) == 200 and all("DICOM+RFC3881" in line for line in lines)
    assert len({line.partition("\ufeff")[0] for line in lines}) > 1
