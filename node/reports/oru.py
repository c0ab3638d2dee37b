"""An unsolicited observation (HL7 v2 ORU^R01, 7.3.1) as labels: coded findings by the table of the configuration.

An OBX speaks of a finding where OBX-3 is in the table and OBX-5 says yes or no, or where OBX-5 itself is a code of the
table: then it is there. Free text is not read. Only final and corrected observations count (OBX-11 or OBR-25).

What was said before is withdrawn by an observation that is deleted or was wrong (OBX-11 D or W), by a corrected one
that says neither yes nor no, by the value "" (2.5.3), and by an order that is cancelled (OBR-25, ORC-1, ORC-5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node import labels
from node.labels import NewLabel
from node.report_sections import Hl7
from node.reports.hl7 import Message

# HL7 tables 0085 and 0123: final; corrected. 0085: deletes the observation; was wrong, such as of another patient
_FINAL, _CORRECTED, _GONE = ("F", "C"), "C", ("D", "W")
_CANCELLED = "X"  # 0123: no results available, the order is cancelled
_CANCELS = ("CA", "CR", "OC")  # 0119: cancel; cancelled as requested; was cancelled
_CODED = ("CE", "CWE", "CNE", "CF", "ID", "IS")


class Declined(Exception):
    """Not a message that we take. `code`: AE (its content) or AR (its kind); the text says why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Order:
    """One OBR with what belongs to it."""

    obr: str
    orc: str
    observations: tuple[str, ...]
    study_uid: str  # of ZDS or IPC; empty: not said


def check(message: Message) -> None:
    """Raises Declined for what is not an ORU^R01 of a productive system, in a version that we read."""
    head = message.segments[0]
    kind = message.components(head, 9, 2)[:2]
    if kind != ["ORU", "R01"]:
        raise Declined("AR", "message type is not ORU^R01")
    if message.value(head, 11) not in ("P", ""):
        raise Declined("AR", "processing ID is not P")
    if not message.value(head, 12).startswith("2."):
        raise Declined("AR", "version is not 2.x")
    if not message.value(head, 10):
        raise Declined("AR", "no message control ID")


def labels_of(message: Message, section: Hl7) -> list[NewLabel]:
    """The labels of a message that passed `check`, each finding of an order once: there, if any observation says so;
    withdrawn, if one takes it back and none says more. Raises Declined where findings are reported and no study is
    named."""
    found: list[NewLabel] = []
    for order in _orders(message):
        said = _said(message, order, section)
        if not said:
            continue
        named = _named(message, order, section)
        if named is None:
            raise Declined("AE", f"neither {section.accession} nor ZDS-1 nor IPC-3 names the study")
        study, by = named
        when = _when(message, order)
        found += [NewLabel(study, by, finding, value, when, section.source)  # type: ignore[arg-type]
                  for finding, value in said.items()]  # fmt: skip
    return found


def _orders(message: Message) -> Iterator[Order]:
    """Groups of ORC, OBR and OBX; a ZDS or IPC behind the last group of a message with one group belongs to it."""
    orc, obr, observations, uid = "", "", list[str](), ""
    for segment in message.segments:
        name = segment[:3]
        if name in ("ORC", "OBR") and obr:
            yield Order(obr, orc, tuple(observations), uid)
            orc, obr, observations, uid = "", "", [], ""
        if name == "ORC":
            orc = segment
        elif name == "OBR":
            obr = segment
        elif name == "OBX":
            observations.append(segment)
        elif name in ("ZDS", "IPC"):
            uid = uid or message.value(segment, 1 if name == "ZDS" else 3)
    if obr:
        yield Order(obr, orc, tuple(observations), uid)


def _said(message: Message, order: Order, section: Hl7) -> dict[str, bool | None]:
    """Finding -> whether it is there; None: it is withdrawn."""
    said: dict[str, bool | None] = {}
    spoken_of: set[str] = set()
    for observation in order.observations:
        finding, value = _says(message, observation, section)
        if finding is None:
            continue
        spoken_of.add(finding)
        status = message.value(observation, 11) or message.value(order.obr, 25)
        if status in _FINAL and value is not None:
            said[finding] = bool(said.get(finding)) or value
        elif status in (*_GONE, _CORRECTED) or (status in _FINAL and message.field(observation, 5) == '""'):
            said.setdefault(finding, None)
    if _is_cancelled(message, order):
        return dict.fromkeys(sorted(spoken_of or set(section.findings.values())))
    return said


def _is_cancelled(message: Message, order: Order) -> bool:
    return (message.value(order.obr, 25) == _CANCELLED or message.value(order.orc, 1) in _CANCELS
            or message.value(order.orc, 5) == "CA")  # fmt: skip


def _says(message: Message, observation: str, section: Hl7) -> tuple[str | None, bool | None]:
    """The finding that an observation speaks of, None: none of the table; and whether it is there, None: not said."""
    asked = _finding(message.components(observation, 3, 6), section)
    components = message.components(observation, 5, 6)
    if asked is not None:
        said = (labels.value_of(word) for word in (components[0], components[1], components[3]))
        return asked, next((value for value in said if value is not None), None)
    named = _finding(components, section) if message.value(observation, 2) in _CODED else None
    return named, None if named is None else True


def _finding(coded: list[str], section: Hl7) -> str | None:
    """Of a coded element: by its code and system, by its code alone, or by its alternate."""
    for code, system in ((coded[0], coded[2]), (coded[3], coded[5])):
        if code:
            found = section.findings.get(f"{code}^{system}") or section.findings.get(code)
            if found is not None:
                return found
    return None


def _named(message: Message, order: Order, section: Hl7) -> tuple[str, str] | None:
    """How the message names the study: (UID, "study") or (accession number, "accession")."""
    if order.study_uid:
        return (order.study_uid, "study") if labels.is_study(order.study_uid) else None
    segment, _, number = section.accession.partition("-")
    accession = message.value(order.obr if segment == "OBR" else order.orc, int(number))
    return (accession, "accession") if accession and labels.is_accession(accession) else None


def _when(message: Message, order: Order) -> str:
    """When it was reported: OBR-22, or of the message; empty where neither is a date."""
    for segment, number in ((order.obr, 22), (message.segments[0], 7)):
        moment = labels.moment_of(message.value(segment, number))
        if moment is not None:
            return moment
    return ""
