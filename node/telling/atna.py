"""Events as DICOM audit messages (PS3.15, A.5), as XML without a declaration.

Patients are named by the salted digests of the log, never by their identifiers. What has no message of its own in A.5.3
and concerns nobody's images (a lease, a head, a retry) has none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from node.audit import Event

Code = tuple[str, str]  # value and meaning, of DCM
_ACTIVITY: Code = ("110100", "Application Activity")
_LOG_USED: Code = ("110101", "Audit Log Used")
_BEGIN: Code = ("110102", "Begin Transferring DICOM Instances")
_ACCESSED: Code = ("110103", "DICOM Instances Accessed")
_TRANSFERRED: Code = ("110104", "DICOM Instances Transferred")
_DELETED: Code = ("110105", "DICOM Study Deleted")
_IMPORT: Code = ("110107", "Import")
_PATIENT: Code = ("110110", "Patient Record")
_ALERT: Code = ("110113", "Security Alert")
_SOURCE: Code = ("110153", "Source Role ID")
_DESTINATION: Code = ("110152", "Destination Role ID")
_APPLICATION: Code = ("110150", "Application")
_SOFTWARE: Code = ("110131", "Software Configuration")
_NODE: Code = ("110126", "Node Authentication")
SUCCESS, MINOR, SERIOUS = "0", "4", "8"


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
    "label.added": Kind(_IMPORT, "C"),
    "label.withdrawn": Kind(_ACCESSED, "U"),
    "patient.erased": Kind(_PATIENT, "D"),
    "audit.verified": Kind(_LOG_USED, "R"),
    "audit.exported": Kind(_LOG_USED, "R"),
    "audit.broken": Kind(_ALERT, "E", ("110135", "Object Security Attributes Changed"), SERIOUS),
}


def message(event: Event, ae_title: str, patients: Sequence[str] = ()) -> str | None:
    """The message of an event, or None where its type has none. `patients`: digests, where the event does not say them
    itself and its study is known."""
    kind = KINDS.get(event.type)
    if kind is None:
        return None
    body = event.body
    root = Element("AuditMessage")
    bad = event.type in ("audit.verified",) and body.get("broken")
    about = SubElement(root, "EventIdentification", {
        "EventActionCode": kind.action, "EventDateTime": event.at,
        "EventOutcomeIndicator": SERIOUS if bad else kind.outcome,
    })  # fmt: skip
    _code(about, "EventID", kind.event)
    if kind.type is not None:
        _code(about, "EventTypeCode", kind.type)
    why = body.get("reason") or body.get("why")
    if why and kind.outcome != SUCCESS:
        SubElement(about, "EventOutcomeDescription").text = str(why)
    _participants(root, event, kind, ae_title)
    source = SubElement(root, "AuditSourceIdentification", {"AuditSourceID": ae_title})
    SubElement(source, "AuditSourceTypeCode", {"code": "4"})  # an application server process
    noun, _, name = event.object.partition("/")
    if noun == "study":
        _study(root, name, body)
    elif kind.event == _LOG_USED:
        _object(root, "overread:audit", ("2", "13"), ("12", "URI", "RFC-3881"), "Security Audit Log")
    elif kind.event == _ALERT:
        _object(root, event.object, ("2", "12"), ("12", "URI", "RFC-3881"), event.type)
    digests = [name] if noun == "patient" else body.get("patients", patients if noun == "study" else ())
    for digest in digests:
        _object(root, str(digest), ("1", "1"), ("2", "Patient Number", "RFC-3881"), "salted digest")
    return tostring(root, encoding="unicode")


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
        _participant(root, f"{ae_title}/{event.actor}", True)
    _participant(root, ae_title, False, _APPLICATION)


def _participant(root: Element, user: str, requestor: bool, role: Code | None = None, address: str = "") -> None:
    given = {"UserID": user, "UserIsRequestor": "true" if requestor else "false"}
    if address:
        given |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}
    one = SubElement(root, "ActiveParticipant", given)
    if role is not None:
        _code(one, "RoleIDCode", role)


def _study(root: Element, uid: str, body: Any) -> None:
    one = _object(root, uid, ("2", "3"), ("110180", "Study Instance UID", "DCM"), "Study Instance UID")
    classes: dict[str, int] = dict(body.get("sop_classes", {}))
    for output in (body.get("outputs") or {}).values():
        classes[output["sop_class"]] = classes.get(output["sop_class"], 0) + int(output["instances"])
    for sop_class, count in classes.items():
        SubElement(one, "SOPClass", {"UID": sop_class, "NumberOfInstances": str(count)})
    if not classes and isinstance(body.get("instances"), int):
        SubElement(one, "SOPClass", {"NumberOfInstances": str(body["instances"])})


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
