"""Reads the conformance statement's tables and headings, and the facts of the code that stand in its syntax tree."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from node import dimse

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, str]
# PS3.2 2025a, Annex N, down to the sections that every statement has
OUTLINE = """1 Overview/1.1 Content and transfer/1.1.1 Structured reporting root template IDs/1.2 DIMSE services
1.3 DICOM web services/1.4 Media services/1.5 Real-time video services/1.6 De-identification profiles
1.7 Specific Character Sets/2 Table of contents/3 Introduction/3.1 Revision history/3.2 Audience/3.3 Remarks
3.4 Terms and definitions/3.5 Abbreviations/3.6 References/4 Implementation model
4.1 Application entities and data flow/4.1.1 Functional definition of OVERREAD
5 Service and interoperability description/5.1 Mapping of services to application entities/5.2 DIMSE services
5.2.1 Basic Worklist Management service/5.2.2 Modality Performed Procedure Step service
5.2.3 Unified Worklist and Procedure Step service/5.2.4 Instance Availability Notification service
5.2.5 Storage service/5.2.5.1 SCU of the Storage SOP classes/5.2.5.2 SCP of the Storage SOP classes
5.2.6 Storage Commitment service/5.2.6.1 SCU of the Storage Commitment SOP class
5.2.6.2 SCP of the Storage Commitment SOP class/5.2.7 Query/Retrieve service/5.2.8 Print Management service
5.3 DICOM web services/5.4 Media services/5.5 Real-time video services/5.6 Cross-service considerations
5.7 Specific Character Sets/6 Configuration/6.1 General configuration parameters/6.2 Configuration of DIMSE services
6.3 Configuration of DICOM web services/6.4 Configuration of media services
6.5 Configuration of real-time video services/6.6 Configuration of audit trail
7 Network and media communication details/7.1 General/7.1.1 General association parameters/7.2 Specifications
7.2.1 OVERREAD application entity/7.2.1.1 Sequencing of real-world activities/7.2.1.2 Association parameters
7.2.1.3 Association initiation policy/7.2.1.4 Association acceptance policy/7.3 Status codes
7.3.1 General AE communication and failure behaviour
7.3.1.1 Communication failure behaviour as association initiator
7.3.1.2 Communication failure handling as association acceptor/7.3.2 DIMSE services/7.3.2.5 Storage service
7.3.2.6 Storage Commitment service/7.3.3 DICOM web services/8 Security/8.1 Introduction
8.2 External network requirements/8.3 TCP port configuration/8.4 DICOM security profiles support
8.5 User identity negotiation support/8.6 Web services security features/8.7 Other security features
Annex A.A Information Object Definitions/Annex A.B Structured report content encoding/Annex A.C Security details
Annex A.D Mapping of attributes/Annex A.E Code set usage"""


@dataclass(frozen=True)
class Statement:
    """The document, in Markdown. A table follows a line such as `**Table 7-1: association parameters**`."""

    text: str

    @cached_property
    def tables(self) -> dict[str, list[Row]]:
        """Number of the table -> its rows, each a mapping from the column's heading to the cell."""
        found = {}
        for number, body in re.findall(r"^\*\*Table ([\w-]+): .*\*\*\n\n((?:\|.*\n)+)", self.text, re.M):
            heads, _, *rows = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
                               for line in body.splitlines()]  # fmt: skip
            assert number not in found, f"two tables {number}"
            assert all(len(row) == len(heads) for row in rows), f"table {number}: a row has another number of cells"
            found[number] = [dict(zip(heads, row, strict=True)) for row in rows]
        return found

    def column(self, number: str, name: str) -> list[str]:
        """The cells of one column that are not empty."""
        return [row[name] for row in self.tables[number] if row[name]]

    def statuses(self, *numbers: str) -> set[int]:
        """The status codes of some tables."""
        return {int(code, 16) for number in numbers for code in self.column(number, "status code")}

    @cached_property
    def headings(self) -> list[str]:
        """In order, without their marks; the title is left out."""
        outside = re.sub(r"^```.*?^```", "", self.text, flags=re.M | re.S)
        return re.findall(r"^##+ (.*)$", outside, re.M)

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name behind `#`."""
        return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in self.headings}


def read() -> Statement:
    """The statement of this source tree."""
    return Statement((ROOT / "docs/conformance.md").read_text(encoding="utf-8"))


def outline() -> list[str]:
    """The headings of the template, in order."""
    return [one for one in re.split(r"\n|/(?=[0-9A])", OUTLINE) if one]


def codes_of(text: str) -> list[tuple[int, int]]:
    """`0x0000, 0xA700 to 0xA7FF` as pairs of first and last."""
    found = re.findall(r"0x([0-9A-F]{4})(?: to 0x([0-9A-F]{4}))?", text)
    return [(int(first, 16), int(last or first, 16)) for first, last in found]


def _nodes(*places: str) -> Iterator[ast.AST]:
    for place in places:
        path = ROOT / place
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def statuses_in(*places: str) -> set[int]:
    """The status codes of node.dimse that modules name; `places`: files and folders of the source tree."""
    shown = {name for name, value in vars(dimse).items() if name.isupper() and isinstance(value, int)}
    no_status = {name for name in shown if name.endswith("_RQ")} | {
        "RESPONSE", "NO_DATASET", "COMMAND", "LAST", "LONGEST_COMMAND"}  # fmt: skip
    return {
        getattr(dimse, node.attr) for node in _nodes(*places)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dimse"
        and node.attr in shown - no_status
    }  # fmt: skip


def numbers_given_to(name: str, *places: str) -> list[list[int]]:
    """The whole numbers among the arguments of each call of a class or function."""
    return [
        [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, int)]
        for node in _nodes(*places)
        if isinstance(node, ast.Call)
        and (node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")) == name
    ]


def standard_uids_in(*places: str) -> set[str]:
    """The UIDs of the standard that modules write down, or take from a library or another module of ours by name."""
    found = set()
    for node in _nodes(*places):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {str(getattr(importlib.import_module(node.module), one.name, "")) for one in node.names}
    return {uid for uid in found if re.fullmatch(r"1\.2\.840\.10008(\.\d+)+", uid)}
