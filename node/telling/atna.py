"""Events as DICOM audit messages (PS3.15, A.5), as XML without a declaration.

Patients are named by the salted digests of the log, never by their identifiers. What has no message of its own in A.5.3
and concerns nobody's images (a lease, a head, a retry) has none here.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from node.audit import Event
from node.telling.sentences import sentence

Patients = Callable[[str], Sequence[str]]
"""StudyInstanceUID -> the digests of its patients."""
Code = tuple[str, str]  # value and meaning, of DCM
_ACTIVITY: Code = ("110100", "Application Activity")
_LOG_USED: Code = ("110101", "Audit Log Used")
_BEGIN: Code = ("110102", "Begin Transferring DICOM Instances")
_ACCESSED: Code = ("110103", "DICOM Instances Accessed")
_TRANSFERRED: Code = ("110104", "DICOM Instances Transferred")
_DELETED: Code = ("110105", "DICOM Study Deleted")
_PATIENT: Code = ("110110", "Patient Record")
_ALERT: Code = ("110113", "Security Alert")
_SOURCE: Code = ("110153", "Source Role ID")
_DESTINATION: Code = ("110152", "Destination Role ID")
_APPLICATION: Code = ("110150", "Application")
_LAUNCHER: Code = ("110151", "Application Launcher")
_SOFTWARE: Code = ("110131", "Software Configuration")
_NODE: Code = ("110126", "Node Authentication")
_CHANGED: Code = ("110135", "Object Security Attributes Changed")
SUCCESS, MINOR, SERIOUS = "0", "4", "8"
# What XML 1.0, 2.2, forbids, and what would end the line: a caller's words may hold anything.
_NOT_XML = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Kind:
    """What an event is in the terms of PS3.15: its EventID, EventActionCode, EventTypeCode and outcome."""

    event: Code
    action: str
    type: Code | None = None
    outcome: str = SUCCESS


KINDS: dict[str, Kind] = {
    "node.started": Kind(_ACTIVITY, "E", ("110120", "Application Start")),
    "node.stopped": Kind(_ACTIVITY, "E", ("110121", "Application Stop")),
    "node.configured": Kind(_ALERT, "E", _SOFTWARE),
    "model.installed": Kind(_ALERT, "E", _SOFTWARE),
    "model.retired": Kind(_ALERT, "E", _SOFTWARE),
    "model.promoted": Kind(_ALERT, "E", _SOFTWARE),
    "route.mode": Kind(_ALERT, "E", _SOFTWARE),
    "web.refused": Kind(_ALERT, "E", _NODE, MINOR),
    "message.refused": Kind(_ALERT, "E", _NODE, MINOR),
    "association.refused": Kind(_ALERT, "E", _NODE, MINOR),
    "association.burst": Kind(_ALERT, "E", _NODE, SERIOUS),
    "instance.refused": Kind(_ALERT, "E", _NODE, MINOR),
    "study.closed": Kind(_TRANSFERRED, "C"),
    "study.purged": Kind(_DELETED, "D"),
    "results.purged": Kind(_DELETED, "D"),
    "job.claimed": Kind(_ACCESSED, "R"),
    "job.done": Kind(_ACCESSED, "C"),
    "job.failed": Kind(_ACCESSED, "R", outcome=SERIOUS),
    "delivery.claimed": Kind(_BEGIN, "E"),
    "delivery.delivered": Kind(_TRANSFERRED, "C"),
    "delivery.failed": Kind(_TRANSFERRED, "C", outcome=SERIOUS),
    "review.given": Kind(_ACCESSED, "U"),
    "label.added": Kind(_PATIENT, "U"),
    "label.withdrawn": Kind(_PATIENT, "U"),
    "patient.erased": Kind(_PATIENT, "D"),
    "audit.verified": Kind(_LOG_USED, "R"),
    "audit.exported": Kind(_LOG_USED, "R"),
    "audit.restored": Kind(_ALERT, "E", ("110132", "Use of Restricted Function"), MINOR),
    "audit.purged": Kind(_ALERT, "E", _CHANGED),
    "audit.broken": Kind(_ALERT, "E", _CHANGED, SERIOUS),
}
OTHER = Kind(_ACTIVITY, "E")  # what an event without a message is, to those who take every event


def outcome(event: Event) -> tuple[str, str]:
    """The EventOutcomeIndicator, and why it is no success."""
    if event.type == "audit.verified" and event.body.get("broken"):
        return SERIOUS, str(event.body["broken"])
    indicator = KINDS.get(event.type, OTHER).outcome
    why = event.body.get("reason") or event.body.get("why") or ""
    return indicator, "" if indicator == SUCCESS else str(why)


def patients_of(event: Event, known: Patients) -> Sequence[str]:
    """The digests of the patients whom an event concerns: those that it says itself, or else those `known` of its
    study."""
    noun, _, name = event.object.partition("/")
    if noun == "patient":
        return (name,)
    return event.body.get("patients") or (known(name) if noun == "study" else ())


def message(event: Event, ae_title: str, known: Patients) -> str | None:
    """The message of an event, or None where its type has none. `known`: see `patients_of`."""
    kind = KINDS.get(event.type)
    if kind is None:
        return None
    indicator, why = outcome(event)
    root = Element("AuditMessage")
    about = SubElement(root, "EventIdentification", {
        "EventActionCode": kind.action, "EventDateTime": event.at, "EventOutcomeIndicator": indicator,
    })  # fmt: skip
    _code(about, "EventID", kind.event)
    if kind.type is not None:
        _code(about, "EventTypeCode", kind.type)
    if why:
        SubElement(about, "EventOutcomeDescription").text = why
    _participants(root, event, kind, ae_title)
    source = SubElement(root, "AuditSourceIdentification", {"AuditSourceID": ae_title})
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server process
    noun, _, name = event.object.partition("/")
    if noun == "study":
        _study(root, name, event.body)
    elif kind.event == _LOG_USED:
        _object(root, "overread:audit", ("2", "13"), ("12", "URI", "RFC-3881"), "Security Audit Log")
    elif kind.event == _ALERT:
        alert = _object(root, event.object, ("2", "12"), ("12", "URI", "RFC-3881"), event.type)
        said = b64encode(sentence(event).encode()).decode()
        SubElement(alert, "ParticipantObjectDetail", {"type": "Alert Description", "value": said})
    for digest in patients_of(event, known):
        _object(root, digest, ("1", "1"), ("2", "Patient Number", "RFC-3881"), "salted digest")
    return _NOT_XML.sub(" ", tostring(root, encoding="unicode"))


def _participants(root: Element, event: Event, kind: Kind, ae_title: str) -> None:
    """Who took part: the peer and we, in the order of the transfer; or a person, or a loop of the node, and we."""
    body = event.body
    transfer = kind.event in (_BEGIN, _TRANSFERRED)
    if transfer:
        outward = event.type.startswith("delivery.")
        peer = str(body.get("peer") or ", ".join(body.get("senders", ())) or "unknown")
        _participant(root, ae_title if outward else peer, True, _SOURCE)
        _participant(root, peer if outward else ae_title, False, _DESTINATION)
        return
    caller = body.get("calling_ae") or body.get("address")
    if kind.type == _NODE:
        address = str(body.get("address", ""))
        _participant(root, str(caller or "unknown"), True, None, address)
    elif event.actor.startswith("user/") or body.get("by"):
        _participant(root, str(body.get("by") or event.actor), True)
    else:
        _participant(root, f"{ae_title}/{event.actor}", True, _LAUNCHER if kind.event == _ACTIVITY else None)
    _participant(root, ae_title, False, _APPLICATION)


def _participant(root: Element, user: str, requestor: bool, role: Code | None = None, address: str = "") -> None:
    given = {"UserID": user, "UserIsRequestor": "true" if requestor else "false"}
    if address:
        given |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}
    one = SubElement(root, "ActiveParticipant", given)
    if role is not None:
        _code(one, "RoleIDCode", role)


def _study(root: Element, uid: str, body: Mapping[str, Any]) -> None:
    one = _object(root, uid, ("2", "3"), ("110180", "Study Instance UID", "DCM"), "Study Instance UID")
    classes: dict[str, int] = dict(body.get("sop_classes", {}))
    for output in (body.get("outputs") or {}).values():
        classes[output["sop_class"]] = classes.get(output["sop_class"], 0) + int(output["instances"])
    counted = [{"UID": sop_class, "NumberOfInstances": str(count)} for sop_class, count in classes.items()]
    if not counted and isinstance(body.get("instances"), int):
        counted = [{"NumberOfInstances": str(body["instances"])}]
    if counted:
        described = SubElement(one, "ParticipantObjectDescription")
        for each in counted:
            SubElement(described, "SOPClass", each)


def _object(root: Element, key: str, kind: tuple[str, str], type_: tuple[str, str, str], name: str) -> Element:
    one = SubElement(root, "ParticipantObjectIdentification", {
        "ParticipantObjectID": key, "ParticipantObjectTypeCode": kind[0], "ParticipantObjectTypeCodeRole": kind[1],
    })  # fmt: skip
    SubElement(one, "ParticipantObjectIDTypeCode", {
        "csd-code": type_[0], "codeSystemName": type_[2], "originalText": type_[1],
    })  # fmt: skip
    SubElement(one, "ParticipantObjectName").text = name
    return one


def _code(parent: Element, tag: str, code: Code) -> None:
    SubElement(parent, tag, {"csd-code": code[0], "codeSystemName": "DCM", "originalText": code[1]})
