"""When a study is complete, on real exchanges: senders of all habits, and archives that count (pynetdicom, Orthanc)."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node import close
from node.counting import Counting
from node.queries import Queries
from node.routes import Routes
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from tests import certificates
from tests.finders import archive
from tests.nodes import wait_until
from tests.peers import Listening, listening, orthanc
from tests.senders import Sender, instance, write

KNOWN = {"node": ("OVERREAD", 104)}  # Orthanc aborts the queries of whom it does not know
SLOW = 1.2  # seconds between two associations: longer than the quiet time of these tests


@contextlib.contextmanager
def node_of(
    folder: Path, pacs_port: int, count: bool = True, pacs: dict[str, Any] | None = None, **node: Any
) -> Iterator[Listening]:
    """Our listener and closing loop; the senders' studies are counted at `pacs`."""
    others = {
        "peer": [{"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": pacs_port, **(pacs or {})}],
        "route": [{"name": "ct", "match": {"Modality": "CT"}, "pipelines": ["ct-lung"], "send-to": ["pacs"]}],
    }
    each = {"count-from": "pacs"} if count else {}
    settings = {"quiet_time": 0.6, "longest_wait": 60, **node}
    with listening(folder, others=others, each=each, **settings) as running, closing(running):
        yield running


@contextlib.contextmanager
def closing(node: Listening) -> Iterator[None]:
    """The closing loop beside a listener, in a thread."""
    stop, store = threading.Event(), Store(node.config.node.database)
    loop = threading.Thread(target=close.serve, args=(
        store, Queries(store.engine), Spool(node.config.node.spool), Routes(node.config, ["ct-lung"]),
        Counting(node.config), stop,
    ))  # fmt: skip
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join(30)
        store.dispose()


def push(
    node: Listening, numbers: Sequence[int], study: str = "1.2.3", ae_title: str = "SENDER", **changes: Any
) -> None:
    """One association."""
    with Sender(node.port, ae_title=ae_title) as sender:
        for number in numbers:
            assert sender.send(instance(number, study, **changes))[0] == 0


def closed(node: Listening, count: int, study: str = "1.2.3") -> list[tuple[int, str]]:
    """(revision, reason) of every closing of a study, once there are so many."""

    def found() -> list[tuple[int, str]]:
        events = Queries(node.store.engine).events(f"study/{study}")
        return [(one.body["revision"], one.body["reason"]) for one in events if one.type == "study.closed"]

    wait_until(lambda: len(found()) >= count, 60, f"{count} closings")
    return found()


def jobs(node: Listening) -> list[tuple[str, int]]:
    query = (
        "select study_uid, jobs.revision as revision from jobs join studies on studies.id = study_id order by jobs.id"
    )
    return [(row["study_uid"], row["revision"]) for row in node.rows(query)]


def held(numbers: Sequence[int], study: str = "1.2.3") -> dict[str, dict[str, list[str]]]:
    return {study: {f"{study}.9": [f"{study}.9.{number}" for number in numbers]}}


@pytest.mark.parametrize("counted", [True, False])
def test_a_study_that_comes_slowly_over_many_associations_is_one_revision_where_it_is_counted(
    tmp_path: Path, counted: bool
) -> None:
    with archive(holds=held(range(6))) as pacs, node_of(tmp_path, pacs.port, counted) as node:
        for first in (0, 2, 4):
            push(node, range(first, first + 2))
            time.sleep(SLOW if first < 4 else 0)
        if counted:
            assert closed(node, 1) == [(1, "all 6 instances are here that pacs counts")]
            time.sleep(SLOW)
            assert jobs(node) == [("1.2.3", 1)]
            assert len(pacs.asked) < 15
        else:
            wait_until(lambda: len(jobs(node)) > 1, 60, "a revision for each pause")


def test_orthanc_counts_a_study_for_a_modality_that_sends_slowly(tmp_path: Path) -> None:
    with orthanc(tmp_path / "pacs", KNOWN) as pacs:
        for number in range(5):
            pacs.ask("POST", "/instances", write(tmp_path / "in", instance(number)).read_bytes())
        with node_of(tmp_path / "node", pacs.dicom_port) as node:
            for number in range(5):
                push(node, [number])
                time.sleep(SLOW if number < 4 else 0)
            assert closed(node, 1) == [(1, "all 5 instances are here that pacs counts")]
            assert jobs(node) == [("1.2.3", 1)]


def test_a_count_that_is_never_reached_waits_for_the_longest_wait_and_says_so(tmp_path: Path) -> None:
    with archive(holds=held(range(64))) as pacs, node_of(tmp_path, pacs.port, longest_wait=4) as node:
        push(node, range(3))
        assert closed(node, 1) == [
            (1, "longest wait of 4 s is over (0 associations still open; holds 3 of 64 that pacs counts)")
        ]


def test_interleaved_studies_in_one_association_close_each_by_its_own_count(tmp_path: Path) -> None:
    holds = held(range(4), "1.2.3") | held(range(4), "5.6.7") | held(range(6), "8.9")
    with archive(holds=holds) as pacs, node_of(tmp_path, pacs.port, longest_wait=15) as node:
        with Sender(node.port) as sender:
            for number in range(4):
                for study in ("1.2.3", "5.6.7", "8.9"):
                    assert sender.send(instance(number, study))[0] == 0
        for study in ("1.2.3", "5.6.7"):
            assert closed(node, 1, study) == [(1, "all 4 instances are here that pacs counts")]
        assert node.rows("select state from studies where study_uid = '8.9'") == [{"state": "receiving"}]
        push(node, [4, 5], "8.9")
        assert closed(node, 1, "8.9") == [(1, "all 6 instances are here that pacs counts")]
        assert sorted(jobs(node)) == [("1.2.3", 1), ("5.6.7", 1), ("8.9", 1)]


def test_duplicates_change_nothing_and_a_late_series_is_one_more_revision_that_leaves_our_results_out_of_the_count(
    tmp_path: Path,
) -> None:
    with archive(holds=held(range(3))) as pacs, node_of(tmp_path, pacs.port) as node:
        push(node, range(3))
        closed(node, 1)
        job = node.store.claim_job("w", 60)
        assert job is not None
        made = NewOutput("report", "2.25.9", "1.2", (OutputFile("2.25.9.1", "results/a", "d", 1),))
        assert node.store.finish_job(job, [made], JobResult("1.2.3.9", "d", {}, {}, {}))
        push(node, range(3))
        time.sleep(SLOW)
        assert jobs(node) == [("1.2.3", 1)] and len(closed(node, 1)) == 1
        pacs.holds["1.2.3"] |= {"2.25.9": ["2.25.9.1"], "1.2.3.10": ["1.2.3.9.10", "1.2.3.9.11"]}
        push(node, [10], SeriesInstanceUID="1.2.3.10")
        time.sleep(SLOW)
        push(node, [11], SeriesInstanceUID="1.2.3.10")
        assert closed(node, 2)[1:] == [(2, "all 5 instances are here that pacs counts")]
        assert jobs(node) == [("1.2.3", 1), ("1.2.3", 2)]


def test_the_same_study_from_two_senders_at_once_is_one_revision(tmp_path: Path) -> None:
    with archive(holds=held(range(20))) as pacs, node_of(tmp_path, pacs.port) as node:
        sending = [
            threading.Thread(target=push, args=(node, order), kwargs={"ae_title": title})
            for title, order in (("SENDER", range(20)), ("STORESCU", range(19, -1, -1)))
        ]
        for thread in sending:
            thread.start()
        for thread in sending:
            thread.join(60)
        assert closed(node, 1) == [(1, "all 20 instances are here that pacs counts")]
        time.sleep(SLOW)
        assert jobs(node) == [("1.2.3", 1)] and len(node.instances()) == 20
        assert {row["peer"] for row in node.instances()} == {"sender", "storescu"}


def test_an_archive_that_hangs_holds_up_neither_other_studies_nor_for_ever_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(close, "PATIENCE", 3.0)
    stuck = threading.Event()
    with archive(holds=held(range(3)), stuck=stuck) as pacs, node_of(tmp_path, pacs.port) as node:
        push(node, range(3))
        wait_until(lambda: pacs.asked, 30, "asked")
        began = time.monotonic()
        push(node, [1], "5.6.7", "ECHOSCU")
        reasons = [closed(node, 1, study)[0][1] for study in ("5.6.7", "1.2.3")]
        assert time.monotonic() - began < 25
        assert all(
            reason.startswith("association released, then quiet for 0.6 s (pacs does not say") for reason in reasons
        )


def test_the_count_is_asked_for_over_tls_where_the_peer_has_it(tmp_path: Path) -> None:
    signed = certificates.sign(tmp_path / "certificates")
    files = signed.of("node")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    context.load_verify_locations(files["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    with (
        archive(context, holds=held(range(2))) as pacs,
        node_of(tmp_path / "node", pacs.port, pacs={"tls": True}, **files) as node,
    ):
        push(node, range(2))
        assert closed(node, 1) == [(1, "all 2 instances are here that pacs counts")]
