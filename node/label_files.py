"""Reads labels from a CSV file (RFC 4180): accession or study UID, finding, value, date, source; a row each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node import labels
from node.errors import ConfigError
from node.labels import NewLabel

LARGEST = 64 << 20  # bytes
MOST_FAULTS = 20  # that are named
_COLUMNS = {
    "accession": "accession", "accession number": "accession", "accessionnumber": "accession",
    "study": "study", "study uid": "study", "studyinstanceuid": "study", "study instance uid": "study",
    "finding": "finding", "value": "value", "date": "date", "source": "source",
}  # fmt: skip
_WANTED = "want a line of headings with accession or study, finding, value, date and source"


@dataclass(frozen=True)
class Fault:
    """A line that is no label, and why; nothing of what stands in it, which may name a patient."""

    line: int
    reason: str


def read(path: Path) -> tuple[list[NewLabel], list[Fault]]:
    """The labels of a file, and its lines that are none. Raises ConfigError where it is no such file at all."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})") from error
    if len(content) > LARGEST:
        raise ConfigError(str(path), f"is larger than {LARGEST >> 20} MiB; split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}", "is not UTF-8") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> tuple[list[NewLabel], list[Fault]]:
    """As `read`, from the text of a file called `name`; cells are parted by commas, or by semicolons if its first line
    is. Raises ConfigError."""
    if "\0" in text:
        raise ConfigError(f"{name}, line {text[: text.index(chr(0))].count(chr(10)) + 1}", "is not text")
    head = text.partition("\n")[0]
    between = ";" if ";" in head and "," not in head else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    found: list[NewLabel] = []
    faults: list[Fault] = []
    try:
        columns = _columns(next(rows, []), name)
        for line, cells in _lines(rows):
            one = _label(columns, cells)
            if isinstance(one, str):
                faults.append(Fault(line, one))
            else:
                found.append(one)
    except csv.Error as error:
        raise ConfigError(f"{name}, line {rows.line_num}", f"is not CSV ({error})") from error
    return found, faults


def _lines(rows: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the number of the line on which each begins."""
    begins = rows.line_num + 1
    for cells in rows:
        if any(cell.strip() for cell in cells):
            yield begins, cells
        begins = rows.line_num + 1


def _columns(heads: list[str], name: str) -> Mapping[str, int]:
    columns: dict[str, int] = {}
    for at, head in enumerate(heads):
        key = _COLUMNS.get(" ".join(head.strip().lower().replace("_", " ").replace("-", " ").split()))
        if key is None:
            raise ConfigError(f"{name}, line 1", f"column {at + 1} has no known heading; {_WANTED}")
        if key in columns:
            raise ConfigError(f"{name}, line 1", f"two columns are headed {key}")
        columns[key] = at
    lacking = [key for key in ("finding", "value", "date", "source") if key not in columns]
    if lacking or not {"accession", "study"} & set(columns):
        raise ConfigError(f"{name}, line 1", _WANTED)
    return columns


def _label(columns: Mapping[str, int], cells: list[str]) -> NewLabel | str:
    """The label of a row, or why it is none."""
    if len(cells) != len(columns):
        return f"has {len(cells)} cells and not {len(columns)}"
    cell = {key: cells[at].strip() for key, at in columns.items()}
    study, accession = cell.get("study", ""), cell.get("accession", "")
    if study and not labels.is_study(study):
        return "the study UID is not one"
    if not study and not labels.is_accession(accession):
        return "has neither a study UID nor an accession number"
    finding, value = labels.finding_of(cell["finding"]), labels.value_of(cell["value"])
    withdrawn = cell["value"].lower() == labels.WITHDRAWN
    day, source = labels.date_of(cell["date"]), labels.source_of(cell["source"])
    if finding is None:
        return "the finding is not 1 to 64 letters, digits, blanks, '-', '_' or '/'"
    if value is None and not withdrawn:
        return f"the value is not {labels.VALUES}"
    if day is None:
        return "the date is not YYYY-MM-DD"
    if source is None or source == labels.MATURITY:
        return "the source is not 1 to 64 letters, digits, blanks, '-', '_', '/' or '.', or it is 'maturity'"
    return NewLabel(study or accession, "study" if study else "accession", finding, value, day, source)
