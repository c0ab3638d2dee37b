"""Who the patient of a study is: the words of its headers that stand beside the audit log, and nowhere else."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from node.schema import patients

KEYWORDS = ("AccessionNumber", "IssuerOfPatientID", "PatientID", "PatientName", "StudyDate")
_LONGEST = 1024  # characters that are kept of each


@dataclass(frozen=True)
class Person:
    """What one header says; absent is empty. Texts are stripped. It never shows itself: its parts are patient data."""

    patient_id: str = field(repr=False)
    issuer: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    study_date: str = field(default="", repr=False)


def of_headers(headers: Iterable[Mapping[str, Sequence[str]]]) -> tuple[Person, ...]:
    """The different persons of some headers (DICOM keyword -> values), in their order."""
    found = []
    for header in headers:
        accession, issuer, patient_id, name, date = (
            "\\".join(header.get(keyword, ())).strip(" \0")[:_LONGEST].replace("\0", "") for keyword in KEYWORDS
        )
        found.append(Person(patient_id, issuer, name, accession, date))
    return tuple(dict.fromkeys(found))


def remember(
    connection: sa.Connection, study_uid: str, persons: Iterable[tuple[str, Person]], at: float
) -> None:
    """Keep who (digest, person) the patients of a study are. `at`: seconds since the epoch."""
    here = patients.c.study_uid == study_uid
    for digest, one in persons:
        values = {"patient_id": one.patient_id, "issuer": one.issuer, "name": one.name, "study_date": one.study_date}
        same = here & (patients.c.digest == digest) & (patients.c.accession == one.accession)
        changed = connection.execute(patients.update().where(same).values(**values, at=at))
        if not changed.rowcount:
            key = uuid.uuid4().hex
            connection.execute(
                patients.insert().values(
                    id=key, study_uid=study_uid, digest=digest, accession=one.accession, at=at, **values
                )
            )


def studies_of_accession(connection: sa.Connection, accession: str) -> list[str]:
    """StudyInstanceUIDs with this AccessionNumber, oldest first."""
    return _studies(connection, patients.c.accession == accession.strip()) if accession.strip() else []


def studies_of_patient(connection: sa.Connection, patient_id: str) -> list[str]:
    """StudyInstanceUIDs of patients with this PatientID, of whichever issuer, oldest first."""
    return _studies(connection, patients.c.patient_id == patient_id.strip()) if patient_id.strip() else []


def _studies(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    first = sa.func.min(patients.c.at)
    query = sa.select(patients.c.study_uid).where(which).group_by(patients.c.study_uid)
    return list(connection.execute(query.order_by(first, patients.c.study_uid)).scalars())
