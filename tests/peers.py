"""Real peers for tests and benchmarks: our own listener, DCMTK and Orthanc, each on a free port of 127.0.0.1.

Where a program is missing the test is skipped with the name of its Debian package; with OVERREAD_REQUIRE_PEERS=1 it
fails instead, so that CI cannot pass by skipping.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node import logs, receive, schema
from node.config import Config
from node.spool import Spool
from node.store import Store

ROOT = Path(__file__).parent.parent
SENDERS = ("STORESCU", "DCMSEND", "ECHOSCU", "ORTHANC", "SENDER")
# Without it each C-STORE of DCMTK and Orthanc waits 40 ms for a delayed acknowledgement.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def need(program: str, package: str) -> str:
    """The path of `program`; skips (or fails, see above) when Debian's `package` is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/bin")
    if found is None:
        missing = f"{program} is missing: install the Debian package {package}"
        if os.environ.get("OVERREAD_REQUIRE_PEERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def real_data(case: str) -> Path:
    """The folder of a case of the real test data; skips where the data is absent."""
    folder = Path(os.environ.get("OVERREAD_REAL_DATA", ROOT.parent / "shared" / "data")) / case
    if not folder.is_dir():
        pytest.skip(f"no {case} under OVERREAD_REAL_DATA")
    return folder


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Listening:
    """A running listener of ours with its database and spool."""

    config: Config
    store: Store
    spool: Spool
    port: int
    process: subprocess.Popen[str] | None = None

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What an SQL query gives."""
        with self.store.engine.connect().execution_options(reading=True) as connection:
            return [dict(row) for row in connection.exec_driver_sql(query).mappings()]

    def events(self, type_: str) -> list[dict[str, Any]]:
        """The bodies of all events of a type, oldest first."""
        return [
            json.loads(row["body"]) for row in self.rows(f"select body from events where type = '{type_}' order by seq")
        ]

    def instances(self) -> list[dict[str, Any]]:
        """The current rows of `instances`, with the file of each as `file`."""
        rows = self.rows("select * from instances where current = 1 order by id")
        return [{**row, "file": self.spool.path(row["path"])} for row in rows]


def node_config(
    folder: Path, may: Sequence[str] = ("echo", "store"), each: Mapping[str, Any] | None = None,
    others: Mapping[str, Any] | None = None, **node: Any,
) -> Config:  # fmt: skip
    """A configuration in `folder` that admits the usual senders from 127.0.0.1; `each`: keys that all of them have;
    `others`: further sections, and further peers as `peer`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "host": "127.0.0.1", "port": 0, "ae-title": "OVERREAD", "spool": folder / "spool",
        "database": f"sqlite:///{folder}/overread.db", "min-free-disk": 0,
        "stop-grace": 10,
    }  # fmt: skip
    settings |= {key.replace("_", "-"): value for key, value in node.items()}
    shared = {"host": "127.0.0.1", "port": 104, "may": list(may), **(each or {})}
    admitted = [{"name": title.lower(), "ae-title": title, **shared} for title in SENDERS]
    sections = dict(others or {})
    return Config(node=settings, peer=[*admitted, *sections.pop("peer", [])], **sections)


@contextlib.contextmanager
def listening(folder: Path, **node: Any) -> Iterator[Listening]:
    """Our listener in a thread of this process."""
    config = node_config(folder, **node)
    schema.upgrade(config.node.database)
    store, spool = Store(config.node.database), Spool(config.node.spool)
    stop, ready, ports = threading.Event(), threading.Event(), []

    def note(port: int) -> None:
        ports.append(port)
        ready.set()

    thread = threading.Thread(target=receive.serve, args=(config, store, spool, stop, note))
    thread.start()
    try:
        assert ready.wait(20), "the listener did not start"
        yield Listening(config, store, spool, ports[0])
    finally:
        stop.set()
        thread.join(20)
        store.dispose()
    assert not thread.is_alive(), "the listener did not stop"


@contextlib.contextmanager
def listening_process(
    folder: Path, may: Sequence[str] = ("echo", "store"), **node: Any
) -> Iterator[Listening]:
    """Our listener as a process of its own, so that it can be killed and measured."""
    config = node_config(folder, may, **node)
    schema.upgrade(config.node.database)
    section = config.model_dump(mode="json", by_alias=True)["node"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.peers", str(folder), json.dumps(section | {"may": may})],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "the listener did not start"
        store = Store(config.node.database)
        yield Listening(config, store, Spool(config.node.spool), json.loads(line)["port"], process)
        store.dispose()
    finally:
        process.stdin.close()
        _end(process)


@contextlib.contextmanager
def stand_in_pacs(folder: Path, ae_title: str = "PACS") -> Iterator[int]:
    """The demo's stand-in PACS; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "node.stand_in_pacs", "--folder", str(folder), "--ae-title", ae_title],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        process.stdin.close()
        _end(process)


@contextlib.contextmanager
def storescp(folder: Path, ae_title: str = "STORESCP") -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """DCMTK's storescp, one process per association, bytes kept as sent."""
    program, port = need("storescp", "dcmtk"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [program, str(port), "-od", str(folder), "-aet", ae_title, "--fork", "+B", "+xa"],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for_port(port, process)
        yield port, process
    finally:
        _end(process)


@dataclass
class Orthanc:
    """A running Orthanc."""

    dicom_port: int
    http_port: int
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: bytes | str | None = None) -> Any:
        """One REST request; JSON where the answer is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status == 200, f"Orthanc answers {answer.status} to {method} {path}: {content[:300]!r}"
        return json.loads(content) if answer.headers.get("Content-Type", "").startswith("application/json") else content


@contextlib.contextmanager
def orthanc(folder: Path, modalities: dict[str, tuple[str, int]] | None = None, **others: Any) -> Iterator[Orthanc]:
    """Orthanc with an empty storage; `modalities`: name -> (AE title, port on 127.0.0.1) that it can send to; `others`:
    settings of its configuration file."""
    program, dicom_port, http_port = need("Orthanc", "orthanc"), free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"), "Plugins": [],
        "DicomAet": "ORTHANC", "DicomPort": dicom_port, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False,
        "HttpPort": http_port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "HttpDescribeErrors": True,
        "DicomModalities": {name: [title, "127.0.0.1", port] for name, (title, port) in (modalities or {}).items()},
        **others,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], env=ENVIRONMENT, stdout=log, stderr=log, cwd=folder
        )
    try:
        _wait_for_port(http_port, process)
        _wait_for_port(dicom_port, process)
        yield Orthanc(dicom_port, http_port, process)
    finally:
        _end(process)


def dcmtk(program: str, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's programs to its end."""
    command = [need(program, "dcmtk"), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, errors="replace")


def _wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen on {port}")


def _end(process: subprocess.Popen[Any]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process.stdin is not None:
            process.wait(5)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _main() -> None:
    """The listener process of `listening_process`: arguments are the folder and the [node] section as JSON."""
    logs.set_up("warning")
    config = node_config(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    receive.serve(
        config, Store(config.node.database), Spool(config.node.spool), stop,
        lambda port: print(json.dumps({"port": port}), flush=True),
    )  # fmt: skip


if __name__ == "__main__":
    _main()
