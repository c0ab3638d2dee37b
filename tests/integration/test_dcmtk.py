"""DCMTK's senders and our listener: what was acknowledged is on disk as it was sent."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import part10, peers
from node.sections import Peer
from tests.peers import (
    ENVIRONMENT,
    Listening,
    dcmtk,
    listening,
    listening_process,
    need,
    real_data,
    stand_in_pacs,
    storescp,
)
from tests.senders import instance, write


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path / "node") as running:
        yield running


def dataset(path: Path) -> bytes:
    return path.read_bytes()[part10.read_head(path).offset :]


def acknowledged(log: str) -> int:
    return len(
        re.findall(r"Received C-?STORE R(?:esponse|SP) \(Success\)|Received Store Response \(Success\)", log, re.I)
    )


def send_folder(folder: Path, port: int, *options: str, title: str = "OVERREAD") -> str:
    """dcmsend everything under `folder`; gives its log."""
    sent = dcmtk("dcmsend", "-v", "-nh", "-nuc", *options, "-aec", title, "+sd", "+r", "127.0.0.1", port, folder)
    return sent.stdout + sent.stderr


@pytest.mark.parametrize("case", ["o10-transfer-syntaxes", "o12-odd-files", "o14-other-modalities", "o06-ct-fruit-study-adit1001",
                                  "o11-odd-geometry"])  # fmt: skip
def test_whatever_dcmtk_sends_lies_in_the_spool_byte_for_byte(node, case, tmp_path):
    folder = real_data(case)
    # The same sender sends the same to a storescp that keeps the bits: so one knows what went over the wire.
    with storescp(tmp_path / "reference") as (port, _):
        send_folder(folder, port, "-dn", title="STORESCP")
    reference = {dataset(path) for path in (tmp_path / "reference").iterdir()}
    log = send_folder(folder, node.port, "-dn")
    rows = node.rows("select * from instances")
    kept = {dataset(node.spool.path(row["path"])) for row in rows}
    repeated = len(node.events("instance.repeated"))
    assert acknowledged(log) == len(rows) + repeated > 0
    # storescp overwrites files of the same SOP Instance UID, and refuses nothing: where it has bytes, so have we.
    refused = len(node.events("instance.refused"))
    assert len(reference - kept) <= refused
    assert dcmtk("echoscu", "-aec", "OVERREAD", "127.0.0.1", node.port).returncode == 0


def test_each_transfer_syntax_of_o10_is_accepted_as_it_is(node):
    folder = real_data("o10-transfer-syntaxes")
    files = sorted(folder.rglob("*.dcm"))
    log = send_folder(folder, node.port, "-dn")
    assert acknowledged(log) == len(files)
    wanted = {part10.read_head(path).transfer_syntax for path in files}
    got = {row["transfer_syntax"] for row in node.rows("select transfer_syntax from instances")}
    # DCMTK itself turns Big Endian and Implicit into the machine's own order.
    assert wanted - got <= {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2"}


OPTIONS = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.1": "-xe",
}


@pytest.mark.parametrize("syntax", OPTIONS)
def test_storescu_is_answered_in_the_syntax_that_it_prefers(node, tmp_path, syntax):
    path = write(tmp_path / "in", instance(pixels=50_000), syntax)
    sent = dcmtk("storescu", "-v", OPTIONS[syntax], "-aec", "OVERREAD", "127.0.0.1", node.port, path)
    assert sent.returncode == 0, sent.stderr
    (row,) = node.instances()
    assert row["transfer_syntax"] == syntax
    assert b"SECRET-ID-42" in dataset(row["file"]) or syntax.endswith(".99")


def test_the_same_study_twice_is_accepted_twice_and_kept_once(node, tmp_path):
    for number in range(5):
        write(tmp_path / "in", instance(number))
    logs = [send_folder(tmp_path / "in", node.port) for _ in range(2)]
    assert [acknowledged(log) for log in logs] == [5, 5]
    assert len(node.rows("select * from instances")) == 5
    assert node.rows("select revision from studies") == [{"revision": 1}]


def test_an_unknown_ae_title_is_rejected_and_the_node_says_how_to_admit_it(node):
    told = dcmtk("echoscu", "-aet", "NOBODY", "-aec", "OVERREAD", "127.0.0.1", node.port)
    assert told.returncode != 0 and "Calling AE Title Not Recognized" in told.stdout + told.stderr
    assert node.events("association.refused")[0]["calling_ae"] == "NOBODY"


def test_a_listener_that_is_killed_in_the_middle_has_everything_that_it_acknowledged(tmp_path):
    for number in range(150):
        write(tmp_path / "in", instance(number, pixels=200_000))
    need("storescu", "dcmtk")
    with listening_process(tmp_path / "node") as node:
        sender = subprocess.Popen(
            ["storescu", "-v", "-nh", "-aec", "OVERREAD", "+sd", "127.0.0.1", str(node.port), str(tmp_path / "in")],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while len(node.rows("select id from instances limit 40")) < 40:
            assert time.monotonic() < deadline and sender.poll() is None
            time.sleep(0.01)
        node.process.send_signal(signal.SIGKILL)
        log = sender.communicate(timeout=60)[0]
        node.process.wait(10)
    told = acknowledged(log)
    assert 30 < told < 150, "the kill fell into the transfer"
    with listening(tmp_path / "node") as again:
        rows = again.instances()
        # One may be committed whose answer the kill took away; none may be acknowledged and missing.
        assert told <= len(rows) <= told + 1
        for row in rows:
            number = int(row["sop_uid"].rpartition(".")[2])
            assert dataset(row["file"]) == dataset(write(tmp_path / "again", instance(number, pixels=200_000)))
        assert again.rows("select ended from associations") == [{"ended": "lost"}]
        assert acknowledged(send_folder(tmp_path / "in", again.port)) == 150
        assert len(again.rows("select * from instances")) == 150


def test_our_sender_and_dcmtks_receiver_agree_on_every_byte(node, tmp_path):
    files = [
        write(tmp_path / "in", instance(number, pixels=size))
        for number, size in enumerate((0, 2, 131_000, 131_072, 700_000))
    ]
    files += [write(tmp_path / "in", instance(90, pixels=1000), "1.2.840.10008.1.2.4.80")]
    with storescp(tmp_path / "out") as (port, _):
        peer = Peer(**{"name": "dcmtk", "ae-title": "STORESCP", "host": "127.0.0.1", "port": port})
        assert peers.echo(node.config, peer).ok
        answers = list(peers.store(node.config, peer, files))
    assert [(answer.status, answer.stored) for answer in answers] == [(0, True)] * len(files)
    assert {dataset(path) for path in (tmp_path / "out").iterdir()} == {dataset(path) for path in files}


def test_the_stand_in_pacs_takes_what_dcmtk_sends_and_replaces_what_comes_again(tmp_path):
    write(tmp_path / "in", instance(1))
    with stand_in_pacs(tmp_path / "pacs") as port:
        assert dcmtk("echoscu", "-aec", "PACS", "127.0.0.1", port).returncode == 0
        assert dcmtk("echoscu", "-aec", "OTHER", "127.0.0.1", port).returncode != 0
        assert acknowledged(send_folder(tmp_path / "in", port, title="PACS")) == 1
        changed = write(tmp_path / "in", instance(1, PatientID="X"))
        assert acknowledged(send_folder(tmp_path / "in", port, title="PACS")) == 1
    (kept,) = (tmp_path / "pacs").rglob("*.dcm")
    assert dataset(kept) == dataset(changed)
    assert not list((tmp_path / "pacs").glob(".*.tmp"))
