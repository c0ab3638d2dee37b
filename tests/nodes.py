"""Real nodes and stand-in PACSs for tests: separate processes on 127.0.0.1 that end with the test."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from pydicom import dcmread

from node import config as configuration
from node.config import Config
from node.queries import Queries, open_queries
from node.sections import Peer
from tests.peers import free_port

CONFIG = """
[node]
ae-title = "OVERREAD"
host = "127.0.0.1"
port = {port}
spool = "spool"
database = "{database}"
quiet-time = {quiet_time}
min-free-disk = 1048576
[work]
device = "cpu"
retry-after = 0.2
[send]
retry-after = 0.2
[[peer]]
name = "modality"
ae-title = "MODALITY"
host = "127.0.0.1"
port = 104
may = ["echo", "store"]
[[peer]]
name = "pacs"
ae-title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
may = ["echo", "store"]
[[peer]]
name = "orthanc"
ae-title = "ORTHANC"
host = "127.0.0.1"
port = 104
may = ["echo", "store"]
[[route]]
name = "ct"
match = {{ Modality = "CT" }}
pipelines = ["ct-lung"]
send-to = ["pacs"]
"""


def wait_until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until `true()` is true and return it; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class RunningNode:
    """`overread serve` as a process of its own."""

    def __init__(
        self, folder: Path, pacs_port: int, database: str = "sqlite:///overread.db", quiet_time: float = 1,
        port: int | None = None, changes: Mapping[str, str] | None = None, tree: Path | None = None,
    ) -> None:  # fmt: skip
        """`changes`: text of the configuration -> what stands there instead. `tree`: a folder with node, pipelines and
        models that runs in place of ours."""
        self.tree = tree
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "overread.toml"
        text = CONFIG.format(port=port or free_port(), pacs_port=pacs_port, database=database, quiet_time=quiet_time)
        for old, new in (changes or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        self.path.write_text(text, encoding="utf-8")
        self.log = folder / "node.log"
        self.config: Config = configuration.load(self.path)
        self.process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        return self.config.node.port

    @cached_property
    def queries(self) -> Queries:
        return open_queries(self.config.node.database)

    def start(self) -> None:
        """Start and wait for the ready line."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "node.cli", "serve", "-c", str(self.path)],
                                            stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.tree)  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready"), self.log.read_text()

    def loop(self, name: str) -> psutil.Process:
        """The process of a loop: receive, close, work, send, node (the supervisor) or models (the child of work)."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        if name == "node":
            return supervisor
        for child in supervisor.children(recursive=True):
            command = child.cmdline()
            if name == "models" and any("spawn_main" in word for word in command):
                return child
            if "node.app" in command and name in command:
                return child
        raise AssertionError(f"no process {name}")

    def study(self, uid: str) -> dict[str, Any] | None:
        return self.queries.study(uid)

    def wait_settled(self, uid: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until the study is closed and every job and delivery of it is over."""

        def settled() -> dict[str, Any] | None:
            study = self.study(uid)
            if study is None or study["state"] != "ready":
                return None
            if any(job["state"] not in ("done", "skipped", "failed") for job in study["jobs"]):
                return None
            sent = [d for job in study["jobs"] for output in job["outputs"] for d in output["deliveries"]]
            return study if all(d["state"] in ("delivered", "committed", "failed", "withdrawn", "held") for d in sent) else None

        try:
            return dict(wait_until(settled, seconds, f"study {uid} settled"))
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.study(uid)}; log: {self.log.read_text()[-2000:]}") from error

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.queries.dispose()


@contextmanager
def running_node(folder: Path, pacs_port: int, **settings: Any) -> Iterator[RunningNode]:
    node = RunningNode(folder, pacs_port, **settings)
    node.start()
    try:
        yield node
    finally:
        node.stop()


class StandInPacs:
    """The demonstration's PACS as a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "node.stand_in_pacs", "--port", str(port), "--folder", str(folder), "--ae-title", "PACS"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["port"])

    def stored(self) -> dict[str, list[Path]]:
        """What it holds: SeriesInstanceUID -> files."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.folder.rglob("*.dcm")):
            found.setdefault(str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID), []).append(path)
        return found

    def modalities(self) -> list[str]:
        """The Modality of each series that it holds, sorted."""
        return sorted(str(dcmread(files[0], stop_before_pixels=True).Modality) for files in self.stored().values())

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def stand_in_pacs(folder: Path) -> Iterator[StandInPacs]:
    folder.mkdir(parents=True, exist_ok=True)
    pacs = StandInPacs(folder)
    try:
        yield pacs
    finally:
        pacs.stop()


def as_modality(node: RunningNode) -> tuple[Config, Peer]:
    """What `node.peers.store` needs to send to the node as its modality."""
    config = node.config.model_copy(update={"node": node.config.node.model_copy(update={"ae_title": "MODALITY"})})
    return config, Peer(name="node", ae_title="OVERREAD", host="127.0.0.1", port=node.port)
