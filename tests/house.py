"""A store, a spool and what happens in them, for the tests of retention."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from node.commitment import Reference, Request
from node.config import Config
from node.inventory import Inventory
from node.purging import Purge
from node.queries import Queries
from node.sections import Keep
from node.spool import Spool
from node.store import Answer, Job, JobResult, NewOutput, OutputFile, Store
from tests.builders import bare
from tests.conftest import Arrivals, Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
RESULT = JobResult("s", "d", {"name": "m"}, {}, {})


class House:
    """A store, a spool and what happens in them; studies hold two instances of 1000 bytes, results one of 500."""

    def __init__(self, store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock) -> None:
        self.store, self.queries, self.spool, self.arrivals, self.clock = store, queries, spool, arrivals, clock
        self.inventory = Inventory(store.engine)

    def file(self, study: str, number: int, content: bytes | None = None) -> str:
        """A received file as old as files are that are purged, whatever the test's clock says."""
        path = self.spool.incoming / "x"
        path.write_bytes(content or bare(1000, number))
        relative = self.spool.put(path, study, f"{number:064x}")
        os.utime(self.spool.path(relative), (0, 0))
        return relative

    def receive(self, study: str, *numbers: int, **other: Any) -> list[str]:
        return [word for number in numbers
                for word in self.arrivals.add(number, study=study, path=self.file(study, number), **other)]  # fmt: skip

    def close(self, *pipelines: str) -> None:
        self.arrivals.close(self.queries, *pipelines)

    def job(self) -> Job:
        job = self.store.claim_job("w", 30)
        assert job is not None
        return job

    def done(self, job: Job) -> None:
        content = b"r" * 500
        digest = hashlib.sha256(content).hexdigest()
        path = self.spool.put_result([content], job.study_uid, f"{job.study_uid}.9", digest)
        os.utime(self.spool.path(path), (0, 0))
        made = NewOutput("report", f"{job.study_uid}.8", CT, (OutputFile(f"{job.study_uid}.9", path, digest, 500),))
        self.store.finish_job(job, [made], RESULT)

    def deliver(self) -> None:
        delivery = self.store.claim_delivery("s", "pacs", 30)
        assert delivery is not None
        self.store.finish_delivery(delivery, [Answer(one.sop_uid, True, 0) for one in delivery.files])

    def over(self, study: str = "1.2.3") -> None:
        """A study whose whole way is behind it."""
        self.receive(study, 1, 2)
        self.close()
        self.done(self.job())
        self.deliver()

    def promise(self, *uids: str, failed: tuple[str, ...] = (), transaction: str = "2.25.1", tell: bool = True) -> None:
        """A peer asks for storage commitment, and is told which of the instances we do not hold."""
        request = Request(transaction, tuple(Reference(CT, uid) for uid in (*uids, *failed)))
        assert self.store.add_commitment("modality", request, self.clock()) is not None
        if tell:
            claimed = self.store.claim_commitment("send", "modality", 30)
            assert claimed is not None
            self.store.finish_commitment(claimed, {Reference(CT, uid): 0x0112 for uid in failed})

    def purge(
        self, older_than: float | None = None, disk: Callable[[], tuple[int, int]] | None = None, **keep: Any
    ) -> Purge:
        config = Config(node={"min-free-disk": 0}, keep=Keep(**keep))
        return Purge(config, self.store, self.spool, "keep", older_than, disk or (lambda: (1000, 900)))

    def went(self, purge: Purge) -> list[tuple[str, str]]:
        """What goes; a dry run before says the same, and changes nothing."""
        planned = [(one.pile.kind, one.pile.study_uid, one.reason) for one in purge.plan() if one.goes]
        went = [(one.pile.kind, one.pile.study_uid, one.reason) for one in purge.run()]
        assert sorted(planned) == sorted(went)
        return [one[:2] for one in went]

    def kept(self, purge: Purge) -> dict[str, str]:
        return {one.pile.kind: one.reason for one in purge.plan() if not one.goes}

    def files(self) -> int:
        return sum(len(self.spool.files(folder)) for folder in self.spool.folders())

    def state(self, study: str = "1.2.3") -> str:
        shown = self.queries.study(study)
        assert shown is not None
        return str(shown["state"])
