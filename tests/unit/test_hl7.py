"""HL7 messages: what is read from ORU^R01, what is answered, and that no bytes break the reading."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.labels import NewLabel
from node.report_sections import Hl7
from node.reports import hl7, oru
from node.reports.hl7 import Unreadable
from node.reports.mllp import Frames
from node.reports.oru import Declined

SECTION = Hl7(findings={"60046008^SCT": "Effusion", "PTX": "pneumothorax"})
MSH = "MSH|^~\\&|RIS|HOSP|OVERREAD||20261103101500||ORU^R01^ORU_R01|M1|P|2.5.1"
OBR = "OBR|1|P1|F1|71020^CXR|||20261103|||||||||||A77||||20261102090000|||F"


def message(*segments: str, head: str = MSH, end: str = "\r") -> bytes:
    return (end.join([head, "PID|1||SECRET-ID||Secret^Name", *segments]) + end).encode("latin-1")


def read(*segments: str, section: Hl7 = SECTION, head: str = MSH, end: str = "\r") -> list[NewLabel]:
    parsed = hl7.parse(message(*segments, head=head, end=end))
    oru.check(parsed)
    return oru.labels_of(parsed, section)


def said(*observations: str, obr: str = OBR, orc: str = "") -> dict[str, bool | None]:
    return {one.finding: one.value for one in read(*filter(None, (orc, obr, *observations)))}


def test_a_finding_asked_for_and_one_found_become_labels_of_the_accession_number() -> None:
    assert read(OBR, "OBX|1|CE|PTX^Pneumothorax^L||N^No^HL70136||||||F", "OBX|2|CWE|F^Finding||60046008^Effusion^SCT||||||F") == [
        NewLabel("A77", "accession", "pneumothorax", False, "2026-11-02T09:00:00", "hl7"),
        NewLabel("A77", "accession", "effusion", True, "2026-11-02T09:00:00", "hl7")]  # fmt: skip


@pytest.mark.parametrize(
    ("observation", "finding"),
    [
        ("OBX|1|ST|PTX||positive||||||F", {"pneumothorax": True}), ("OBX|1|CE|X^Y^Z^PTX^^L||52101004^Present^SCT||||||C", {"pneumothorax": True}),
        ("OBX|1|CE|PTX||^absent||||||F", {"pneumothorax": False}), ("OBX|1|NM|PTX||0||||||F", {"pneumothorax": False}),
        ("OBX|1|CE|PTX||Y||||||P", {}), ("OBX|1|CE|PTX||Y||||||X", {}), ("OBX|1|TX|PTX||see text||||||F", {}),
        ("OBX|1|TX|F||60046008^^SCT||||||F", {}), ("OBX|1|CE|F||60046008^^OTHER||||||F", {}), ("OBX|1|CE|PTX||Y", {"pneumothorax": True}),
        ("OBX|1|CE|PTX||||||||F", {}), ("OBX", {}), ("OBX|||||||", {}),
    ],
)  # fmt: skip
def test_only_final_coded_observations_of_the_table_count(observation: str, finding: dict[str, bool]) -> None:
    assert said(observation) == finding


@pytest.mark.parametrize(
    ("observation", "finding"),
    [
        ("OBX|1|CE|PTX||Y||||||D", "pneumothorax"), ("OBX|1|CE|PTX||||||||W", "pneumothorax"), ("OBX|1|CE|F||60046008^^SCT||||||W", "effusion"),
        ("OBX|1|CE|PTX||U^Unclear||||||C", "pneumothorax"), ("OBX|1|CE|PTX||\"\"||||||F", "pneumothorax"),
    ],
)  # fmt: skip
def test_what_is_deleted_or_wrong_or_corrected_to_neither_is_withdrawn(observation: str, finding: str) -> None:
    assert said(observation) == {finding: None}


def test_what_still_holds_goes_before_what_is_withdrawn() -> None:
    assert said("OBX|1|CE|PTX^L||Y||||||D", "OBX|2|CE|PTX^R||N||||||F") == {"pneumothorax": False}
    assert said("OBX|1|CE|PTX^L||Y||||||C", "OBX|2|CE|PTX^R||Y||||||W") == {"pneumothorax": True}


@pytest.mark.parametrize(
    ("orc", "obr"), [("ORC|CA", OBR), ("ORC|OC", OBR), ("ORC|CR", OBR), ("ORC|RE||||CA", OBR), ("", OBR[:-1] + "X")]
)
def test_a_cancelled_order_withdraws_what_it_speaks_of_or_all(orc: str, obr: str) -> None:
    assert said("OBX|1|CE|PTX||Y||||||F", orc=orc, obr=obr) == {"pneumothorax": None}
    assert said(orc=orc, obr=obr) == {"effusion": None, "pneumothorax": None}
    assert said("OBX|1|CE|PTX||Y||||||F", orc="ORC|RE||||CM") == {"pneumothorax": True}


def test_a_withdrawal_without_a_study_is_an_application_error() -> None:
    with pytest.raises(Declined, match="names the study"):
        read("ORC|CA", "OBR|1")


def test_a_finding_on_one_side_is_there() -> None:
    assert said("OBX|1|CE|PTX^L||Y||||||F", "OBX|2|CE|PTX^R||N||||||F") == {"pneumothorax": True}


def test_the_study_uid_goes_before_the_accession_number_and_each_order_has_its_own() -> None:
    found = read("ORC|RE", OBR, "OBX|1|CE|PTX||Y||||||F", "ZDS|1.2.3^OVERREAD^Application^DICOM", "ORC|RE",
                 OBR.replace("A77", "A78"), "OBX|1|CE|PTX||N||||||F")  # fmt: skip
    assert [(one.study, one.by, one.value) for one in found] == [("1.2.3", "study", True), ("A78", "accession", False)]
    other = Hl7(accession="ORC-3", findings=SECTION.findings)
    assert read("ORC|RE||F99^X", OBR, "OBX|1|CE|PTX||Y||||||F", section=other)[0].study == "F99"


def test_escapes_other_signs_and_line_ends_are_read() -> None:
    head = "MSH$*!%@$RIS$$$$20261103$$ORU*R01$M1$P$2.3"
    found = read("OBR$1$$$$$$$$$$$$$$$$$A%F%7!X$$$$$$$F", "OBX$1$CE$PTX$$Y$$$$$$F", head=head, end="\n")
    assert [one.study for one in found] == ["A$7"]


def test_findings_without_a_study_are_an_application_error() -> None:
    with pytest.raises(Declined, match="neither OBR-18 nor ZDS-1 nor IPC-3") as caught:
        read("OBR|1|P1|F1||||||||||||||||||||||F", "OBX|1|CE|PTX||Y||||||F")
    assert caught.value.code == "AE"
    assert read("OBR|1", "OBX|1|CE|OTHER||Y||||||F") == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [(("ORU^R01^ORU_R01", "ADT^A01"), "ORU"), (("|P|", "|T|"), "processing ID"), (("2.5.1", "3.0"), "version"), (("|M1|", "||"), "control ID")],
)  # fmt: skip
def test_other_messages_are_rejected(change: tuple[str, str], reason: str) -> None:
    with pytest.raises(Declined, match=reason) as caught:
        read(OBR, head=MSH.replace(*change))
    assert caught.value.code == "AR"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "MSH"), (b"PID|1", "MSH"), (b"MSH|^^^^|", "signs"), (b"MSHA^~\\&A", "signs"), (message("NTE|\x00"), "control"),
     (message(head=MSH + "||||||KLINGON"), "character set"), (message("NTE|\xff", head=MSH + "||||||UNICODE UTF-8"), "character set"),
     (message("N" * hl7.LARGEST), "larger"), (message(*["N"] * hl7.MOST_SEGMENTS), "segments")],
)  # fmt: skip
def test_what_is_no_message_is_refused_without_quoting_it(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as caught:
        hl7.parse(content)
    assert "Secret" not in str(caught.value)


def test_text_in_its_character_set_parts_at_its_own_signs() -> None:
    name = "山田|太郎".encode("iso2022_jp")  # some of its bytes are those of signs
    parsed = hl7.parse(message(head=MSH + "||||||ISO IR87") + b"NTE|1||" + name)
    assert parsed.field(parsed.of("NTE")[0], 3) == "山田"


def test_the_answer_names_the_message_and_gives_nothing_of_a_patient() -> None:
    told = hl7.answer(message(OBR), "AE", "no | study", 1.8e9, "OVERREAD").decode()
    head, body = told.rstrip("\r").split("\r")
    assert head.split("|")[2:7] == ["OVERREAD", "", "RIS", "HOSP", "20270115080000+0000"] and head.endswith("|P|2.5.1")
    assert body == "MSA|AE|M1|no   study" and "Secret" not in told


SEGMENT = st.text(st.sampled_from("MSHOBXRZDCP|^~\\&\"ZF1.2ETS\r\n PTX"), max_size=60).map(str.encode)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.lists(SEGMENT, max_size=8).map(lambda parts: b"\r".join([MSH.encode(), OBR.encode(), *parts])))
def test_no_bytes_break_the_reading_or_the_answer(content: bytes) -> None:
    try:
        parsed = hl7.parse(content)
        oru.check(parsed)
        found = oru.labels_of(parsed, SECTION)
        assert all(one.finding in ("effusion", "pneumothorax") for one in found)
    except (Unreadable, Declined) as error:
        assert "\n" not in str(error)
    told = hl7.answer(content, "AA", "", 1.8e9, "OVERREAD")
    assert told.count(b"\r") == 2 and told.isascii() and b"\x0b" not in told and b"\x1c" not in told
    assert hl7.parse(told).segments[1].startswith("MSA|AA|")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30).map(lambda one: one.replace(b"\x1c", b"")), max_size=5), st.integers(1, 9))
def test_messages_come_out_whole_however_they_are_cut(messages: list[bytes], size: int) -> None:
    stream = b"".join(b"\x0b" + one + b"\x1c\r" for one in messages)
    frames = Frames()
    found = [one for start in range(0, len(stream), size) for one in frames.feed(stream[start : start + size])]
    assert found == messages and not frames.inside


def test_what_is_not_framed_or_never_ends_is_refused() -> None:
    with pytest.raises(Unreadable, match="MLLP"):
        Frames().feed(b"GET / HTTP/1.1\r\n")
    frames = Frames()
    with pytest.raises(Unreadable, match="larger"):
        for _ in range(20):
            frames.feed(b"\x0b" + b"x" * 65536)
