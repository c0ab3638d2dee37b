"""Results that are due, with files, and the send loop in a thread: for tests of what destinations may do."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from node import schema, send
from node.config import Config
from node.queries import Queries
from node.sections import Node, Peer, Route, Send
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals
from tests.nodes import wait_until
from tests.senders import CT, instance, write

NODE = Node(acse_timeout=2, dimse_timeout=2, network_timeout=2, idle_pdu_timeout=2)


class Results:
    """A store and a spool with results of studies, to be sent to peers at these ports of 127.0.0.1."""

    def __init__(self, folder: Path, ports: Mapping[str, int], **settings: Any) -> None:
        """`settings`: of `[send]`."""
        url = f"sqlite:///{folder / 'overread.db'}"
        schema.upgrade(url)
        self.store, self.spool = Store(url), Spool(folder / "spool")
        self.queries = Queries(self.store.engine)
        self._arrivals = Arrivals(self.store)
        self._folder = folder
        settings = {"retry_after": 0.1, "longest_wait": 0.4, "attempts": 4} | settings
        self.config = Config(
            node=NODE, send=Send(**settings),
            peer=[Peer(name=name, ae_title="PACS", host="127.0.0.1", port=port) for name, port in ports.items()],
            route=[Route(name="r", pipelines=("p",), send_to=tuple(ports))],
        )  # fmt: skip

    def add(
        self, study: str, count: int = 1, peers: Sequence[str] = ("pacs",), urgent: bool = False, sop_class: str = CT,
        output: str = "report",
    ) -> list[str]:  # fmt: skip
        """One study with one output of `count` instances, due; their UIDs."""
        self._arrivals.add(1, study=study)
        self._arrivals.close(self.queries, peers=tuple(peers))
        job = self.store.claim_job("w", 30)
        assert job is not None
        made = [instance(number, f"{study}.{len(output)}", SOPClassUID=sop_class) for number in range(1, count + 1)]
        files = []
        for one in made:
            content = write(self._folder / "made", one).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            path = self.spool.put_result([content], study, one.SOPInstanceUID, digest)
            files.append(OutputFile(one.SOPInstanceUID, path, digest, len(content)))
        result = JobResult("1", "d", {}, {}, {}, urgent=urgent)
        self.store.finish_job(job, [NewOutput(output, f"{study}.9", sop_class, tuple(files))], result)
        return [one.sop_uid for one in files]

    def delivery(self, study: str, peer: str = "pacs") -> dict[str, Any]:
        """The delivery of that study's only output."""
        shown = self.queries.study(study)
        assert shown is not None
        return next(one for one in shown["jobs"][-1]["outputs"][0]["deliveries"] if one["peer"] == peer)

    def counts(self) -> dict[str, int]:
        """State -> deliveries."""
        return self.queries.counts()["deliveries"]

    def events(self, type_: str) -> list[Mapping[str, Any]]:
        """The bodies of all events of a type."""
        return [event.body for event in self.queries.events() if event.type == type_]

    def wait(self, seconds: float = 120, **counts: int) -> None:
        """Wait until the deliveries stand so."""
        try:
            wait_until(lambda: self.counts() == counts, seconds, f"deliveries {counts}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.counts()}") from error

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """The send loop runs."""
        stop = threading.Event()
        loop = threading.Thread(target=send.serve, args=(self.config, self.store, self.spool, stop, "s"))
        loop.start()
        try:
            yield
        finally:
            stop.set()
            loop.join(30)
            assert not loop.is_alive(), "the send loop did not stop"
