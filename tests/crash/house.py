"""A node that is killed again and again, with its modality, its PACS and its database around it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import exc

from node import faults
from node.errors import TryAgain
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.crash.databases import Database, database
from tests.crash.modality import Modality, Sending, modality, small_study
from tests.crash.pacs import Pacs, pacs
from tests.nodes import RunningNode, as_modality

ROOT = Path(__file__).resolve().parents[2]
LOOPS = ("receive", "close", "work", "models", "send", "watch")
MOST_DEATHS = 4  # of one loop under one supervisor: each death doubles its pause before the next start

_CHANGES = {
    'name = "modality"\nae-title = "MODALITY"\nhost = "127.0.0.1"\nport = 104\nmay = ["echo", "store"]':
        'name = "modality"\nae-title = "MODALITY"\nhost = "127.0.0.1"\nport = {modality}\n'
        'may = ["echo", "store", "commit"]',
    'name = "pacs"\nae-title = "PACS"\n': 'name = "pacs"\nae-title = "PACS"\ncommitment = "ask"\n',
    'pipelines = ["ct-lung"]': 'pipelines = ["crash-volume"]',
    "[work]\ndevice = \"cpu\"\nretry-after = 0.2": "[work]\ndevice = \"cpu\"\nretry-after = 0.1\nattempts = 1000",
    "[send]\nretry-after = 0.2":
        "[send]\nretry-after = 0.2\nlongest-wait = 2\nattempts = 1000\ncommitment-wait = 2\ncommitment-attempts = 1000",
}  # fmt: skip


def chest(folder: Path, seed: str, slices: int) -> Study:
    """A phantom chest that ct-lung takes, whatever `slices` says."""
    chest_study(folder, seed=zlib.crc32(seed.encode()), slices=32, matrix=128)
    return Study.from_folder(folder)


def with_pipeline(folder: Path) -> Path:
    """A folder to run a node from, whose pipelines are ours and crash-volume: links, so that what runs is this code."""
    (folder / "pipelines").mkdir(parents=True)
    for package in ("node", "models"):
        (folder / package).symlink_to(ROOT / package)
    for entry in (ROOT / "pipelines").iterdir():
        if entry.name != "__pycache__":
            (folder / "pipelines" / entry.name).symlink_to(entry)
    (folder / "pipelines" / "marked_volume.py").symlink_to(Path(__file__).with_name("marked_volume.py"))
    return folder


class KilledNode(RunningNode):
    """A node whose fault points may be armed; it is started again where it ended."""

    def __init__(self, folder: Path, pacs_port: int, modality_port: int, database: str, home: Path | None) -> None:
        """`home`: see with_pipeline; None: the pipelines that there are."""
        changes = {old: new.replace("{modality}", str(modality_port)) for old, new in _CHANGES.items()}
        if home is None:
            del changes['pipelines = ["ct-lung"]']
        super().__init__(folder, pacs_port, database=database, quiet_time=0.5, changes=changes)
        self.faults = folder / "faults"
        self.faults.mkdir()
        self._home = home or ROOT
        self.starts = 0

    def start(self) -> None:
        """Start and wait until it is ready; again when it was killed, or its database was, before it was."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            self.end()
            self.starts += 1
            environment = {**os.environ, faults.VARIABLE: str(self.faults), "PYTHONPATH": str(self._home)}
            with self.log.open("a") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "node.cli", "serve", "-c", str(self.path)], cwd=self._home,
                    env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
                )  # fmt: skip
            assert self.process.stdout is not None
            if self.process.stdout.readline().startswith("ready"):
                return
        raise AssertionError(f"the node does not start; log: {self.log.read_text()[-2000:]}")

    @property
    def runs(self) -> bool:
        """Whether the supervisor is there."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """SIGKILL, where it still runs."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def arm(self, point: str, word: str) -> None:
        """Let `word` (kill or stop, and @N) happen at a fault point."""
        assert point in faults.POINTS, point
        waiting = self.faults / f"{point}.new"
        waiting.write_text(word)
        waiting.rename(self.faults / point)

    def reached(self, point: str) -> bool:
        """Whether an armed point was reached."""
        return not any(self.faults.glob(f"{point}*"))


@dataclass
class House:
    """All of it. `kills`: how often each process died by our hand, `points`: at which fault point."""

    folder: Path
    node: KilledNode
    pacs: Pacs
    modality: Modality
    database: Database
    seed: str
    make: Callable[[Path, str, int], Study] = small_study
    sendings: list[Sending] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    expected: set[str] = field(default_factory=set)  # SOP Instance UIDs of results that the PACS may hold
    found: list[str] = field(default_factory=list)  # what did not hold
    deaths: Counter[str] = field(default_factory=Counter)  # of each loop since the supervisor started

    def send(self, way: str, slices: int = 6) -> Sending:
        """A new study begins to come."""
        number = len(self.sendings)
        study = self.make(self.folder / "studies" / str(number), f"{self.seed} {number}", slices)
        sending = Sending(study, way)
        self.sendings.append(sending)
        self.modality.begin(sending, self.closed)
        return sending

    def closed(self, uid: str) -> bool:
        """Whether a study is closed; False too while the database is away."""
        with suppress(TryAgain, exc.SQLAlchemyError):
            study = self.node.study(uid)
            return study is not None and study["state"] == "ready"
        return False

    def kill(self, victim: str) -> bool:
        """SIGKILL one of LOOPS, or the supervisor ("node"), which is started again; False when it is not there now."""
        if victim == "node":
            self.node.end()
            self.kills["node"] += 1
            self.start()
            return True
        if not self.node.runs:
            return False
        try:
            self.node.loop(victim).kill()
        except (AssertionError, psutil.NoSuchProcess):
            return False
        self.died(victim)
        return True

    def died(self, victim: str) -> None:
        """Count a death."""
        self.kills[victim] += 1
        self.deaths[victim] += 1

    def start(self) -> None:
        """The node, anew."""
        self.deaths.clear()
        self.node.start()
        self.pacs.node_port = self.node.port

    def stop_database(self, seconds: float) -> None:
        """Stop the database's server at once, and start it after a while."""
        self.database.stop()
        self.kills["database"] += 1
        time.sleep(seconds)
        self.database.start()

    def end(self) -> None:
        """SIGTERM to the node."""
        if self.node.process is not None:
            self.node.stop()
        self.node.queries.dispose()


@contextmanager
def house(folder: Path, kind: str, seed: str, home: Path | None) -> Iterator[House]:
    """A running house on a database of a kind; `home`: see KilledNode."""
    with database(kind, folder / "database") as stood_on, pacs() as destination, modality() as source:
        node = KilledNode(folder / "node", destination.port, source.port, stood_on.url, home)
        source.config, source.node = as_modality(node)
        made = House(folder, node, destination, source, stood_on, seed, chest if home is None else small_study)
        made.start()
        try:
            yield made
        finally:
            made.end()
