"""The SCU side: echo a peer, and store instances at it with its answer for each one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from node.config import Config, Peer
from node.errors import GiveUp, TryAgain
from node.part10 import Head, read_head
from node.peers.requestor import MOST_CONTEXTS, Offer, Requestor
from node.peers.statuses import classify

__all__ = ["Answer", "Echo", "echo", "store"]

_VERIFICATION: Offer = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")


@dataclass(frozen=True)
class Echo:
    """Whether a peer answered a C-ECHO, after how many seconds, and one line when it did not."""

    ok: bool
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of one file. `status`: the DIMSE status, None when it was not even sent."""

    path: Path
    sop_uid: str
    status: int | None
    reason: str
    stored: bool
    final: bool  # trying again cannot change it


def echo(config: Config, peer: Peer) -> Echo:
    """C-ECHO to `peer`; never raises for what a network can do."""
    began = time.perf_counter()
    try:
        with Requestor(config.node, peer, [_VERIFICATION]) as association:
            if not association.takes(_VERIFICATION):
                reason = f"{peer.name} takes the association but not the Verification SOP class"
                return Echo(False, time.perf_counter() - began, reason)
            status = association.echo(_VERIFICATION)
    except TryAgain as error:
        return Echo(False, time.perf_counter() - began, error.reason)
    return Echo(status == 0, time.perf_counter() - began, "" if status == 0 else f"status 0x{status:04X}")


def store(config: Config, peer: Peer, files: Sequence[Path]) -> Iterator[Answer]:
    """C-STORE `files` at `peer` and yield the answer for each, in any order.

    Datasets go out as they lie in the files. One association carries up to 128 pairs of SOP class and transfer
    syntax; more take a second one. Raises TryAgain when the peer is away or the association breaks: what was
    yielded before still holds.
    """
    heads: dict[Path, Head] = {}
    for path in files:
        try:
            heads[path] = read_head(path)
        except GiveUp as error:
            yield Answer(path, "", None, error.reason, stored=False, final=True)
    offers = list(dict.fromkeys((head.sop_class, head.transfer_syntax) for head in heads.values()))
    for start in range(0, len(offers), MOST_CONTEXTS):
        some = offers[start : start + MOST_CONTEXTS]
        with Requestor(config.node, peer, some) as association:
            for path, head in heads.items():
                if (head.sop_class, head.transfer_syntax) in some:
                    yield _store_one(association, peer, path, head)


def _store_one(association: Requestor, peer: Peer, path: Path, head: Head) -> Answer:
    offer = (head.sop_class, head.transfer_syntax)
    if not association.takes(offer):
        reason = f"{peer.name} does not take {UID(head.sop_class).name} as {UID(head.transfer_syntax).name}"
        return Answer(path, head.sop_uid, None, reason, stored=False, final=True)
    status, comment = association.store(offer, head.sop_uid, path, head.offset)
    meaning, words = classify(status)
    reason = "" if status == 0 else f"0x{status:04X} {words}" + (f" ({comment})" if comment else "")
    return Answer(path, head.sop_uid, status, reason, stored=meaning == "stored", final=meaning != "again")
