"""audit: verification of 200,000 events of received instances, chain and signed heads, beside a plain read of the rows.

Processor time, so that other work on the machine does not count (by the clock where several processes look); the read is SQLAlchemy's of the same rows and columns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from node import audit, schema
from node.proof.heads import open_signer
from node.queries import Queries
from node.schema import events
from node.store import Store

EVENTS, ASSOCIATIONS, ROUNDS = 200_000, 40, 3
PROCESSES = os.cpu_count() or 1


def run() -> dict[str, Any]:
    """Seconds of processor time, and by the clock with all processors; medians of three rounds, and their ratio."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        url = f"sqlite:///{folder / 'overread.db'}"
        schema.upgrade(url)
        store = Store(url)
        signer = open_signer(folder / "key.pem", folder)
        each = EVENTS // ASSOCIATIONS
        for number in range(ASSOCIATIONS):
            with store.engine.begin() as connection:
                audit.append_all(connection, 1.8e9 + number, [_event(number, one) for one in range(each)])
            store.sign_head(signer.sign, 1000, 3600)
        queries = Queries(store.engine)
        heads = queries.heads()
        keys = {signer.fingerprint: signer.public}
        read = _seconds(lambda: _read(store.engine))
        chain = _seconds(lambda: _chain(store.engine))
        whole = _seconds(lambda: queries.prove({"file": heads}, keys))
        spread = _seconds(lambda: queries.prove({"file": heads}, keys, PROCESSES), time.perf_counter)
        assert queries.prove({"file": heads}, keys).broken is None
        assert queries.prove({"file": heads}, keys, PROCESSES).broken is None
        store.dispose()
    return {
        "events": EVENTS, "heads": len(heads), "plain read": round(read, 2), "chain": round(chain, 2),
        "chain, tree and heads": round(whole, 2), "against a plain read": round(whole / read, 2),
        "processes": PROCESSES, "with these, by the clock": round(spread, 2),
    }  # fmt: skip


def _event(number: int, one: int) -> tuple[str, str, str, dict[str, Any]]:
    body = {
        "sop_uid": f"1.2.840.113619.2.5.{number}.{one}", "series_uid": "1.2.840.113619.2.5.1762583153", "digest": "a" * 64,
        "sop_class": "1.2.840.10008.5.1.4.1.1.2", "transfer_syntax": "1.2.840.10008.1.2.1", "size": 525000,
        "peer": "modality", "association": number, "revision": 1,
    }  # fmt: skip
    return "instance.received", "receive", f"study/1.2.840.{number}", body


def _read(engine: sa.Engine) -> None:
    with engine.connect().execution_options(reading=True) as connection:
        query = sa.select(events).order_by(events.c.seq)
        count = sum(len(batch) for batch in connection.execute(query, execution_options={"yield_per": 4096}).partitions())
    assert count > EVENTS


def _chain(engine: sa.Engine) -> None:
    with engine.connect().execution_options(reading=True) as connection:
        assert sum(map(len, audit.walk(connection))) > EVENTS


def _seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    took = []
    for _ in range(ROUNDS):
        began = clock()
        work()
        took.append(clock() - began)
    return median(took)
