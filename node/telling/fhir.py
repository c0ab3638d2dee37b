"""Events as FHIR R4 AuditEvent resources (hl7.org/fhir/R4/auditevent.html), plain data for JSON."""

from __future__ import annotations

from typing import Any

from node.audit import TYPES, Event
from node.telling.atna import KINDS, OTHER, Patients, outcome, patients_of

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE = "http://terminology.hl7.org/CodeSystem/security-source-type"
_OURS = "urn:overread:event-type"


def resource(event: Event, ae_title: str, known: Patients) -> dict[str, Any]:
    """One event. Its number and hash stand in it, so that it can be held against the log. `known`: see
    node.telling.atna.patients_of."""
    kind = KINDS.get(event.type, OTHER)
    indicator, why = outcome(event)
    person = event.body.get("by") or (event.actor if event.actor.startswith("user/") else None)
    agents: list[dict[str, Any]] = [{"who": {"display": ae_title}, "altId": event.actor, "requestor": person is None}]
    if person is not None:
        agents.insert(0, {"who": {"display": str(person)}, "requestor": True})
    peer = event.body.get("peer") or event.body.get("calling_ae")
    if peer:
        agents.append({"who": {"display": str(peer)}, "requestor": False})
        if event.body.get("address"):
            agents[-1]["network"] = {"address": str(event.body["address"]), "type": "2"}
    meaning = TYPES.get(event.type, event.type).partition("; body:")[0]
    made: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"event-{event.seq}",
        "type": {"system": _DCM, "code": kind.event[0], "display": kind.event[1]},
        "subtype": [{"system": _OURS, "code": event.type, "display": meaning}],
        "action": kind.action,
        "recorded": event.at,
        "outcome": indicator,
        "agent": agents,
        "source": {"observer": {"display": ae_title}, "type": [{"system": _SOURCE, "code": "4"}]},
        "entity": _entities(event, known),
    }
    if why:
        made["outcomeDesc"] = why
    return made


def _entities(event: Event, known: Patients) -> list[dict[str, Any]]:
    noun, _, name = event.object.partition("/")
    detail = [{"type": "hash", "valueString": event.hash}, {"type": "prev_hash", "valueString": event.prev_hash}]
    found: list[dict[str, Any]] = [{
        "what": {"identifier": {"value": event.object}},
        "type": {"system": _ENTITY, "code": "2", "display": "System Object"}, "detail": detail,
    }]  # fmt: skip
    if noun == "study":
        found[0]["what"] = {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{name}"}}
        found[0]["role"] = {"system": _ROLE, "code": "3", "display": "Report"}
    for digest in patients_of(event, known):
        found.append({
            "what": {"identifier": {"system": "urn:overread:patient-digest", "value": digest}},
            "type": {"system": _ENTITY, "code": "1", "display": "Person"},
            "role": {"system": _ROLE, "code": "1", "display": "Patient"},
        })  # fmt: skip
    return found
