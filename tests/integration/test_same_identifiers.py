"""Identifiers that are not unique: two persons, two studies, two images under one, and senders that change in between."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import part10
from node.queries import Queries
from node.runners.base import files_of
from pipelines.study import NotAStudy, Study
from tests.fuzz import answers, conversations, pdus
from tests.fuzz.elements import encoded, text
from tests.fuzz.wire import Wire
from tests.peers import ROOT, Listening, listening
from tests.senders import CT, EXPLICIT, OFFER, Sender, encode, instance


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path) as running:
        yield running


def files(node: Listening, study: str) -> set[bytes]:
    """The datasets that a job on the study would be given."""
    queries = Queries(node.store.engine)
    (key,) = [row["id"] for row in node.rows(f"select id from studies where study_uid = '{study}'")]
    paths = [Path(path) for path in files_of(queries.stored_instances(key), node.spool)]
    return {path.read_bytes()[part10.read_head(path).offset :] for path in paths}


def test_two_persons_under_one_patient_id_in_two_studies_stay_apart_even_in_one_association(node):
    ada = [instance(n, study="1.2.3", PatientID="7", PatientName="Ada", PatientBirthDate="19700101") for n in range(3)]
    bea = [instance(n, study="1.2.4", PatientID="7", PatientName="Bea", PatientBirthDate="19850505") for n in range(3)]
    with Sender(node.port) as sender:
        for one, other in zip(ada, bea, strict=True):  # interleaved: the identity changes with each instance
            assert sender.send(one)[0] == sender.send(other)[0] == 0
    assert files(node, "1.2.3") == {encode(one) for one in ada}
    assert files(node, "1.2.4") == {encode(one) for one in bea}


@pytest.mark.parametrize(
    ("other", "mixes"),
    [({"PatientName": "Bea^Byron"}, True), ({"PatientBirthDate": "19850505"}, True), ({"PatientSex": "M"}, True),
     ({"PatientName": "ADA^LOVELACE^^^ "}, False), ({"PatientBirthDate": None, "PatientSex": None}, False),
     ({"PatientName": "Ada^Lovelace=山田"}, False)],
)  # fmt: skip
def test_two_persons_under_one_patient_id_and_one_study_uid_are_never_read_as_one(node, other, mixes):
    ada = {"PatientID": "7", "PatientName": "Ada^Lovelace", "PatientBirthDate": "19700101", "PatientSex": "F"}
    said = [ada, {key: value for key, value in {**ada, **other}.items() if value is not None}]
    with Sender(node.port) as sender:
        for number, one in enumerate(said, 1):
            made = instance(number, SpecificCharacterSet="ISO_IR 192", **one)
            assert sender.send(made)[0] == 0
    stored = [row["file"] for row in node.instances()]
    if mixes:
        with pytest.raises(NotAStudy, match="more than one patient") as caught:
            Study.from_files(stored)
        assert "Ada" not in str(caught.value) and "Bea" not in str(caught.value)
    else:
        assert len(Study.from_files(stored).instances) == 2


def test_another_patient_under_the_same_study_uid_is_told_apart_by_the_store(node):
    with Sender(node.port) as sender:
        assert sender.send(instance(1, PatientID="7"))[0] == 0
        assert sender.send(instance(2, PatientID="8"))[0] == 0
        assert sender.send(instance(3, PatientID="7 "))[0] == 0  # padding is no other person
    assert len({row["patient_digest"] for row in node.instances()}) == 2, "close runs nothing on it: see test_close"


def test_the_same_instance_uid_with_other_content_replaces_it_in_its_study_only(node):
    first, other = instance(1, PatientID="7"), instance(1, PatientID="8", pixels=100)
    elsewhere = instance(1, PatientID="8", StudyInstanceUID="1.2.4")
    elsewhere.SOPInstanceUID = first.SOPInstanceUID
    with Sender(node.port) as sender:
        for one in (first, elsewhere, other):
            assert sender.send(one)[0] == 0
    assert files(node, "1.2.3") == {encode(other)} and files(node, "1.2.4") == {encode(elsewhere)}
    kept = [node.spool.path(row["path"]) for row in node.rows("select path from instances order by id")]
    assert len(kept) == 3 and encode(first) in kept[0].read_bytes(), "what was acknowledged is kept, though it is replaced"
    (reopened,) = node.events("study.reopened")
    assert reopened["reason"] == "the same SOP Instance UID came with other bytes"


def test_the_same_bytes_in_another_transfer_syntax_are_not_the_same_instance(node):
    """They were answered with success and thrown away, while the row went on to name the wrong transfer syntax."""
    content, offer = encode(instance(1)), (CT, "1.2.840.10008.1.2.4.90")
    with Sender(node.port, [OFFER, offer]) as sender:
        assert sender.send(content, "1.2.3.9.1", offer)[0] == 0
        assert sender.send(content, "1.2.3.9.1")[0] == 0
        assert sender.send(content, "1.2.3.9.1")[0] == 0
    (row,) = node.instances()
    assert row["transfer_syntax"] == EXPLICIT == part10.read_head(row["file"]).transfer_syntax
    assert len(node.rows("select * from instances")) == 2


def test_a_path_as_uid_or_patient_id_is_a_value_like_another_or_refused(node, tmp_path):
    before = {path for path in tmp_path.rglob("*") if node.spool.root not in path.parents}
    plain = conversations.dataset(1)
    for number, (tag, path) in enumerate(((0x00100020, "../../../x"), (0x0020000D, "../../x"), (0x00080018, "/tmp/x"))):
        changed = [text(tag, one.vr.decode(), path) if one.tag == tag else one for one in plain]
        said = pdus.request(conversations.OFFERS) + b"".join(
            pdus.pdu(pdus.P_DATA, pdus.value(1, control, data)) for control, data in
            ((3, pdus.command(conversations._store_command(1, b"1.2.3.9.1"))), (2, encoded(changed)))) + pdus.pdu(5, bytes(4))  # fmt: skip
        wire = Wire()
        wire._port = node.port
        found = answers.read(wire._say(conversations.Input((said,), {"drip": False})))
        assert [one.status for one in found.commands] == [0 if number == 0 else 0xC000]
    (row,) = node.instances()
    assert row["digest"] in {hashlib.sha256(row["file"].read_bytes()[part10.read_head(row["file"]).offset :]).hexdigest()}
    after = {path for path in tmp_path.rglob("*") if node.spool.root not in path.parents}
    assert {path.name for path in after - before} <= {"overread.db-wal", "overread.db-shm"}


@pytest.mark.parametrize("module", ["node.receive", "node.close", "node.send", "node.work"])
def test_only_the_model_process_and_its_children_decode_pixels(module):
    """Decoders written in C may end the process: what calls them is not even loaded where others depend on it."""
    code = f"import sys, {module}; print([m for m in ('pipelines.pixels', 'pipelines.volume') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
