"""What the routes want with a study that we hold."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.values import convert_string

from node import persons
from node.errors import GiveUp
from node.header import BIG_ENDIAN, IMPLICIT, Unreadable, Value, read_values
from node.modes import Mode
from node.part10 import LONGEST_HEAD, head_of
from node.persons import Person
from node.queries import StoredInstance
from node.routes import Header, Plan, Routes, header_values
from node.spool import Spool
from pipelines.study import UNREADABLE

_CHARACTER_SET = 0x00080005


def plan_of(
    instances: list[StoredInstance], routes: Routes, spool: Spool, stored: Mapping[str, Mode] | None = None
) -> Plan:
    """What the routes want with a study, by the first header of each series. `stored`: the modes that were set."""
    first = {one.series_uid: one for one in reversed(instances)}
    headers = [read_header(spool.path(one.path), routes.keywords) for one in reversed(first.values())]
    return routes.plan(headers, {one.peer for one in instances}, stored)


def persons_of(instances: list[StoredInstance], spool: Spool) -> tuple[Person, ...]:
    """Who the patient of a study is, by the first header of each series. Raises GiveUp and OSError."""
    first = {one.series_uid: one for one in reversed(instances)}
    return persons.of_headers(read_header(spool.path(one.path), persons.KEYWORDS) for one in reversed(first.values()))


def read_header(path: Path, keywords: tuple[str, ...]) -> Header:
    """The values of the keywords in a stored file's header, as text. What cannot be read as its VR counts as absent.

    Read as the listener reads an identity, within bounds: this is done in loops that must not wait for one study.
    Raises GiveUp where the file is none of ours or its header cannot be read so far, and OSError.
    """
    tags = {tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None}
    with path.open("rb", buffering=0) as file:
        head = head_of(file.read(LONGEST_HEAD), path)
        size = os.fstat(file.fileno()).st_size - head.offset

        def read(offset: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, head.offset + offset)

        try:
            found = read_values(read, size, head.transfer_syntax, {_CHARACTER_SET, *tags})
        except Unreadable as error:
            raise GiveUp(str(error)) from error
    dataset = _dataset(found, head.transfer_syntax)
    values: dict[str, Sequence[str]] = {}
    for keyword in keywords:
        with contextlib.suppress(*UNREADABLE):  # pydicom converts late
            values |= header_values(dataset, (keyword,))
    return values


def _dataset(found: Sequence[Value], transfer_syntax: str) -> Dataset:
    implicit, little = transfer_syntax == IMPLICIT, transfer_syntax != BIG_ENDIAN
    dataset = Dataset()
    characters: str | list[str] = default_encoding
    for one in found:
        raw = RawDataElement(BaseTag(one.tag), one.vr or None, len(one.value), one.value, 0, implicit, little)
        if one.tag == _CHARACTER_SET:
            with contextlib.suppress(*UNREADABLE):  # pydicom's default then
                characters = convert_encodings(convert_string(one.value, little))
        elif one.vr != "SQ":
            dataset._dict[raw.tag] = raw
    dataset.set_original_encoding(implicit, little, characters)
    return dataset
