"""Who the patients are, beside the log: kept when their study is closed, erased when somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from node import audit, persons
from node.errors import GiveUp
from node.persons import Person
from node.schema import patients
from node.store.base import Base


class Patients(Base):
    """What is written of persons."""

    def remember_patient(self, study_uid: str, found: Sequence[Person]) -> None:
        """Keep who the patients of a study are; `close_study` does so by itself."""
        digested = [(self.patient_digest(one.patient_id, one.issuer), one) for one in found]
        with self._write() as connection:
            persons.remember(connection, study_uid, digested, self.clock())

    def erase_patient(self, patient_id: str, by: str, why: str) -> int:
        """Erase who this patient is, of whichever issuer; the log keeps its digests and still holds. Return how many
        rows went. Raises GiveUp where there is none."""
        if not patient_id.strip():
            raise GiveUp("an empty PatientID names nobody")
        this = patients.c.patient_id == patient_id.strip()
        with self._write() as connection:
            rows = connection.execute(sa.select(patients.c.digest, patients.c.study_uid).where(this)).all()
            if not rows:
                raise GiveUp("no study of this PatientID is known, or it is erased already")
            connection.execute(patients.delete().where(this))
            for digest in sorted({row.digest for row in rows}):
                studies = sorted({row.study_uid for row in rows if row.digest == digest})
                body = {"digest": digest, "rows": sum(row.digest == digest for row in rows), "studies": studies,
                        "by": by, "why": why}  # fmt: skip
                audit.append(connection, self.clock(), "patient.erased", f"user/{by}", f"patient/{digest}", body)
        return len(rows)
