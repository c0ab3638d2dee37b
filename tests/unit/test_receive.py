"""C-STORE from the wire to the spool and the database, and the statuses when it does not get there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import dimse, part10
from node.errors import TryAgain
from node.store import Store
from tests.peers import ROOT, Listening, listening
from tests.senders import CT, EXPLICIT, OFFER, Sender, encode, instance

VERIFICATION = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path) as running:
        yield running


def dataset_on_disk(row: dict) -> bytes:
    return row["file"].read_bytes()[part10.read_head(row["file"]).offset :]


def half_files(node: Listening) -> list[Path]:
    """What lies in incoming, but for the blanks that wait for the next instance."""
    found = []
    for path in node.spool.incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it went while we looked
            if path.stat().st_size:
                found.append(path)
    return found


def settled_files(node: Listening) -> list[str]:
    """What lies in the spool under its last name."""
    return [file for folder in node.spool.folders() for file in node.spool.files(folder)]


def wait_until(condition, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_what_is_acknowledged_is_on_disk_byte_for_byte_and_on_record(node):
    made = instance()
    with Sender(node.port) as sender:
        assert sender.send(made) == (0, "")
        (row,) = node.instances()
    assert dataset_on_disk(row) == encode(made)
    assert row["digest"] == hashlib.sha256(encode(made)).hexdigest()
    assert (row["study_uid"], row["sop_uid"], row["sop_class"]) == ("1.2.3", "1.2.3.9.1", CT)
    assert (row["transfer_syntax"], row["modality"], row["peer"]) == (EXPLICIT, "CT", "sender")
    assert row["size"] == os.path.getsize(row["file"])
    assert part10.read_head(row["file"]).sop_uid == "1.2.3.9.1"
    assert len(node.events("instance.received")) == 1


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
                                    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.55", "1.2.3.4.5"])  # fmt: skip
def test_every_transfer_syntax_is_kept_as_it_came(node, syntax):
    made = instance()
    with Sender(node.port, [(CT, syntax)]) as sender:
        assert sender.send(made, offer=(CT, syntax))[0] == 0
    (row,) = node.instances()
    assert (dataset_on_disk(row), row["transfer_syntax"]) == (encode(made, syntax), syntax)


@pytest.mark.parametrize("piece", [1, 17, 4096, 131060])
def test_fragments_of_any_size_make_the_same_dataset(node, piece):
    made = instance(pixels=300_000 if piece > 1000 else 2000)
    with Sender(node.port) as sender:
        assert sender.send(made, piece=piece)[0] == 0
    assert dataset_on_disk(node.instances()[0]) == encode(made)


def test_command_and_dataset_may_share_one_pdu(node):
    content = encode(instance())
    with Sender(node.port) as sender:
        values = [(3, dimse.store_request(1, CT, "1.2.3.9.1")), (0, content[:100]), (2, content[100:])]
        body = b"".join((len(data) + 2).to_bytes(4, "big") + bytes((1, control)) + data for control, data in values)
        sender.connection.sendall(b"\x04\0" + len(body).to_bytes(4, "big") + body)
        sender._next_id()
        assert sender._answer()[0] == 0
    assert dataset_on_disk(node.instances()[0]) == content


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.999.1", "1.3.12.2.1107.5.9.1"],
                         ids=["label map segmentation", "not yet known", "private"])  # fmt: skip
def test_new_and_private_storage_classes_are_taken(node, sop_class):
    offer = (sop_class, EXPLICIT)
    with Sender(node.port, [offer]) as sender:
        assert sender.send(instance(SOPClassUID=sop_class), offer=offer)[0] == 0


def test_query_classes_are_not_taken(node):
    find = ("1.2.840.10008.5.1.4.1.2.2.1", EXPLICIT)
    inventory_find = ("1.2.840.10008.5.1.4.1.1.201.2", EXPLICIT)
    with Sender(node.port, [OFFER, find, inventory_find]) as sender:
        assert [sender.takes(offer) for offer in (OFFER, find, inventory_find)] == [True, False, False]


def test_the_same_bytes_again_are_a_success_without_a_second_row_also_from_another_sender(node):
    for title in ("SENDER", "SENDER", "STORESCU"):
        with Sender(node.port, ae_title=title) as sender:
            assert sender.send(instance())[0] == 0
    assert len(node.rows("select * from instances")) == 1
    assert len(node.events("instance.repeated")) == 2
    assert len(settled_files(node)) == 1
    assert dataset_on_disk(node.instances()[0]) == encode(instance())


def test_other_bytes_under_the_same_uid_count_from_now_on_and_the_old_ones_are_kept(node):
    with Sender(node.port) as sender:
        assert sender.send(instance())[0] == 0
        assert sender.send(instance(PatientID="OTHER"))[0] == 0
    (row,) = node.instances()
    assert dataset_on_disk(row) == encode(instance(PatientID="OTHER"))
    assert len(node.rows("select * from instances")) == len(settled_files(node)) == 2
    assert node.rows("select revision from studies") == [{"revision": 2}]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"SOPInstanceUID": "1.2.3.9.2"}, 0xA900),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"StudyInstanceUID": None}, 0xC000),
        ({"SeriesInstanceUID": None}, 0xC000),
        ({"SOPInstanceUID": None}, 0xC000),
        ({"StudyInstanceUID": "../../../../tmp/owned"}, 0xC000),
        ({"SeriesInstanceUID": "1.2/../.."}, 0xC000),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_identity_that_is_wrong_is_refused_with_its_status_and_leaves_nothing(node, changes, status):
    with Sender(node.port) as sender:
        got, comment = sender.send(instance(**changes), sop_uid="1.2.3.9.1")
        assert got == status and next(iter(changes)) in comment
        assert sender.send(instance(2))[0] == 0, "the association goes on"
    assert len(node.instances()) == len(settled_files(node)) == 1
    assert half_files(node) == []
    (event,) = node.events("instance.refused")
    assert f"0x{status:04X}" in event["reason"]


@pytest.mark.parametrize("sop_uid", ["../../etc/passwd", "1.2.3/4", "", "1." * 40])
def test_a_request_whose_uid_is_no_uid_is_not_understood(node, sop_uid):
    with Sender(node.port) as sender:
        sender.request(sop_uid)
        sender.fragment(encode(instance()), True)
        assert sender._answer()[0] == 0xC000
    assert node.instances() == []


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\xff" * 500, encode(instance())[:60]])
def test_a_dataset_that_is_none_is_not_understood(node, content):
    with Sender(node.port) as sender:
        assert sender.send(content, sop_uid="1.2.3.9.1")[0] == 0xC000
    assert settled_files(node) == half_files(node) == []


def test_a_store_on_the_verification_context_names_an_unsupported_class(node):
    with Sender(node.port, [OFFER, VERIFICATION]) as sender:
        assert sender.send(encode(instance()), offer=VERIFICATION)[0] == 0x0122


def test_a_class_that_is_not_the_contexts_does_not_match(node):
    with Sender(node.port) as sender:
        assert sender.send(instance(), sop_class="1.2.840.10008.5.1.4.1.1.4")[0] == 0xA900


def test_a_command_that_is_not_served_is_answered_as_unrecognised(node):
    find = dimse.echo_request(1).replace(b"\x30\x00", b"\x20\x00", 1)
    with Sender(node.port) as sender:
        sender._next_id()
        assert sender.command(find)[0] == 0x0211
        assert sender.send(instance())[0] == 0


def test_echo_is_answered(node):
    with Sender(node.port, [VERIFICATION]) as sender:
        assert sender.echo(VERIFICATION) == 0


def test_a_disk_that_is_nearly_full_is_out_of_resources(tmp_path):
    with listening(tmp_path, min_free_disk=1 << 60) as node, Sender(node.port) as sender:
        status, comment = sender.send(instance())
        assert status == 0xA700 and "disk" in comment
        assert settled_files(node) == half_files(node) == []


def test_a_spool_that_cannot_be_written_is_out_of_resources_until_it_can(node):
    node.spool.incoming.rmdir()
    with Sender(node.port) as sender:
        assert sender.send(instance())[0] == 0xA700
        node.spool.incoming.mkdir()
        assert sender.send(instance())[0] == 0


def test_a_database_that_is_away_is_out_of_resources_and_a_resend_succeeds(tmp_path, monkeypatch):
    away = True
    add = Store.add_instances

    def sometimes(self, received):
        if away:
            raise TryAgain("the database does not take the write")
        return add(self, received)

    monkeypatch.setattr(Store, "add_instances", sometimes)
    with listening(tmp_path) as node, Sender(node.port) as sender:
        assert sender.send(instance())[0] == 0xA700
        assert node.instances() == []
        away = False
        assert sender.send(instance())[0] == 0
        assert len(node.instances()) == 1


def test_no_patient_stands_in_any_row_or_path(node, capfd):
    with Sender(node.port) as sender:
        sender.send(instance())
        sender.send(instance(2, StudyInstanceUID=None))
    told = str(node.rows("select * from events")) + str(node.instances()) + str(list(node.spool.root.rglob("*")))
    told += "".join(capfd.readouterr())
    assert "SECRET-ID-42" not in told and "Secret" not in told
    assert len(node.instances()[0]["patient_digest"]) == 32


def test_how_an_association_ended_is_on_record(node):
    with Sender(node.port) as sender:
        sender.send(instance())
    with pytest.raises(KeyboardInterrupt), Sender(node.port):
        raise KeyboardInterrupt  # the sender aborts
    lost = Sender(node.port)
    lost.connection.close()
    assert wait_until(lambda: len(node.rows("select * from associations where ended is not null")) == 3)
    assert [row["ended"] for row in node.rows("select ended from associations order by id")] == [
        "released",
        "aborted",
        "lost",
    ]


def test_a_connection_lost_inside_an_instance_leaves_no_half_file(node):
    sender = Sender(node.port)
    sender.request("1.2.3.9.1")
    sender.fragment(encode(instance())[:200], last=False)
    assert wait_until(lambda: len(half_files(node)) == 1)
    sender.connection.close()
    assert wait_until(lambda: half_files(node) == [])
    assert node.instances() == []


@pytest.mark.parametrize(
    "broken",
    [
        b"\x04\0\0\0\0\x06\0\0\0\x02\x63\x03",  # a context that was not accepted
        b"\x04\0\0\0\0\x06\0\0\0\x02\x01\x02",  # a dataset without a command
        b"\x04\0\0\0\0\x06\0\0\xff\xff\x01\x03",  # a value that does not fit its PDU
        b"\x04\0\0\0\0\x08\0\0\0\x04\x01\x03ab",  # a command set that is none
        b"\x01\0\0\0\0\x04abcd",  # an association request inside an association
        b"\x09\0\0\0\0\x01x",  # no such PDU
        b"\x04\0\xff\xff\xff\xff",  # four gigabytes
    ],
)
def test_a_broken_pdu_aborts_this_association_and_no_other(node, broken):
    with Sender(node.port) as good:
        bad = Sender(node.port)
        bad.connection.sendall(broken)
        with pytest.raises(TryAgain, match="abort"):
            bad._read(5)
        bad.connection.close()
        assert good.send(instance())[0] == 0


def test_a_running_instance_is_finished_when_the_node_stops(tmp_path):
    answers = []
    with listening(tmp_path) as node:
        sender = Sender(node.port)
        sender.request("1.2.3.9.1")
        sender.fragment(encode(instance())[:100], last=False)

        def finish() -> None:
            time.sleep(0.7)
            sender.fragment(encode(instance())[100:], last=True)
            answers.append(sender._answer()[0])
            sender.__exit__(None, None, None)

        thread = threading.Thread(target=finish)
        thread.start()
        assert wait_until(lambda: len(half_files(node)) == 1)
    thread.join(10)
    assert answers == [0]


def test_a_stopped_listener_takes_no_connections_and_leaves_no_blanks(tmp_path):
    with listening(tmp_path) as node, Sender(node.port) as sender:
        sender.send(instance())
    assert list(node.spool.incoming.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.port), timeout=2)


def test_a_listener_that_starts_calls_the_former_ones_associations_lost(tmp_path):
    with listening(tmp_path) as node:
        node.store.open_association("SENDER", "OVERREAD", "127.0.0.1")
    with listening(tmp_path) as node:
        assert node.rows("select ended from associations") == [{"ended": "lost"}]


def test_regression_a_listener_that_starts_sweeps_what_a_former_one_left_half_written(tmp_path):
    """Each death of the listener left up to 16 blanks and whatever was coming in until the whole node started again."""
    incoming = tmp_path / "spool" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "0123.tmp").write_bytes(b"half an instance")
    (incoming / "4567.dcm.17.part").write_bytes(b"half a result, of the model process")
    with listening(tmp_path) as node:
        assert [path.name for path in incoming.iterdir()] == ["4567.dcm.17.part"]
        assert node.events("spool.swept") == [{"half_written": 1, "without_row": 0}]


def test_the_listener_never_imports_torch_or_highdicom():
    code = "import sys, node.receive; print([m for m in ('torch', 'monai', 'highdicom') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
