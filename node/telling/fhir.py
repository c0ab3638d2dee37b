"""Events as FHIR R4 AuditEvent resources (hl7.org/fhir/R4/auditevent.html), plain data for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.audit import TYPES, Event
from node.telling.atna import KINDS, SUCCESS, Kind

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE = "http://terminology.hl7.org/CodeSystem/security-source-type"
_OURS = "urn:overread:event-type"
_OTHER = Kind(("110100", "Application Activity"), "E")


def resource(event: Event, ae_title: str, patients: Sequence[str] = ()) -> dict[str, Any]:
    """One event. Its number and hash stand in it, so that it can be held against the log. `patients`: see
    node.telling.atna.message."""
    kind = KINDS.get(event.type, _OTHER)
    person = event.body.get("by") or (event.actor if event.actor.startswith("user/") else None)
    agents: list[dict[str, Any]] = [{"who": {"display": ae_title}, "altId": event.actor, "requestor": person is None}]
    if person is not None:
        agents.insert(0, {"who": {"display": str(person)}, "requestor": True})
    peer = event.body.get("peer") or event.body.get("calling_ae")
    if peer:
        agents.append({"who": {"display": str(peer)}, "requestor": False})
        if event.body.get("address"):
            agents[-1]["network"] = {"address": str(event.body["address"]), "type": "2"}
    made: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"event-{event.seq}",
        "type": {"system": _DCM, "code": kind.event[0], "display": kind.event[1]},
        "subtype": [{"system": _OURS, "code": event.type, "display": TYPES.get(event.type, event.type)[:200]}],
        "action": kind.action,
        "recorded": event.at,
        "outcome": kind.outcome,
        "agent": agents,
        "source": {"observer": {"display": ae_title}, "type": [{"system": _SOURCE, "code": "4"}]},
        "entity": _entities(event, patients),
    }
    if kind.outcome != SUCCESS and event.body.get("reason"):
        made["outcomeDesc"] = str(event.body["reason"])
    return made


def _entities(event: Event, patients: Sequence[str]) -> list[dict[str, Any]]:
    noun, _, name = event.object.partition("/")
    detail = [{"type": "hash", "valueString": event.hash}, {"type": "prev_hash", "valueString": event.prev_hash}]
    found: list[dict[str, Any]] = [{
        "what": {"identifier": {"value": event.object}},
        "type": {"system": _ENTITY, "code": "2", "display": "System Object"}, "detail": detail,
    }]  # fmt: skip
    if noun == "study":
        found[0]["what"] = {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{name}"}}
        found[0]["role"] = {"system": _ROLE, "code": "3", "display": "Report"}
    digests = [name] if noun == "patient" else event.body.get("patients", patients if noun == "study" else ())
    for digest in digests:
        found.append({
            "what": {"identifier": {"system": "urn:overread:patient-digest", "value": str(digest)}},
            "type": {"system": _ENTITY, "code": "1", "display": "Person"},
            "role": {"system": _ROLE, "code": "1", "display": "Patient"},
        })  # fmt: skip
    return found
