"""docs/conformance.md says what the code does on the network: each table is held against the code that it describes.
Its section 6 is held by test_conformance_configuration.py, its annexes by test_conformance_annexes.py."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, UID_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext

import node
from node import commitment, confirm, dimse, implementation, pdu_guard, peers
from node.config import Config
from node.peers import commitment as asking
from node.peers import find, proposal, requestor, statuses
from node.receive import commitment as door_commitment
from node.receive import listener, negotiation, promises
from node.receive.negotiation import Request
from node.sections import Node, Peer
from pipelines import ct_lung, cxr_triage, pixels, registry
from pipelines.outputs.encode import Encoder
from tests import statement
from tests.senders import instance, write

STATEMENT = statement.read()
TABLES = STATEMENT.tables
CT = "1.2.840.10008.5.1.4.1.1.2"


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
    wanted = statement.outline()
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
    assert registry.names() == (ct_lung.NAME, cxr_triage.NAME)  # a further one: its classes belong here
    read = {row["UID"]: row["SOP class"] for row in TABLES["1-1"] if row["read"] == "yes"}
    assert read == {**ct_lung.ACCEPTS.sop_classes, **cxr_triage.ACCEPTS.sop_classes}
    assert all(row["received"] == "yes" and accepted(row["UID"], "store") for row in TABLES["1-1"])


def test_services_are_those_that_code_proposes_and_accepts() -> None:
    syntaxes = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    beside = {negotiation.APPLICATION_CONTEXT, commitment.PUSH_MODEL_INSTANCE} | syntaxes
    proposed = {row["UID"] for row in TABLES["1-3"] if row["SCU"] == "yes" and row["UID"]}
    assert statement.standard_uids_in("node/peers") - beside == proposed
    assert {*STATEMENT.column("7-2", "UID")} == proposed
    without = [(row["service"], row["SCU"], row["SCP"]) for row in TABLES["1-3"] if not row["UID"]]
    assert [one for one in without if "yes" in one] == [("Storage", "yes", "yes")]
    for service in ("Worklist", "MPPS", "UPS", "Query/Retrieve", "Printing"):
        assert any(service in name for name, *_ in without), service
    provided = {row["UID"] for row in TABLES["1-3"] if row["SCP"] == "yes" and row["UID"]}
    assert provided == {*STATEMENT.column("7-3", "UID")}
    everything = ("store", "echo", "commit", "report")
    assert provided == {
        uid for uid in UID_dictionary if not negotiation.is_storage(uid) and accepted(uid, *everything) is not None
    }


class Proposed(Exception):
    """What was about to be proposed."""


def proposed(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]) -> tuple[list[tuple[str, str]], str | None]:
    """The presentation contexts that `ask` would propose, and the class of which we would be the SCP."""

    def stop(door: Node, peer: Peer, offers: Sequence[tuple[str, str]], as_scp: str | None = None) -> None:
        raise Proposed(list(offers), as_scp)

    monkeypatch.setattr(peers, "Requestor", stop)
    monkeypatch.setattr(asking, "Requestor", stop)
    monkeypatch.setattr(find, "Requestor", stop)
    with pytest.raises(Proposed) as caught:
        ask()
    return caught.value.args


def test_proposed_contexts_are_those_that_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, pacs = Config(), Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
    one = commitment.Reference(CT, "1.2.3")
    write(tmp_path, instance())
    asks: dict[str, Callable[[], object]] = {
        "send a result": lambda: list(peers.store(config, pacs, list(tmp_path.iterdir()))),
        "ask for storage commitment": lambda: asking.ask(
            config, pacs, commitment.Request("1.2", (one,)), 1, lambda: None, lambda _: None
        ),
        "answer a storage commitment request": lambda: asking.report(config, pacs, commitment.Report("1.2", (one,))),
        "query": lambda: find.count(config, pacs, "1.2"),
        "overread check": lambda: peers.echo(config, pacs),
    }
    told = {row["activity"]: row for row in TABLES["7-2"]}
    assert set(told) == {*asks, "overread send"}
    for activity, ask in asks.items():
        row, (offers, as_scp) = told[activity], proposed(monkeypatch, ask)
        syntaxes = next(row[name] for name in row if name.startswith("transfer syntaxes"))
        assert offers == [(row["UID"] or CT, syntax) for syntax in syntaxes.split(", ")]
        assert (row["role"], row["extended negotiation"]) == (
            ("SCU", "none") if as_scp is None else ("SCP", "role selection: SCP")
        )


def test_results_are_written_in_no_other_syntax() -> None:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    for uid in set(ALL_TRANSFER_SYNTAXES) - {ExplicitVRLittleEndian}:
        made.file_meta.TransferSyntaxUID = UID(uid)
        with pytest.raises(ValueError, match="Explicit VR Little Endian"):
            Encoder().encode(made)


def test_names_are_those_of_the_standard() -> None:
    for row in (row for rows in TABLES.values() for row in rows if row.get("UID") in UID_dictionary):
        name = UID_dictionary[row["UID"]][0].removesuffix(" SOP Class")
        told = row.get("SOP class") or row["transfer syntax"].removesuffix(" (retired)")
        assert told in (name, name.removesuffix(" Storage"), f"Storage Commitment, {name}"), row


@pytest.mark.parametrize("row", TABLES["7-3"], ids=lambda row: f"{row['SOP class']} as {row['role']}")
def test_accepted_contexts_want_the_word_and_the_syntaxes_that_it_says(row: statement.Row) -> None:
    assert row["role"] == "SCP" or row["UID"] == commitment.PUSH_MODEL
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


def test_accepted_contexts_are_told_of_each_word() -> None:
    assert sorted(STATEMENT.column("7-3", "wanted in may")) == ["commit", 'commitment = "ask"', "echo", "store"]


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


def plain(text: str) -> str:
    return text.lower().replace("-", " ").replace("zed", "sed").replace("reason not specified", "no reason given")


def test_reasons_are_called_as_in_the_standard() -> None:
    for row in TABLES["7-6"]:
        rejection = A_ASSOCIATE_RJ()
        result, source, reason = (int(row[name]) for name in ("result", "source", "reason"))
        rejection.decode(negotiation.Rejection(result, source, reason, "").encode())
        assert plain(rejection.reason_str) == plain(row["meaning"])
    for row in TABLES["7-7"]:
        abort = A_ABORT_RQ()
        abort.decode(negotiation.abort(int(row["reason"])))
        assert plain(abort.reason_str) == plain(row["meaning"]) and abort.source == 2


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


def test_association_parameters_are_those_of_the_code() -> None:
    door = Node()
    assert [row["value"] for row in TABLES["7-1"]] == [str(one) for one in (
        negotiation.APPLICATION_CONTEXT, implementation.IMPLEMENTATION_CLASS_UID,
        implementation.IMPLEMENTATION_VERSION_NAME, door.max_pdu, requestor._LARGEST_PDU, promises._LARGEST,
        pdu_guard.LONGEST_REQUEST, dimse.LONGEST_COMMAND, proposal.MOST_CONTEXTS, door.max_associations,
        door.max_associations_per_address, Peer.model_fields["associations"].default, listener.HALL,
        listener.HALL_PER_ADDRESS, listener.STRANGERS, int(door.stop_grace), 1,
    )]  # fmt: skip


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"At most {commitment.MOST_REFERENCES} instances and {commitment.LONGEST_DATASET} bytes" in STATEMENT.text
    assert f"An output of {peers._WORTH_ANOTHER} or more instances" in STATEMENT.text
    assert promises.QUIET == 0.5 and "quiet on it for half a second" in STATEMENT.text
    assert door_commitment._ELSEWHERE_AFTER == 3 and "after three seconds" in STATEMENT.text
    assert confirm.WAIT_HERE == 1 and "taken for one second on that association" in STATEMENT.text
