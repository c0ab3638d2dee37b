"""What must hold after every kill: each function gives a line for each thing that does not."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from node.errors import TryAgain
from node.inventory import Inventory
from node.part10 import read_head
from node.schema import commitments, instances
from node.spool import Spool
from node.sweeping import verify
from tests.crash.house import House
from tests.crash.modality import Sending

OVER = ("done", "skipped", "failed")


def settle(house: House, sendings: Sequence[Sending], seconds: float = 600) -> list[str]:
    """Wait until all is sent, run, delivered and committed; what is not after `seconds`."""
    deadline = time.monotonic() + seconds
    for sending in sendings:
        assert sending.thread is not None
        sending.thread.join(max(0.1, deadline - time.monotonic()))
    waits = [f"study {one.uid} is still being sent" for one in sendings if one.thread and one.thread.is_alive()]
    while True:
        try:
            open_ones = [word for one in sendings for word in _open(house, one)]
        except (TryAgain, exc.SQLAlchemyError) as error:
            open_ones = [f"the database does not answer ({type(error).__name__})"]
        if not open_ones or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    house.pacs.wait()
    return waits + open_ones + [word for one in sendings for word in one.wrong]


def _open(house: House, sending: Sending) -> Iterator[str]:
    study = house.node.study(sending.uid)
    if study is None or study["state"] != "ready":
        yield f"study {sending.uid} is {'unknown' if study is None else study['state']}"
        return
    for job in study["jobs"]:
        if job["state"] not in OVER:
            yield f"job {job['id']} of study {sending.uid} is {job['state']} ({job['reason']})"
        for sent in (one for output in job["outputs"] for one in output["deliveries"]):
            if sent["state"] not in ("committed", "failed"):
                yield f"delivery {sent['id']} of study {sending.uid} is {sent['state']} ({sent['reason']})"
    if sending.way.startswith("commit") and sending.complete:
        with house.node.queries.engine.connect().execution_options(reading=True) as connection:
            waiting = connection.execute(sa.select(commitments.c.state).where(commitments.c.state != "reported")).all()
        if waiting:
            yield f"{len(waiting)} commitment requests of the modality are not reported"


def violations(house: House, sendings: Sequence[Sending]) -> list[str]:
    """All that does not hold of these studies, and of the house; call it when they are settled."""
    found = [word for one in sendings for check in (_received, _ended) for word in check(house, one)]
    extra = set(house.pacs.came) - house.expected
    found += [f"the PACS holds {uid}, which no job that is done made" for uid in sorted(extra)]
    held, broken = house.node.queries.verify()
    return found + ([f"the audit chain breaks after {held} events: {broken}"] if broken is not None else [])


def _received(house: House, sending: Sending) -> Iterator[str]:
    """Every instance whose sender saw 0x0000 is a row, and a file with the same bytes; none has two rows."""
    with house.node.queries.engine.connect().execution_options(reading=True) as connection:
        rows = connection.execute(sa.select(instances).where(instances.c.study_uid == sending.uid)).all()
    if len(rows) != len({row.sop_uid for row in rows}):
        yield f"study {sending.uid}: an instance has two rows"
    by_uid = {row.sop_uid: row for row in rows}
    spool = Spool(house.node.config.node.spool)
    for uid, sent in sending.acknowledged.items():
        row = by_uid.get(uid)
        if row is None:
            yield f"instance {uid} was acknowledged and has no row"
        elif not spool.path(row.path).is_file():
            yield f"instance {uid} was acknowledged and its file {row.path} is missing"
        elif _dataset(spool.path(row.path)) != _dataset(sent):
            yield f"instance {uid} was acknowledged and its file {row.path} has other bytes"
    told = [
        str(e.body.get("sop_uid"))
        for e in house.node.queries.events(f"study/{sending.uid}")
        if e.type == "instance.received"
    ]
    if sorted(told) != sorted(by_uid):
        yield f"study {sending.uid}: {len(told)} events instance.received for {len(by_uid)} rows"


def _ended(house: House, sending: Sending) -> Iterator[str]:
    """The newest revision is done, every job is over with a reason, the PACS has all of every result, and no more."""
    study = house.node.study(sending.uid)
    assert study is not None
    newest = [job for job in study["jobs"] if job["revision"] == study["revision"]]
    if len(newest) != 1 or newest[0]["state"] != "done":
        yield f"study {sending.uid}: revision {study['revision']} ended {[job['state'] for job in newest]}"
    for job in study["jobs"]:
        if job["state"] in ("skipped", "failed") and not job["reason"]:
            yield f"job {job['id']} is {job['state']} without a reason"
        for output in job["outputs"]:
            if [sent["state"] for sent in output["deliveries"]] != ["committed"]:
                yield f"output {output['name']} of job {job['id']}: {[s['state'] for s in output['deliveries']]}"
            for file in output["files"]:
                yield from _result(house, file)


def _result(house: House, file: dict[str, Any]) -> Iterator[str]:
    """One object of a result: on the disk once, at the PACS as it is on the disk, however often it came."""
    house.expected.add(file["sop_uid"])
    path = Spool(house.node.config.node.spool).path(file["path"])
    if not path.is_file():
        yield f"result {file['sop_uid']} is not on the disk"
        return
    named = sorted(path.parent.glob(f"{path.name.partition('-')[0]}-*.dcm"))
    if named != [path]:
        yield f"result {file['sop_uid']}: a rerun wrote other bytes ({[one.name for one in named]})"
    came = house.pacs.came.get(file["sop_uid"], [])
    if not came:
        yield f"result {file['sop_uid']} is not at the PACS"
    elif set(came) != {hashlib.sha256(_dataset(path)).hexdigest()}:
        yield f"result {file['sop_uid']} came to the PACS with other bytes than are on the disk"


def after_a_restart(house: House) -> list[str]:
    """Kill the supervisor, make all files look old, start the node: nothing is left that no row names."""
    house.node.end()
    house.kills["node"] += 1
    spool = Spool(house.node.config.node.spool)
    long_ago = time.time() - 3600
    for folder in spool.folders():
        for relative in spool.files(folder):
            os.utime(spool.path(relative), (long_ago, long_ago))
    house.start()
    found = [f"incoming/{one.name} is left" for one in spool.incoming.iterdir()]
    wrong = [one for one in verify(spool, Inventory(house.node.queries.engine)) if one is not None]
    return found + [f"{one.path} is {one.word}" for one in wrong]


def _dataset(path: Path) -> bytes:
    return path.read_bytes()[read_head(path).offset :]
