"""The spool against its rows: files without a row are swept, rows without their file are told."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.errors import GiveUp
from node.inventory import Inventory, LiveFile
from node.part10 import read_head
from node.spool import Spool, folder_of

_CHUNK = 1 << 20  # bytes


def sweep(spool: Spool, inventory: Inventory, received_before: float, made_before: float) -> list[str]:
    """Delete files that no row knows; return which (paths under the root). Only under Spool.deleting.

    A file counts as abandoned when it was written before `received_before`, or `made_before` for results, which get
    their rows only at the end of their job. Both in seconds since the epoch; they must lie before the sweep began.
    """
    swept: list[str] = []
    for folder, paths in _unknown(spool, inventory):
        swept += spool.delete(paths, received_before if folder.startswith("studies/") else made_before)
    return swept


def strays(spool: Spool, inventory: Inventory) -> Iterator[str]:
    """Files that no row knows. While the node runs, some of them are only about to get their row."""
    for _, paths in _unknown(spool, inventory):
        yield from paths


def _unknown(spool: Spool, inventory: Inventory) -> Iterator[tuple[str, list[str]]]:
    folders = {folder_of(uid): uid for uid in inventory.study_uids()}
    for folder in spool.folders():
        files = spool.files(folder)  # before its rows: what is written meanwhile is not looked at
        uid = folders.get(folder.partition("/")[2])
        known = inventory.known_paths(uid) if uid is not None else set()
        yield folder, [file for file in files if file not in known]


def missing(spool: Spool, inventory: Inventory) -> Iterator[str]:
    """Files of which a row speaks and which are not there."""
    for uid in inventory.study_uids():
        gone = [path for path in inventory.known_paths(uid) if not spool.path(path).exists()]
        # Looked up again: it may have been purged between the two looks.
        yield from (path for path in gone if path in inventory.known_paths(uid))


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a file: `missing`, `changed`, or `stray` (no row knows it)."""

    word: str
    path: str


def verify(spool: Spool, inventory: Inventory) -> Iterator[Verdict | None]:
    """Read every file and hold it against its row: None for each that is as it was written."""
    for uid in inventory.study_uids():
        for one in list(inventory.live_files(uid)):
            word = _fault(spool.path(one.path), one)
            # Looked up again: it may have been purged while we read.
            if word is not None and one.path not in inventory.known_paths(uid):
                continue
            yield None if word is None else Verdict(word, one.path)
    for path in strays(spool, inventory):
        yield Verdict("stray", path)


def _fault(path: Path, row: LiveFile) -> str | None:
    try:
        if os.stat(path).st_size != row.size:
            return "changed"
        offset = 0 if row.result else read_head(path).offset
        return None if _digest(path, offset) == row.digest else "changed"
    except FileNotFoundError:
        return "missing"
    except GiveUp:  # not even a DICOM file any more; or gone since we looked at its size
        return "changed" if path.exists() else "missing"


def _digest(path: Path, offset: int) -> str:
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()
