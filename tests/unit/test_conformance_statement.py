"""docs/conformance.md says what the code does on the network: each table is held against the code that it describes.
Its annexes are held by test_conformance_annexes.py."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, UID_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import PresentationContext

import node
from node import commitment, confirm, dimse, implementation, pdu_guard, peers
from node.peers import commitment as asking
from node.peers import proposal, requestor, statuses
from node.receive import commitment as door_commitment
from node.receive import listener, negotiation, promises
from node.receive.negotiation import Request
from node.sections import Node, Peer, Send, kebab
from pipelines import ct_lung, pixels, registry
from pipelines.outputs.encode import Encoder
from tests import statement

STATEMENT = statement.read()
TABLES = STATEMENT.tables
CT = "1.2.840.10008.5.1.4.1.1.2"
# PS3.2 2025a, Annex N, down to the sections that every statement has
OUTLINE = """1 Overview/1.1 Content and transfer/1.1.1 Structured reporting root template IDs/1.2 DIMSE services
1.3 DICOM web services/1.4 Media services/1.5 Real-time video services/1.6 De-identification profiles
1.7 Specific Character Sets/2 Table of contents/3 Introduction/3.1 Revision history/3.2 Audience/3.3 Remarks
3.4 Terms and definitions/3.5 Abbreviations/3.6 References/4 Implementation model
4.1 Application entities and data flow/4.1.1 Functional definition of OVERREAD
5 Service and interoperability description/5.1 Mapping of services to application entities/5.2 DIMSE services
5.2.1 Basic Worklist Management service/5.2.2 Modality Performed Procedure Step service
5.2.3 Unified Worklist and Procedure Step service/5.2.4 Instance Availability Notification service
5.2.5 Storage service/5.2.5.1 SCU of the Storage SOP classes/5.2.5.2 SCP of the Storage SOP classes
5.2.6 Storage Commitment service/5.2.6.1 SCU of the Storage Commitment SOP class
5.2.6.2 SCP of the Storage Commitment SOP class/5.2.7 Query/Retrieve service/5.2.8 Print Management service
5.3 DICOM web services/5.4 Media services/5.5 Real-time video services/5.6 Cross-service considerations
5.7 Specific Character Sets/6 Configuration/6.1 General configuration parameters/6.2 Configuration of DIMSE services
6.3 Configuration of DICOM web services/6.4 Configuration of media services
6.5 Configuration of real-time video services/6.6 Configuration of audit trail
7 Network and media communication details/7.1 General/7.1.1 General association parameters/7.2 Specifications
7.2.1 OVERREAD application entity/7.2.1.1 Sequencing of real-world activities/7.2.1.2 Association parameters
7.2.1.3 Association initiation policy/7.2.1.4 Association acceptance policy/7.3 Status codes
7.3.1 General AE communication and failure behaviour
7.3.1.1 Communication failure behaviour as association initiator
7.3.1.2 Communication failure handling as association acceptor/7.3.2 DIMSE services/7.3.2.5 Storage service
7.3.2.6 Storage Commitment service/7.3.3 DICOM web services/8 Security/8.1 Introduction
8.2 External network requirements/8.3 TCP port configuration/8.4 DICOM security profiles support
8.5 User identity negotiation support/8.6 Web services security features/8.7 Other security features
Annex A.A Information Object Definitions/Annex A.B Structured report content encoding/Annex A.C Security details
Annex A.D Mapping of attributes/Annex A.E Code set usage"""


def outline() -> list[str]:
    return [one for one in re.split(r"\n|/(?=[0-9A])", OUTLINE) if one]


def request(sop_class: str, syntaxes: list[str], **roles: tuple[bool, bool]) -> Request:
    context = PresentationContext()
    context.context_id, context.abstract_syntax = 1, UID(sop_class)
    context.transfer_syntax = [UID(one) for one in syntaxes]
    return Request("A", "B", negotiation.APPLICATION_CONTEXT, (context,), 0, roles={commitment.PUSH_MODEL: roles["role"]}
                   if roles else {})  # fmt: skip


def accepted(sop_class: str, *may: str, syntaxes: list[str] | None = None, **roles: tuple[bool, bool]) -> str | None:
    """The transfer syntax in which a context is accepted; None when it is not."""
    syntaxes = syntaxes or [str(ExplicitVRLittleEndian)]
    _, contexts = negotiation.accept(request(sop_class, syntaxes, **roles), may, 4096)
    return contexts[1].transfer_syntax if contexts else None


def test_its_headings_are_those_of_the_template_in_order() -> None:
    wanted = outline()
    assert [one for one in STATEMENT.headings if one in set(wanted)] == wanted
    numbers = [[int(part) for part in one.split()[0].split(".")] for one in STATEMENT.headings if one[0].isdigit()]
    assert numbers == sorted(numbers)


def test_it_is_about_this_version() -> None:
    assert f"\nOverread {node.__version__}, " in STATEMENT.text


def test_links_into_it_lead_to_a_heading() -> None:
    pages = [statement.ROOT / "README.md", *(statement.ROOT / "docs").glob("*.md")]
    outer = [
        one for page in pages for one in re.findall(r"conformance\.md#([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    inner = re.findall(r"\]\(#([^)]+)\)", STATEMENT.text)
    assert outer and inner and {*outer, *inner} <= STATEMENT.anchors


def test_storage_classes_are_those_that_the_listener_takes() -> None:
    assert set(STATEMENT.column("5-2", "UID")) == negotiation._STORAGE
    rules = {row["UIDs"].removesuffix("*"): row["accepted"] == "yes" for row in TABLES["5-1"]}
    others = [f"{root}999" for root in rules] + ["1.2.3", "2.25.77"]
    classes = [uid for uid, entry in UID_dictionary.items() if "SOP Class" in entry[1]]
    for uid in {*classes, *others, *STATEMENT.column("5-2", "UID")} - {negotiation.VERIFICATION, commitment.PUSH_MODEL}:
        longest = max((root for root in rules if uid.startswith(root)), key=len)
        told = uid in STATEMENT.column("5-2", "UID") or rules[longest]
        assert (accepted(uid, "store", "echo", "commit", "report") is not None) is told, uid


def test_transfer_syntaxes_of_storage_are_chosen_and_read_as_it_says() -> None:
    known = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    assert set(STATEMENT.column("5-3", "UID")) == known | {str(uid) for uid in ALL_TRANSFER_SYNTAXES}
    for row in TABLES["5-3"]:
        other = "1.2.3.4"  # a private one
        chosen = other if row["chosen"] == "last" else row["UID"]
        assert accepted(CT, "store", syntaxes=[row["UID"], other]) == chosen, row
        assert accepted(CT, "store", syntaxes=[other, row["UID"]]) == other, row
        assert accepted(CT, "store", syntaxes=[row["UID"]]) == row["UID"]
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = UID(row["UID"])
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        why_not = pixels.why_not(SimpleNamespace(header=header))  # type: ignore[arg-type]
        assert (why_not is None) is (row["read by pipelines"] == "yes"), (row, why_not)


def test_pipelines_read_the_classes_that_it_says() -> None:
    assert registry.names() == (ct_lung.NAME,)  # a further one: its classes belong here
    read = {row["UID"]: row["SOP class"] for row in TABLES["1-1"] if row["read"] == "yes"}
    assert read == ct_lung.ACCEPTS.sop_classes
    assert all(row["received"] == "yes" and accepted(row["UID"], "store") for row in TABLES["1-1"])


def test_services_are_those_that_code_proposes_and_accepts() -> None:
    syntaxes = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    beside = {negotiation.APPLICATION_CONTEXT, commitment.PUSH_MODEL_INSTANCE} | syntaxes
    proposed = {row["UID"] for row in TABLES["1-3"] if row["SCU"] == "yes" and row["UID"]}
    assert statement.standard_uids_in("node/peers") - beside == proposed
    assert {*STATEMENT.column("7-2", "UID")} == proposed
    provided = {row["UID"] for row in TABLES["1-3"] if row["SCP"] == "yes" and row["UID"]}
    assert provided == {*STATEMENT.column("7-3", "UID")}
    everything = ("store", "echo", "commit", "report")
    assert provided == {
        uid for uid in UID_dictionary if not negotiation.is_storage(uid) and accepted(uid, *everything) is not None
    }


def test_proposed_contexts_are_in_the_syntaxes_and_the_order_that_it_says() -> None:
    told = {row["activity"]: re.findall(r"1\.2\.[\d.]+", row["transfer syntaxes, each in a context of its own, "
                                                           "in this order"]) for row in TABLES["7-2"]}  # fmt: skip
    assert [uid for _, uid in asking._OFFERS] == told["ask for storage commitment"]
    assert told["answer a storage commitment request"] == told["ask for storage commitment"]
    assert [peers._VERIFICATION[1]] == told["overread check"]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    for uid in ALL_TRANSFER_SYNTAXES:
        made.file_meta.TransferSyntaxUID = UID(uid)
        if str(uid) not in told["send a result"]:
            with pytest.raises(ValueError, match="Explicit VR Little Endian"):
                Encoder().encode(made)


@pytest.mark.parametrize("row", TABLES["7-3"], ids=lambda row: f"{row['SOP class']} as {row['role']}")
def test_accepted_contexts_want_the_word_and_the_syntaxes_that_it_says(row: statement.Row) -> None:
    word = {'commitment = "ask"': "report"}.get(row["wanted in may"], row["wanted in may"])
    others = {"echo", "store", "commit", "report"} - {word}
    uid = row["UID"] or CT
    roles = {"role": (row["role"] == "SCP", row["role"] == "SCU")} if uid == commitment.PUSH_MODEL else {}
    assert accepted(uid, word, **roles) and not accepted(uid, *others, **roles)
    told = re.findall(r"1\.2\.[\d.]+", row["transfer syntaxes"])
    for syntax in STATEMENT.column("5-3", "UID"):
        assert (accepted(uid, word, syntaxes=[syntax], **roles) == syntax) is (not told or syntax in told), syntax
    for first, second in itertools.pairwise(told):
        assert accepted(uid, word, syntaxes=["1.2.3.4", second, first], **roles) == second


def test_what_is_not_accepted_gets_the_results_that_it_says() -> None:
    given = {
        negotiation._judge(uid, syntaxes, may, {})
        for uid in (CT, "1.2.840.10008.5.1.4.1.1.200.4", "no uid", commitment.PUSH_MODEL)
        for syntaxes in (["1.2.840.10008.1.2"], ["1.2.840.10008.1.2.4.50"], [], ["no uid"])
        for may in ((), ("store", "commit"))
    }
    assert {int(one) for one in STATEMENT.column("7-4", "result")} == given - {negotiation.ACCEPTED}


def test_rejections_and_aborts_are_those_of_the_code() -> None:
    told = sorted([int(row[name]) for name in ("result", "source", "reason")] for row in TABLES["7-6"])
    given = statement.numbers_given_to("Rejection", "node/receive")
    assert told == sorted({tuple(one): one for one in given}.values())
    broken = statement.numbers_given_to("BrokenPdu", "node/receive", "node/pdu_guard.py")
    aborts = [one for one in statement.numbers_given_to("abort", "node/receive") if one]
    assert {int(one) for one in STATEMENT.column("7-7", "reason")} == {(one or [0])[0] for one in (*broken, *aborts)}


def test_statuses_that_we_send_are_those_of_the_code() -> None:
    everywhere, store = statement.statuses_in("node/receive/association.py"), STATEMENT.statuses("7-9")
    storage = statement.statuses_in("node/receive/storage.py")
    assert storage <= store and store | STATEMENT.statuses("7-13") | {dimse.UNRECOGNISED_OPERATION} == (
        storage | everywhere
    )
    assert {0x0000, dimse.SOP_CLASS_NOT_SUPPORTED} == STATEMENT.statuses("7-13")
    at_door = statement.statuses_in("node/receive/commitment.py") | {0x0000, dimse.UNRECOGNISED_OPERATION}
    assert STATEMENT.statuses("7-12") == at_door - {dimse.NO_SUCH_EVENT_TYPE}
    assert STATEMENT.statuses("7-11") == at_door - {dimse.NO_SUCH_ACTION}
    assert statement.statuses_in("node/peers/commitment.py") <= STATEMENT.statuses("7-11")
    assert statement.statuses_in("node/peers/__init__.py", "node/peers/requestor.py") == set()
    reasons = {int(one, 16) for one in STATEMENT.column("5-4", "reason")}
    assert reasons == statement.statuses_in("node/holding.py")


def test_statuses_that_we_receive_mean_what_it_says() -> None:
    words = {"stored": "stored", "again": "sent again", "never": "given up"}
    told = [(*statement.codes_of(row["status code"]), row["behaviour"]) for row in TABLES["7-8"]]
    assert told[:-1] == [((first, last), words[meaning]) for first, last, meaning, _ in statuses.TABLE]
    assert [row["further meaning"] for row in TABLES["7-8"][:-1]] == [
        text.removeprefix("warning: ") for *_, text in statuses.TABLE
    ]
    assert told[-1] == (words[statuses.classify(0xFE00)[0]],)
    taken, again, never = (statement.codes_of(row["status codes"]) for row in TABLES["7-10"])
    for meaning, codes in (("stored", taken), ("again", again), ("never", never)):
        assert codes == [(first, last) for first, last, one, _ in statuses.TABLE if one == meaning]


def setting(key: str) -> FieldInfo:
    """`node.max-pdu` -> the field of the configuration."""
    section, _, name = key.partition(".")
    return {"node": Node, "send": Send, "peer": Peer}[section].model_fields[name.replace("-", "_")]


def written(default: Any) -> str:
    if isinstance(default, bool) or default is None:
        return str(default).lower()
    return str(list(default)).replace("'", '"') if isinstance(default, tuple) else str(default)


def limits(field: FieldInfo) -> str | None:
    """In words; None where the type alone says it."""
    choices = re.findall(r"'([\w-]+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
    if choices:
        return ", ".join(choices)
    bounds = {type(one).__name__: next(value for name in ("ge", "gt", "le") if (value := getattr(one, name, None))
              is not None) for one in field.metadata if type(one).__name__ in ("Ge", "Gt", "Le")}  # fmt: skip
    if "Le" in bounds:
        return f"{bounds['Ge']} to {bounds['Le']}"
    return " ".join(f"{'from' if kind == 'Ge' else 'over'} {bound}" for kind, bound in bounds.items()) or None


@pytest.mark.parametrize("row", TABLES["6-1"], ids=lambda row: row["key"])
def test_defaults_and_ranges_are_those_of_the_configuration(row: statement.Row) -> None:
    field = setting(row["key"])
    assert row["default"] == written(field.default)
    assert limits(field) in (None, row["range"])


def test_every_key_that_the_network_side_has_is_there() -> None:
    said = set(STATEMENT.column("6-1", "key"))
    assert {f"send.{kebab(name)}" for name in Send.model_fields} <= said
    at_door = [name for name in Node.model_fields if re.search("max_|timeout|port|plain|tls|title", name)]
    assert {f"node.{kebab(name)}" for name in at_door} <= said
    rights = [name for name in Peer.model_fields if re.search("may|address|tls|certificate|associations|commit", name)]
    assert {f"peer.{kebab(name)}" for name in rights} <= said


def test_ports_are_those_of_the_configuration() -> None:
    for row in TABLES["8-1"][:2]:
        assert row["default"] == written(setting(row["port"]).default)


def test_association_parameters_are_those_of_the_code() -> None:
    door = Node()
    assert [row["value"] for row in TABLES["7-1"]] == [str(one) for one in (
        negotiation.APPLICATION_CONTEXT, implementation.IMPLEMENTATION_CLASS_UID,
        implementation.IMPLEMENTATION_VERSION_NAME, door.max_pdu, requestor._LARGEST_PDU, promises._LARGEST,
        pdu_guard.LONGEST_REQUEST, dimse.LONGEST_COMMAND, proposal.MOST_CONTEXTS, door.max_associations,
        door.max_associations_per_address, Peer.model_fields["associations"].default, listener.HALL,
        listener.HALL_PER_ADDRESS, listener.STRANGERS, int(listener.GRACE), 1,
    )]  # fmt: skip


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"At most {commitment.MOST_REFERENCES} instances and {commitment.LONGEST_DATASET} bytes" in STATEMENT.text
    assert f"An output of {peers._WORTH_ANOTHER} or more instances" in STATEMENT.text
    assert promises.QUIET == 0.5 and "quiet on it for half a second" in STATEMENT.text
    assert door_commitment._ELSEWHERE_AFTER == 3 and "after three seconds" in STATEMENT.text
    assert confirm.WAIT_HERE == 1 and "taken for one second on that association" in STATEMENT.text
