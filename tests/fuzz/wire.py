"""The listener over a real socket, as a process of its own: conversations, drips, and what it keeps of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from node import part10, schema
from node.queries import Queries, open_queries
from node.spool import Spool
from tests.fuzz import answers, conversations
from tests.fuzz.host import HANG, resident
from tests.fuzz.target import MARKER, Input, Violation, Word
from tests.peers import ROOT, free_port, node_config

_CHECK_EVERY = 500  # inputs between two looks at what was kept
_ESCAPES = ("fuzz-escape", "tmp/fuzz-escape")


class Wire:
    """A listener with its database and spool, and a sender that means harm."""

    name, says, share, growth, peak = "wire", "connections to the listener", 0.08, 48.0, 64.0
    patience = 1.0

    def open(self, folder: Path) -> None:
        """Start the listener."""
        self._house = folder / "house"
        self._house.mkdir()
        self._log = folder / "listener.log"
        limits = dict.fromkeys(
            ("acse_timeout", "dimse_timeout", "network_timeout", "idle_pdu_timeout"), 3 * self.patience
        )
        config = node_config(self._house, ("echo", "store", "commit"), {"commitment": "ask"}, port=free_port(),
                             refusals_per_minute=10_000, **limits)  # fmt: skip
        self._port, self._spool, self._database = config.node.port, config.node.spool, config.node.database
        schema.upgrade(self._database)
        section = {**config.model_dump(mode="json", by_alias=True)["node"], "may": ["echo", "store", "commit"],
                   "each": {"commitment": "ask"}}  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.peers", str(self._house), json.dumps(section)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise Violation(f"the listener did not start: {self._log.read_text(errors='replace')[-500:]}")
        self._queries: Queries = open_queries(self._database)
        self._acknowledged: set[str] = set()
        self._read_log = 0
        self._given = 0
        self._handles = 0

    def make(self, rng: random.Random) -> Input:
        """A conversation, and now and then one that drips."""
        made = conversations.conversation(rng)
        drip = rng.random() < 0.002
        return Input(made.parts, {**made.about, "drip": drip})

    def give(self, one: Input) -> Word:
        """Say it, hear the answers, and see that the next one is served."""
        found = answers.read(self._say(one))
        stored = one.about["stored"]
        assert isinstance(stored, dict)
        for message_id in found.good:
            if message_id in stored:
                self._acknowledged.add(stored[message_id])
        self._echo()
        self._look_at_log()
        self._given += 1
        if self._given % _CHECK_EVERY == 0:
            self._check_kept()
        return "taken" if found.good else "refused"

    def memory(self) -> float:
        """The listener's."""
        return resident(self._process.pid)

    def close(self) -> None:
        """Nothing that was acknowledged is lost, nothing lies outside the spool, and the listener ends when told."""
        try:
            self._check_kept()
            self._check_places()
            held = psutil.Process(self._process.pid)
            deadline = time.monotonic() + 10
            while held.num_threads() > 12 and time.monotonic() < deadline:
                time.sleep(0.1)
            if held.num_threads() > 12 or held.num_fds() > 100:
                raise Violation(f"{held.num_threads()} threads and {held.num_fds()} descriptors are left")
        finally:
            self._queries.dispose()
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()
            try:
                code = self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
            self._process.stdout.close()
        if code:
            raise Violation(f"the listener ended with {code} when it was told to stop")

    def _say(self, one: Input) -> bytes:
        heard = bytearray()
        with socket.create_connection(("127.0.0.1", self._port), timeout=HANG * self.patience) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):  # it may hang up before we are done, which is its right
                for at, part in enumerate(one.parts):
                    for piece in _dripping(part) if one.about["drip"] and at < 3 else (part,):
                        sock.sendall(piece)
                    _drain(sock, heard, HANG * self.patience)
                sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + HANG * self.patience
            with contextlib.suppress(ConnectionError):
                while True:
                    sock.settimeout(max(0.01, deadline - time.monotonic()))
                    more = sock.recv(65536)
                    if not more:
                        break
                    heard += more
        return bytes(heard)

    def _echo(self) -> None:
        """An association for C-ECHO by the plain words of the protocol: whoever comes next is served."""
        from tests.fuzz import pdus

        fields = [(2, conversations.ECHO + b"\0"), (0x100, b"\x30\0"), (0x110, b"\1\0"), (0x800, b"\1\1")]
        whole = pdus.request(conversations.OFFERS[3:4]) + b"".join(
            pdus.message(random.Random(0), 7, pdus.command(fields), None)) + pdus.pdu(pdus.RELEASE_RQ, bytes(4))  # fmt: skip
        try:
            found = answers.read(self._say(Input((whole,), {"drip": False})))
        except OSError as error:
            raise Violation(f"the next association is not served: {type(error).__name__}") from error
        if found.kinds != ["AC", "DATA", "RP"] or found.commands[0].status != 0:
            raise Violation(f"the next association is answered {found.kinds}")

    def _look_at_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read_log)
            lines = log.read().decode("utf-8", "replace")
            self._read_log = log.tell()
        if MARKER in lines:
            raise Violation("a patient's name stands in the log")
        if "association failed" in lines or "Traceback" in lines:
            raise Violation(f"the listener met what it did not expect: {lines[-400:]}")
        odd = {c for c in lines if not c.isprintable() and c != "\n"}
        if odd:
            raise Violation(f"the log holds control characters: {sorted(map(ord, odd))}")

    def _check_kept(self) -> None:
        """Each acknowledged dataset has a row and a file of its bytes. The hash of the file is taken once."""
        with self._queries.engine.connect().execution_options(reading=True) as connection:
            rows = connection.exec_driver_sql("select digest, path from instances").all()
        paths = {digest: path for digest, path in rows}
        spool = Spool(self._spool)
        for digest in self._acknowledged:
            if digest not in paths:
                raise Violation(f"an acknowledged instance has no row ({digest[:12]})")
            file = spool.path(paths[digest])
            content = file.read_bytes()[part10.read_head(file).offset :]
            if hashlib.sha256(content).hexdigest() != digest:
                raise Violation(f"the file of an acknowledged instance holds other bytes ({digest[:12]})")
        self._acknowledged.clear()

    def _check_places(self) -> None:
        strays = [path for path in self._house.rglob("*") if path.is_file() and self._spool not in path.parents
                  and not path.name.startswith("overread.db")]  # fmt: skip
        strays += [path for name in _ESCAPES for path in (Path("/") / name, self._house.parent / name) if path.exists()]
        if strays:
            raise Violation(f"files lie outside the spool: {strays[:3]}")


def _dripping(part: bytes) -> Iterator[bytes]:
    """The first bytes one by one, each after a while; then the rest."""
    for at in range(min(len(part), 12)):
        time.sleep(0.02)
        yield part[at : at + 1]
    yield part[12:]


def _drain(sock: socket.socket, heard: bytearray, seconds: float) -> None:
    """Take what has come, so that neither side waits for the other to read."""
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while more := sock.recv(65536):
            heard += more
    sock.settimeout(seconds)
