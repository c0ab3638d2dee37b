"""The keep loop and the sweep: alarms are one event each, and only what no row knows is deleted."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from node import keep as keeping
from node.config import Config
from node.inventory import Inventory
from node.keep import Keep
from node.purging import Purge
from node.queries import Queries
from node.retention import DAY
from node.sections import Keep as KeepSettings
from node.sections import Node, Work
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from node.sweeping import Verdict, strays, verify
from pipelines.outputs.profiles import Form
from tests.conftest import Arrivals, Clock
from tests.senders import instance, write

CONFIG = Config(node=Node(min_free_disk=0), work=Work(time_limit=600), keep=KeepSettings())


def _put(spool: Spool, study: str, number: int, age: float) -> str:
    path = spool.incoming / "x"
    path.write_bytes(bytes(1000))
    relative = spool.put(path, study, f"{number:064x}")
    _age(spool, relative, age)
    return relative


def _age(spool: Spool, relative: str, age: float) -> None:
    os.utime(spool.path(relative), (0, time.time() - age))


def _told(queries: Queries, type_: str) -> list[dict[str, object]]:
    return [dict(event.body) for event in queries.events("node") if event.type == type_]


def test_the_sweep_takes_old_files_without_a_row_and_no_others(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals
) -> None:
    known = _put(spool, "1.2.3", 1, 9999)
    arrivals.add(1, path=known)
    returned = _put(spool, "1.2.3", 5, 9999)
    arrivals.add(5, path=returned, ours=True)
    arrivals.add(1, path=_put(spool, "1.2.3", 6, 9999), digest="f" * 64)  # supersedes the first, which stays
    orphan, stranger = _put(spool, "1.2.3", 2, 3700), _put(spool, "9.9", 3, 3700)
    young = _put(spool, "1.2.3", 4, 3500)
    Keep(CONFIG, store, spool).sweep()
    assert not spool.path(orphan).exists() and not spool.path(stranger).exists()
    assert all(spool.path(path).exists() for path in (known, returned, young))
    assert _told(queries, "spool.swept") == [{"half_written": 0, "without_row": 2}]
    assert _told(queries, "spool.missing") == []


def test_a_result_is_swept_only_when_its_job_must_be_over(store: Store, spool: Spool) -> None:
    path = spool.put_result([b"r"], "1.2.3", "1.2.3.9", "d" * 64)
    _age(spool, path, 3600 + 590)
    Keep(CONFIG, store, spool).sweep()
    assert spool.path(path).exists(), "its job may run for another ten seconds"
    _age(spool, path, 3600 + 610)
    Keep(CONFIG, store, spool).sweep()
    assert not spool.path(path).exists()


def test_a_row_without_its_file_is_one_alarm(store: Store, queries: Queries, spool: Spool, arrivals: Arrivals) -> None:
    paths = [_put(spool, "1.2.3", number, 0) for number in (1, 2)]
    for number, path in enumerate(paths):
        arrivals.add(number, path=path)
    keep = Keep(CONFIG, store, spool)
    keep.sweep()
    spool.path(paths[0]).unlink()
    keep.sweep()
    keep.sweep()
    assert _told(queries, "spool.missing") == [{"files": 1, "first": [paths[0]]}]
    spool.path(paths[1]).unlink()
    keep.sweep()
    assert _told(queries, "spool.missing")[1:] == [{"files": 1, "first": [paths[1]]}]


def test_a_disk_that_stays_full_is_one_alarm_that_says_what_is_held(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock
) -> None:
    arrivals.add(1, path=_put(spool, "1.2.3", 1, 9999))
    arrivals.add(1, path=_put(spool, "4.5.6", 2, 9999), study="4.5.6")
    free = 0
    purge = Purge(CONFIG, store, spool, "keep", disk=lambda: (1000, free))
    keep = Keep(CONFIG, store, spool, purge)
    clock.tick(40 * DAY)
    arrivals.close(queries)
    keep.purge(threading.Event())
    keep.purge(threading.Event())
    [told] = _told(queries, "spool.full")
    assert told["held"] == {"it is being received": 1000, "a job is due or running": 1000} and told["wanted"] == 251
    free = 500
    keep.purge(threading.Event())
    free = 0
    keep.purge(threading.Event())
    assert len(_told(queries, "spool.full")) == 2, "it was well in between"


def test_the_loop_purges_by_itself_and_outlives_an_error(
    sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store, spool = Store(sqlite, clock), Spool(tmp_path / "spool")
    arrivals, queries = Arrivals(store), Queries(store.engine)
    path = _put(spool, "1.2.3", 1, 9999)
    arrivals.add(1, path=path)
    study = queries.open_studies()[0]
    store.close_study(study.id, study.last_received_at, "enough", [], {})
    clock.tick(40 * DAY)
    looks: list[int] = []
    run = Purge.run

    def breaks_once(self: Purge, *arguments: object) -> object:
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("a defect")
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Purge, "run", breaks_once)
    stop = threading.Event()
    config = CONFIG.model_copy(update={"keep": KeepSettings(every=0.05)})
    loop = threading.Thread(target=keeping.serve, args=(config, store, spool, stop))
    loop.start()
    deadline = time.monotonic() + 20
    while spool.path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    loop.join(10)
    assert not spool.path(path).exists() and not loop.is_alive()
    store.dispose()


def test_verify_finds_what_is_missing_changed_or_stray(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, tmp_path: Path
) -> None:
    import hashlib

    from node.part10 import read_head

    paths = []
    for number in range(4):
        file = write(tmp_path / "files", instance(number))
        content = file.read_bytes()
        digest = hashlib.sha256(content[read_head(file).offset :]).hexdigest()
        os.rename(file, spool.incoming / "x")
        paths.append(spool.put(spool.incoming / "x", "1.2.3", f"{number:064x}"))
        arrivals.add(number, path=paths[-1], digest=digest, size=len(content))
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    made = spool.put_result([b"result"], "1.2.3", "1.2.3.9", "d" * 64)
    results = (OutputFile("1.2.3.9", made, hashlib.sha256(b"result").hexdigest(), 6),)
    output = NewOutput("report", "1.2.3.8", "1.2", results, Form("report", "tid1500"))
    store.finish_job(job, [output], JobResult("s", "d", {}, {}, {}))
    inventory = Inventory(store.engine)
    assert list(verify(spool, inventory)) == [None] * 5
    spool.path(paths[0]).unlink()
    flipped = bytearray(spool.path(paths[1]).read_bytes())
    flipped[-1] ^= 1
    spool.path(paths[1]).write_bytes(flipped)
    spool.path(paths[2]).write_bytes(flipped[:-2])
    spool.path(paths[3]).write_bytes(bytes(len(flipped)))
    spool.path(made).write_bytes(b"resulT")
    stray = _put(spool, "1.2.3", 9, 0)
    found = {(one.word, one.path) for one in verify(spool, inventory) if isinstance(one, Verdict)}
    changed = {("changed", path) for path in (*paths[1:], made)}
    assert found == {("missing", paths[0]), ("stray", stray)} | changed
    assert list(strays(spool, inventory)) == [stray]
