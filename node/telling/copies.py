"""The log written out: a table, JSON lines, DICOM audit messages, FHIR resources; one line for each event."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args

from node.audit import Event, canonical
from node.telling import atna, fhir

Format = Literal["csv", "jsonl", "atna", "fhir"]
FORMATS: tuple[str, ...] = get_args(Format)
_COLUMNS = ("seq", "at", "type", "actor", "object", "body", "prev_hash", "hash")


def lines(events: Iterable[Event], form: str, ae_title: str, known: atna.Patients) -> Iterator[str]:
    """The lines of a copy, without their ends; of `atna` those events only that have a message. `known`: see
    node.telling.atna.patients_of."""
    if form == "csv":
        yield _row(_COLUMNS)
    for event in events:
        if form == "csv":
            row = (event.seq, event.at, event.type, event.actor, event.object, canonical(event.body))
            yield _row((*map(str, row), event.prev_hash, event.hash))
        elif form == "jsonl":
            yield json.dumps(vars(event), separators=(",", ":"), ensure_ascii=False)
        elif form == "fhir":
            yield json.dumps(fhir.resource(event, ae_title, known), separators=(",", ":"), ensure_ascii=False)
        else:
            text = atna.message(event, ae_title, known)
            if text is not None:
                yield text


def _row(values: Sequence[str]) -> str:
    # A cell that begins like a formula is not to be run by a spreadsheet.
    safe = [f"'{value}" if value[:1] in ("=", "+", "-", "@") else value for value in values]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(safe)
    return text.getvalue()
