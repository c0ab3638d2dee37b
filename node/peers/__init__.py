"""The SCU side: echo a peer, and store instances at it with its answer for each one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from pydicom.uid import UID

from node.config import Config
from node.errors import GiveUp, TryAgain
from node.part10 import Head, read_head
from node.peers.proposal import MOST_CONTEXTS, Offer
from node.peers.requestor import Requestor
from node.peers.statuses import classify
from node.sections import Peer

__all__ = ["Answer", "Echo", "echo", "store"]

_WORTH_ANOTHER = 32  # instances for which it is worth opening another association
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


def store(config: Config, peer: Peer, files: Sequence[Path]) -> Generator[Answer, None, None]:
    """C-STORE `files` at `peer` and yield the answer for each, in any order.

    Datasets go out as they lie in the files, many of them over as many associations at once as the peer's
    configuration allows. One association carries up to 128 pairs of SOP class and transfer syntax; more take another
    one. Raises TryAgain when the peer is away or the association breaks: what was yielded before still holds. Closed
    early, it finishes the objects that are under way and releases.
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
        waiting = deque((path, head) for path, head in heads.items() if (head.sop_class, head.transfer_syntax) in some)
        count = min(peer.associations, 1 + len(waiting) // _WORTH_ANOTHER)
        yield from (
            _store_all(config, peer, some, waiting)
            if count == 1
            else _store_together(config, peer, some, waiting, count)
        )


_Waiting = deque[tuple[Path, Head]]


def _store_all(config: Config, peer: Peer, offers: Sequence[Offer], waiting: _Waiting) -> Iterator[Answer]:
    """Over one association, until none is waiting."""
    with Requestor(config.node, peer, offers) as association:
        while waiting:
            try:
                path, head = waiting.popleft()
            except IndexError:  # another association was quicker
                return
            yield _store_one(association, peer, path, head)


def _store_together(
    config: Config, peer: Peer, offers: Sequence[Offer], waiting: _Waiting, count: int
) -> Iterator[Answer]:
    """Over `count` associations at once. A peer that takes fewer is served over those that it takes."""
    answers: SimpleQueue[Answer | Exception | None] = SimpleQueue()
    wanted, answered, errors = len(waiting), 0, list[Exception]()

    def serve() -> None:
        try:
            for answer in _store_all(config, peer, offers, waiting):
                answers.put(answer)
        except Exception as error:  # noqa: BLE001  raised below, in the thread that asks
            answers.put(error)
        answers.put(None)

    threads = [threading.Thread(target=serve, name=f"to {peer.name}", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    running = count
    try:
        while running:
            answer = answers.get()
            if answer is None:
                running -= 1
            elif isinstance(answer, Exception):
                errors.append(answer)
            else:
                answered += 1
                yield answer
    finally:
        waiting.clear()  # nobody listens any more: each association ends after the instance that it is at
        for thread in threads:
            thread.join()
    for error in errors:
        if answered < wanted or not isinstance(error, TryAgain):
            raise error


def _store_one(association: Requestor, peer: Peer, path: Path, head: Head) -> Answer:
    offer = (head.sop_class, head.transfer_syntax)
    if not association.takes(offer):
        reason = f"{peer.name} does not take {UID(head.sop_class).name} as {UID(head.transfer_syntax).name}"
        return Answer(path, head.sop_uid, None, reason, stored=False, final=True)
    status, comment = association.store(offer, head.sop_uid, path, head.offset)
    meaning, words = classify(status)
    reason = "" if status == 0 else f"0x{status:04X} {words}" + (f" ({comment})" if comment else "")
    return Answer(path, head.sop_uid, status, reason, stored=meaning == "stored", final=meaning != "again")
