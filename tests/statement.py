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
