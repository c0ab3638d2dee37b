"""A study whose files are there, its result, and a PACS that stores all, for tests of what is sent and what is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node import peers, send
from node.config import Config
from node.part10 import read_head
from node.queries import Queries
from node.sections import Node, Peer, Send
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals
from tests.senders import instance, write

PACS = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
CONFIG = Config(node=Node(), send=Send(attempts=5, retry_after=0), peer=(PACS,))


class Source:
    """Files of one study that come in, and one done job whose result waits for a PACS that is down."""

    def __init__(self, arrivals: Arrivals, queries: Queries, spool: Spool, folder: Path) -> None:
        self.arrivals, self.queries, self.spool, self.folder = arrivals, queries, spool, folder
        self.sent = 0

    def comes(self, number: int, series: str = "1.2.3.9", **changes: Any) -> list[str]:
        """An instance with what `changes` say of it comes in."""
        self.sent += 1
        made = instance(number, pixels=20, SeriesInstanceUID=series, **changes)
        path = self.put(made, f"{self.sent:064x}")
        return self.arrivals.add(number, digest=f"{self.sent:064x}", path=path, series_uid=series,
                                 sop_uid=made.SOPInstanceUID)  # fmt: skip

    def put(self, made: Any, digest: str) -> str:
        """A file in the spool."""
        return self.spool.put(write(self.folder, made), "1.2.3", digest)

    def done(self, store: Store, uid: str = "1.9", **changes: Any) -> None:
        """The job that is due ends, with one object of `uid` for the patient of `instance`."""
        job = store.claim_job("w", 30)
        assert job is not None
        name = f"{1000 + job.revision:064x}"
        path = self.put(instance(90, SOPInstanceUID=f"{uid}.1", pixels=20, **changes), name)
        made = NewOutput("report", uid, "1.2", (OutputFile(f"{uid}.1", path, name, 1),))
        assert store.finish_job(job, [made], JobResult("1.2.3.9", "digest", {"name": "m"}, {}, {}))

    def deliveries(self) -> list[tuple[str, str | None]]:
        """State and reason of every delivery."""
        study = self.queries.study("1.2.3")
        assert study is not None
        return [(d["state"], d["reason"]) for job in study["jobs"] for o in job["outputs"] for d in o["deliveries"]]


def stores_all(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every peer stores all from now on; the SOP Instance UIDs that it got."""
    got: list[str] = []

    def store(_config: Config, _peer: Peer, files: Sequence[Path]) -> Iterator[peers.Answer]:
        for path in files:
            got.append(read_head(path).sop_uid)
            yield peers.Answer(path, got[-1], 0, "", stored=True, final=True)

    monkeypatch.setattr(peers, "store", store)
    return got


def send_all(store: Store, spool: Spool, config: Config = CONFIG) -> None:
    """The send loop's work, until nothing is due at the PACS."""
    while (delivery := store.claim_delivery("s", PACS.name, 30)) is not None:
        send.Sender(config, PACS, store, spool, threading.Event()).deliver(delivery)
