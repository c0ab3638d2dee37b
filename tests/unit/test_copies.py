"""Copies of the log hold what it holds: a table, JSON lines, DICOM audit messages, FHIR resources."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from node import audit
from node.queries import Queries
from node.store import Store
from node.telling import atna, copies, fhir
from tests.commands import Done, overread
from tests.conftest import Arrivals
from tests.unit.test_explain import live

# PS3.15, A.5.1: what each element may hold: attributes (True: must be there), and elements in their order with how often.
CODE = ({"csd-code": True, "codeSystemName": True, "originalText": True, "displayName": False}, ())
SCHEMA: dict[str, tuple[dict[str, bool], tuple[tuple[str, int, int], ...]]] = {
    "AuditMessage": ({}, (("EventIdentification", 1, 1), ("ActiveParticipant", 1, 99), ("AuditSourceIdentification", 1, 1), ("ParticipantObjectIdentification", 0, 99))),
    "EventIdentification": ({"EventActionCode": False, "EventDateTime": True, "EventOutcomeIndicator": True}, (("EventID", 1, 1), ("EventTypeCode", 0, 9), ("EventOutcomeDescription", 0, 1))),
    "EventID": CODE, "EventTypeCode": CODE, "RoleIDCode": CODE, "ParticipantObjectIDTypeCode": CODE,
    "EventOutcomeDescription": ({}, ()), "ParticipantObjectName": ({}, ()),
    "ActiveParticipant": ({"UserID": True, "AlternativeUserID": False, "UserName": False, "UserIsRequestor": True, "NetworkAccessPointID": False, "NetworkAccessPointTypeCode": False}, (("RoleIDCode", 0, 9),)),
    "AuditSourceIdentification": ({"AuditEnterpriseSiteID": False, "AuditSourceID": True}, (("AuditSourceTypeCode", 0, 9),)),
    "AuditSourceTypeCode": ({"csd-code": True}, ()),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID": True, "ParticipantObjectTypeCode": False, "ParticipantObjectTypeCodeRole": False, "ParticipantObjectDataLifeCycle": False, "ParticipantObjectSensitivity": False},
        (("ParticipantObjectIDTypeCode", 1, 1), ("ParticipantObjectName", 1, 1), ("ParticipantObjectDetail", 0, 99), ("ParticipantObjectDescription", 0, 99)),
    ),
    "ParticipantObjectDetail": ({"type": True, "value": True}, ()), "ParticipantObjectDescription": ({}, (("SOPClass", 0, 99),)),
    "SOPClass": ({"UID": False, "NumberOfInstances": True}, ()),
}  # fmt: skip
VALUES = {
    "EventActionCode": "[CRUDE]", "EventOutcomeIndicator": "0|4|8|12", "UserIsRequestor": "true|false", "NetworkAccessPointTypeCode": "[1-5]",
    "ParticipantObjectTypeCode": "[1-4]", "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]", "NumberOfInstances": "[0-9]+", "value": "[A-Za-z0-9+/]+={0,2}",
}  # fmt: skip


def check(element: ElementTree.Element) -> None:
    """Whether an element is what SCHEMA says, all the way down."""
    attributes, children = SCHEMA[element.tag]
    assert set(element.attrib) <= set(attributes), element.tag
    assert {name for name, must in attributes.items() if must} <= set(element.attrib), element.tag
    for name, value in element.attrib.items():
        assert re.fullmatch(VALUES.get(name, ".+"), value), (name, value)
    if "EventDateTime" in element.attrib:
        assert datetime.fromisoformat(element.attrib["EventDateTime"]).tzinfo is not None
    order = [name for name, _, _ in children]
    found = [child.tag for child in element]
    assert found == sorted(found, key=order.index), element.tag
    for name, least, most in children:
        assert least <= found.count(name) <= most, (element.tag, name)
    for child in element:
        check(child)


BODIES = {
    "association.refused": {"calling_ae": "X<Y", "called_ae": "O", "address": "10.0.0.1", "reason": "no [[peer]] & more", "count": 1},
    "association.burst": {"address": "10.0.0.1", "count": 30, "reason": "unknown"},
    "audit.verified": {"events": 3, "heads": 0, "broken": "event 2 is missing", "by": "user/me"},
    "patient.erased": {"digest": "ab12", "rows": 1, "studies": ["1.2.3"], "by": "me", "why": "asked"},
    "review.given": {"job": 1, "sop_uid": "1.2", "verdict": "accepted", "source": "cli", "by": "Dr. A"},
    "study.closed": {"revision": 1, "reason": "quiet", "instances": 3, "series": 1, "patients": ["p1"], "senders": ["ct-1"], "sop_classes": {"1.2.840.10008.5.1.4.1.1.2": 3}},
    "delivery.claimed": {"output": "report", "peer": "pacs", "attempt": 1, "instances": 1},
    "delivery.failed": {"output": "report", "peer": "pacs", "reason": "refused", "answers": []},
    "job.done": {"pipeline": "ct-lung", "outputs": {"report": {"sop_class": "1.2.840.10008.5.1.4.1.1.88.34", "instances": 1}}},
}


def _event(type_: str) -> audit.Event:
    noun = {"patient": "patient/ab12", "association": "ae/X", "node": "node", "audit": "audit", "model": "models"}
    object_ = noun.get(type_.partition(".")[0], "study/1.2.3")
    return audit.Event(7, "2026-11-22T02:00:00.000001+00:00", type_, "work", object_, BODIES.get(type_, {}), "0" * 64, "1" * 64)


@pytest.mark.parametrize("type_", atna.KINDS)
def test_each_message_is_what_the_schema_of_ps3_15_says(type_: str) -> None:
    text = atna.message(_event(type_), "OVERREAD", lambda uid: ("p1",))
    assert text is not None and "\n" not in text
    root = ElementTree.fromstring(text)
    check(root)
    kind = atna.KINDS[type_]
    assert root.find("EventIdentification/EventID").get("csd-code") == kind.event[0]  # type: ignore[union-attr]


def test_the_check_of_messages_sees_what_is_wrong() -> None:
    text = atna.message(_event("study.closed"), "OVERREAD", _nobody)
    assert text is not None
    for before, after in (('UserIsRequestor="true"', 'UserIsRequestor="yes"'), ("<EventID ", "<EventType "), ('EventActionCode="C"', 'EventActionCode="X"'),
                          (' AuditSourceID="OVERREAD"', ""), ("ParticipantObjectName", "Name"), ("ParticipantObjectDescription>", "Description>"),
                          (' NumberOfInstances="3"', "")):  # fmt: skip
        assert before in text, before
        with pytest.raises((AssertionError, KeyError, ValueError)):
            check(ElementTree.fromstring(text.replace(before, after)))


def test_a_message_says_who_sent_what_to_whom_and_a_failure_says_why() -> None:
    def participants(type_: str) -> list[tuple[str | None, str | None]]:
        root = ElementTree.fromstring(atna.message(_event(type_), "OVERREAD", _nobody) or "")
        return [(one.get("UserID"), one.find("RoleIDCode").get("originalText") if len(one) else None) for one in root.findall("ActiveParticipant")]  # type: ignore[union-attr]

    assert participants("delivery.claimed") == [("OVERREAD", "Source Role ID"), ("pacs", "Destination Role ID")]
    assert participants("study.closed") == [("ct-1", "Source Role ID"), ("OVERREAD", "Destination Role ID")]
    assert participants("association.refused")[0] == ("X<Y", None)
    failed = ElementTree.fromstring(atna.message(_event("delivery.failed"), "OVERREAD", lambda uid: ("p9",)) or "")
    about = failed.find("EventIdentification")
    assert about is not None and about.get("EventOutcomeIndicator") == "8" and about.findtext("EventOutcomeDescription") == "refused"
    objects = {(one.get("ParticipantObjectTypeCode"), one.get("ParticipantObjectID")) for one in failed.findall("ParticipantObjectIdentification")}
    assert objects == {("2", "1.2.3"), ("1", "p9")}
    assert atna.message(_event("job.retried"), "OVERREAD", _nobody) is None


def test_a_verification_that_found_something_is_a_failure_in_both_forms() -> None:
    about = ElementTree.fromstring(atna.message(_event("audit.verified"), "OVERREAD", _nobody) or "").find("EventIdentification")
    assert about is not None and about.get("EventOutcomeIndicator") == "8" and about.findtext("EventOutcomeDescription") == "event 2 is missing"
    made = fhir.resource(_event("audit.verified"), "OVERREAD", _nobody)
    assert (made["outcome"], made["outcomeDesc"]) == ("8", "event 2 is missing")


def test_words_of_a_caller_do_not_break_the_message_or_its_line() -> None:
    event = dataclasses.replace(_event("association.refused"), body={"calling_ae": "A\x01B", "reason": "1\n2\x7f\ufffe"})
    text = atna.message(event, "OVERREAD", _nobody)
    assert text is not None and "\n" not in text
    root = ElementTree.fromstring(text)
    check(root)
    assert root.findtext("EventIdentification/EventOutcomeDescription") == "1 2\x7f "
    [detail] = root.iter("ParticipantObjectDetail")
    assert "1\n2" in b64decode(detail.attrib["value"]).decode()


# hl7.org/fhir/R4/auditevent.html: what each part may hold; True: must be there.
FHIR: dict[str, dict[str, bool]] = {
    "": dict.fromkeys(("resourceType", "type", "recorded", "agent", "source"), True)
    | dict.fromkeys(("id", "subtype", "action", "outcome", "outcomeDesc", "entity"), False),
    "agent": {"requestor": True} | dict.fromkeys(("type", "role", "who", "altId", "name", "network"), False),
    "network": {"address": False, "type": False},
    "source": {"observer": True, "site": False, "type": False},
    "entity": dict.fromkeys(("what", "type", "role", "lifecycle", "name", "description", "detail"), False),
    "detail": {"type": True, "valueString": True},
    "coding": {"system": True, "code": True, "display": False},
}


def _part(name: str, given: dict[str, object]) -> None:
    assert set(given) <= set(FHIR[name]), (name, given)
    assert {key for key, must in FHIR[name].items() if must} <= set(given), (name, given)
    assert all(value not in ("", [], None) for value in given.values()), (name, given)


def _fhir(made: dict[str, Any]) -> None:
    """What R4 requires of an AuditEvent, and the values of its value sets."""
    _part("", made)
    assert made["resourceType"] == "AuditEvent" and made["action"] in "CRUDE" and made["outcome"] in ("0", "4", "8", "12")
    assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", made["id"]) and datetime.fromisoformat(made["recorded"]).tzinfo
    for coding in (made["type"], *made["subtype"], *made["source"]["type"]):
        _part("coding", coding)
    assert made["type"]["system"].endswith("/DCM") and re.fullmatch("1101[01][0-9]", made["type"]["code"])
    assert [one["code"] for one in made["source"]["type"]] == ["4"] and made["source"]["observer"]["display"] == "OVERREAD"
    _part("source", made["source"])
    for agent in made["agent"]:
        _part("agent", agent)
        if "network" in agent:
            _part("network", agent["network"])
            assert agent["network"]["type"] in "12345"
    assert [one["requestor"] for one in made["agent"]].count(True) == 1
    assert all(isinstance(one["requestor"], bool) for one in made["agent"])
    for entity in made["entity"]:
        _part("entity", entity)
        assert entity["what"]["identifier"]["value"] and entity["type"]["code"] in "1234"
        assert int(entity.get("role", {"code": "1"})["code"]) in range(1, 25)
        for detail in entity.get("detail", ()):
            _part("detail", detail)


def _nobody(uid: str) -> tuple[str, ...]:
    return ()


def test_every_event_type_has_a_fhir_resource() -> None:
    for type_ in audit.TYPES:
        [line] = copies.lines([_event(type_)], "fhir", "OVERREAD", lambda uid: ("p1",))
        _fhir(json.loads(line))


def test_the_copies_of_a_log_hold_what_it_holds(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    live(store, queries, arrivals)
    events = queries.events()
    rows = list(csv.DictReader(copies.lines(events, "csv", "OVERREAD", queries.patient_digests)))
    assert [(int(row["seq"]), row["hash"], json.loads(row["body"])) for row in rows] == [(e.seq, e.hash, e.body) for e in events]
    told = [json.loads(line) for line in copies.lines(events, "jsonl", "OVERREAD", queries.patient_digests)]
    assert told == [vars(event) for event in events]
    messages = list(copies.lines(events, "atna", "OVERREAD", queries.patient_digests))
    assert len(messages) == sum(event.type in atna.KINDS for event in events) > 5
    for text in messages:
        check(ElementTree.fromstring(text))
    digest = store.patient_digest("P1")
    assert sum(digest in text for text in messages) == len(messages), "each is about the study, and names its patient by digest"
    assert "Muster" not in "".join(messages)


def test_the_command_writes_a_part_of_the_log_and_says_so_in_it(sqlite: str, tmp_path: Path) -> None:
    store = Store(sqlite)
    live(store, Queries(store.engine), Arrivals(store))
    (tmp_path / "overread.toml").write_text('[node]\nspool = "spool"\n')

    def run(*words: str) -> Done:
        return overread("audit", "export", *words, "-c", tmp_path / "overread.toml")

    done = run("--format", "jsonl", "--study", "1.2.3", "--out", str(tmp_path / "log.jsonl"), "--from", "2020-01-01")
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert done.returncode == 0 and {one["object"] for one in written} == {"study/1.2.3"}, done.stderr
    [event] = [one for one in Queries(store.engine).events("audit") if one.type == "audit.exported"]
    assert event.body["count"] == len(written) and event.body["study"] == "1.2.3" and event.body["from"] == "2020-01-01"
    assert run("--out", "/dev/full").returncode == 2
    assert [one.type for one in Queries(store.engine).events("audit")] == ["audit.exported"] * 2, "what was read is on record"
    for words, said in ((("--format", "pdf"), "one of csv, jsonl, atna, fhir"), (("--from", "yesterday"), "no date or time")):
        wrong = run(*words)
        assert wrong.returncode == 2 and said in wrong.stderr
