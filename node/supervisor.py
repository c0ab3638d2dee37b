"""`overread serve`: starts one process for each loop, starts a dead one again, ends them all together."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from node import __version__, app, changes, clock, faults, logs, schema
from node.config import Config, without_password
from node.errors import ConfigError, TryAgain
from node.inventory import Inventory
from node.proof.heads import open_signer
from node.queries import Queries
from node.routes import Routes
from node.spool import Spool
from node.store import Store
from node.sweeping import sweep
from pipelines import registry

log = logs.get(__name__)
_AFTER = 10.0  # seconds that a loop has to end when its grace is over
_TELL_EVERY = 5.0  # seconds between two attempts to tell a database that is away
_ORPHAN_AGE = 60.0  # seconds: a file without a row may belong to a commit under way, an older one cannot
_LONGEST_PAUSE = 30.0  # seconds before a dying loop is started again


@dataclass
class _Loop:
    name: str
    process: subprocess.Popen[str]
    ready: Mapping[str, Any] | None = None
    cannot_start: str | None = None
    told: bool = False  # whether it is on record that it is ready
    deaths: int = 0
    start_at: float = 0.0
    reader: threading.Thread = field(default_factory=threading.Thread)


class Supervisor:
    """The node as a tree of processes. `on_ready` is called once with the facts of all loops (the listener's port)."""

    def __init__(self, config: Config, config_path: Path, on_ready: Callable[[Mapping[str, Any]], None]) -> None:
        self._config = config
        self._config_path = config_path
        self._on_ready = on_ready
        self._stop = threading.Event()
        self._at_once = threading.Event()
        self._loops: dict[str, _Loop] = {}
        self._steps = clock.Steps()
        self._tell_at = 0.0
        self._step = 0.0  # seconds by which the clock was set, and times in rows have not gone along yet

    def serve(self) -> int:
        """Run until SIGTERM or SIGINT, then let finish what runs; a second one ends it at once.

        Returns the exit code: 0 stopped, 1 a loop cannot start or did not end by itself. Raises ConfigError.
        """
        if faults.armed():
            log.warning("fault points are armed: this node ends wherever a test wants it to", by=faults.VARIABLE)
        Routes(self._config, registry.names())  # what cannot work is told before anything starts
        with _only_one(self._config.node.spool):
            store = self._prepare()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            ended = False
            try:
                code = self._watch(store)
            finally:
                ended = self._end_all(store)
                _note(store, "node.stopped", {"drained": ended})
            return code if ended else 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        (self._at_once if self._stop.is_set() else self._stop).set()

    def _prepare(self) -> Store:
        url = self._config.node.database
        try:
            if url.startswith("sqlite:///"):
                Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            schema.upgrade(url)
        except schema.Unreachable as error:
            raise ConfigError("node.database", f"{without_password(url)} cannot be opened ({error})") from error
        faults.point("node.upgraded")
        store, spool = Store(url), Spool(self._config.node.spool)
        files = next((files for folder in spool.folders() if (files := spool.files(folder))), None)
        if files and Inventory(store.engine).is_new():  # the sweep would take every file of another database's studies
            raise ConfigError(
                "node.database",
                f"{without_password(url)} is new, but there are studies in {spool.root}: is it the right database? "
                "To begin anew, give the node another spool",
            )
        back = store.mend_times()
        if back:
            log.warning("the clock was set backwards since the node last ran", seconds=round(-back, 1))
        open_signer(self._config.signing_key, self._config.heads_folder)  # what is wrong with it shows at the start
        changes.note(self._config, Queries(store.engine), store)
        body = {"version": __version__, "config": self._config.digest, "pid": os.getpid()}
        store.note("node.started", "node", "node", body)
        half, orphans = spool.sweep_incoming(), 0
        try:
            with spool.deleting():
                before = time.time() - _ORPHAN_AGE
                orphans = len(sweep(spool, Inventory(store.engine), before, before))
                spool.remove_empty()
        except TryAgain as error:
            log.warning("spool not swept", reason=error.reason)
        if half or orphans:
            store.note("spool.swept", "node", "node", {"half_written": half, "without_row": orphans})
            log.info("spool swept", half_written=half, without_row=orphans)
        faults.point("node.swept")
        return store

    def _watch(self, store: Store) -> int:
        for name in app.loops(self._config):
            self._loops[name] = self._start(name)
        told = False
        while not self._stop.wait(0.2):
            self._follow_clock(store)
            self._tell_ready(store)
            for name, loop in self._loops.items():
                code = loop.process.poll()
                if code is None:
                    if loop.ready is not None and time.monotonic() - loop.start_at > 60:
                        loop.deaths = 0
                    continue
                loop.reader.join(5)
                if loop.cannot_start is not None and not told:
                    log.error("the node does not start", loop=name, reason=loop.cannot_start)
                    return 1
                self._again(store, loop, code)
            if not told and all(loop.ready is not None for loop in self._loops.values()):
                told = True
                facts = {key: value for loop in self._loops.values() for key, value in (loop.ready or {}).items()}
                facts["pids"] = {name: loop.process.pid for name, loop in self._loops.items()}
                self._on_ready(facts)
        return 0

    def _follow_clock(self, store: Store) -> None:
        step = self._steps.look()
        if step:
            log.warning("the clock was set", seconds=round(step, 1))
        self._step += step
        if self._step:
            try:
                store.follow_clock(self._step)
                self._step = 0.0
            except TryAgain as error:
                log.warning("times do not follow the clock yet", reason=error.reason)

    def _tell_ready(self, store: Store) -> None:
        """Put on record which loops are ready: from this, and from `loop.ended`, others see what lives."""
        untold = [loop for loop in self._loops.values() if loop.ready is not None and not loop.told]
        if not untold or time.monotonic() < self._tell_at:
            return
        try:
            for loop in untold:
                if loop.start_at >= 0:  # else it has ended already, and that is told
                    store.note("loop.started", "node", f"loop/{loop.name}", {"ended_before": loop.deaths})
                loop.told = True
        except TryAgain as error:
            self._tell_at = time.monotonic() + _TELL_EVERY
            log.warning("not in the audit log yet", what="loop.started", reason=error.reason)

    def _again(self, store: Store, loop: _Loop, code: int) -> None:
        if loop.start_at < 0:  # already noted, waiting for its time
            if time.monotonic() >= -loop.start_at:
                self._loops[loop.name] = self._start(loop.name, loop.deaths)
            return
        pause = min(_LONGEST_PAUSE, 0.2 * 2.0 ** min(loop.deaths, 10))
        loop.deaths += 1
        loop.start_at = -(time.monotonic() + pause)
        reason = loop.cannot_start or (signal.Signals(-code).name if code < 0 else f"exit code {code}")
        log.error("a loop ended and is started again", ended=loop.name, reason=reason, seconds=pause)
        try:
            store.note("loop.ended", "node", f"loop/{loop.name}", {"reason": reason, "again_after": pause})
        except TryAgain as error:
            log.warning("not in the audit log", reason=error.reason)
        faults.point("node.loop-ended")

    def _start(self, name: str, deaths: int = 0) -> _Loop:
        command = [sys.executable, "-m", "node.app", name, str(self._config_path), str(os.getpid())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        loop = _Loop(name, process, deaths=deaths, start_at=time.monotonic())
        assert process.stdout is not None
        loop.reader = threading.Thread(target=_read_ready, args=(loop, process.stdout), daemon=True)
        loop.reader.start()
        return loop

    def _end_all(self, store: Store) -> bool:
        """End every loop: by itself within the grace, or else by force (False)."""
        grace = self._config.node.stop_grace
        deadline = time.monotonic() + grace + _AFTER
        for loop in self._loops.values():
            loop.process.terminate()
        if self._stop.is_set():  # told only now: a database that is away must not hold up the stop
            log.info("the node stops: nothing new begins, what runs may finish", seconds=grace)
            _note(store, "node.draining", {"seconds": grace})
        alive = list(self._loops.values())
        while alive and time.monotonic() < deadline and not self._at_once.wait(0.05):
            alive = [loop for loop in alive if loop.process.poll() is None]
        for loop in alive:
            reason = "a second signal" if self._at_once.is_set() else "it did not end in time"
            log.warning("a loop is ended by force", loop=loop.name, reason=reason)
            loop.process.kill()
        for loop in alive:
            loop.process.wait()
        return not alive


def _note(store: Store, type_: str, body: Mapping[str, Any]) -> None:
    try:
        store.note(type_, "node", "node", body)
    except TryAgain as error:
        log.warning("not in the audit log", what=type_, reason=error.reason)


def _read_ready(loop: _Loop, stream: IO[str]) -> None:
    for line in stream:
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            log.warning("unexpected output", loop=loop.name, line=line.strip()[:200])
            continue
        if said.get("ready"):
            loop.ready = {key: value for key, value in said.items() if key != "ready"}
        else:
            loop.cannot_start = str(said.get("reason"))


class _only_one:
    """A lock on the spool: two nodes on one spool would sweep each other's files."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def __enter__(self) -> None:
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            self._file = open(self._spool / "lock", "w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError("node.spool", f"{self._spool} is in use by another running node") from error
        except OSError as error:
            raise ConfigError("node.spool", f"{self._spool} cannot be used ({error.strerror})") from error

    def __exit__(self, *_: object) -> None:
        self._file.close()
