"""C-FIND at a peer: how many instances of a study it has, and which of a series (PS3.4, annex C, Study Root)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from node.config import Config
from node.elements import EXPLICIT, IMPLICIT, Malformed
from node.errors import GiveUp, TryAgain
from node.identifiers import (
    LONGEST_IDENTIFIER,
    SERIES_INSTANCES,
    SERIES_UID,
    SOP_UID,
    STUDY_INSTANCES,
    STUDY_ROOT_FIND,
    STUDY_UID,
    Level,
    number,
    read_identifier,
    write_identifier,
)
from node.peers.proposal import Offer
from node.peers.requestor import Requestor
from node.peers.statuses import classify
from node.sections import Peer

MOST_MATCHES = 50_000
LONGEST = 30.0  # seconds for all that is asked over one association
_OFFERS: tuple[Offer, ...] = ((STUDY_ROOT_FIND, EXPLICIT), (STUDY_ROOT_FIND, IMPLICIT))

Match = Mapping[int, str]
_Read = TypeVar("_Read")


def takes_queries(config: Config, peer: Peer) -> str | None:
    """None when `peer` takes queries, else why not, in one line; never raises for what a network can do."""
    try:
        with Requestor(config.node, peer, _OFFERS) as association:
            taken = any(association.takes(offer) for offer in _OFFERS)
            return None if taken else "it does not take queries (Study Root FIND)"
    except TryAgain as error:
        return error.reason


def count(config: Config, peer: Peer, study_uid: str, ours: Collection[str] = ()) -> int:
    """How many instances of a study `peer` has; 0 when it does not know the study. Series named in `ours`, our own
    results, are left out of the count.

    It is asked for Number of Study Related Instances; where it does not say that, or has results of ours in the study,
    for Number of Series Related Instances; and where it does not say that either, for the instances themselves. Raises
    TryAgain when it is away, busy or too slow, GiveUp when it does not take such queries.
    """
    with Requestor(config.node, peer, _OFFERS) as association:
        query = _Query(association, peer)
        if not ours:
            studies = query.ask("STUDY", {STUDY_UID: study_uid, STUDY_INSTANCES: ""})
            counts = [query.number(one, STUDY_INSTANCES) for one in studies]
            known = [one for one in counts if one is not None]
            if len(known) == len(counts):
                return sum(known)
        total = 0
        for one in query.ask("SERIES", {STUDY_UID: study_uid, SERIES_UID: "", SERIES_INSTANCES: ""}):
            series = one.get(SERIES_UID)
            if series is None:
                raise GiveUp(f"{peer.name} answers a query for series without SeriesInstanceUID")
            if series in ours:
                continue
            stated = query.number(one, SERIES_INSTANCES)
            total += len(query.instances(study_uid, series)) if stated is None else stated
        return total


def instances(config: Config, peer: Peer, study_uid: str, series_uid: str) -> frozenset[str]:
    """The SOP Instance UIDs that `peer` has of a series. Raises TryAgain and GiveUp as `count` does."""
    with Requestor(config.node, peer, _OFFERS) as association:
        return _Query(association, peer).instances(study_uid, series_uid)


class _Query:
    """Queries over one association, all of them together within LONGEST seconds."""

    def __init__(self, association: Requestor, peer: Peer) -> None:
        offer = next((one for one in _OFFERS if association.takes(one)), None)
        if offer is None:
            raise GiveUp(f"{peer.name} does not take queries (Study Root FIND)")
        self._association, self._peer, self._offer = association, peer, offer
        self._over = association.deadline = time.monotonic() + LONGEST
        self._matches = 0

    def ask(self, level: Level, keys: Match) -> list[Match]:
        """The matches; those of another study are passed over: some peers ignore keys that they do not know."""
        found: list[Match] = []

        def take(encoded: bytes) -> None:
            self._matches += 1
            if self._matches > MOST_MATCHES:
                raise GiveUp(f"{self._peer.name} answers a query with more than {MOST_MATCHES} matches")
            if time.monotonic() > self._over:
                raise TryAgain(f"{self._peer.name} takes longer than {LONGEST:g} s to answer a query")
            match = self._readable(lambda: read_identifier(encoded, self._offer[1]))
            if all(match.get(tag, text) == text for tag, text in keys.items() if text):
                found.append(match)

        encoded = write_identifier(level, keys, self._offer[1])
        status, comment = self._association.find(self._offer, encoded, LONGEST_IDENTIFIER, take)
        meaning, _ = classify(status)
        if meaning != "stored":
            reason = f"{self._peer.name} answers a query with 0x{status:04X}" + (f" ({comment})" if comment else "")
            raise TryAgain(reason) if meaning == "again" else GiveUp(reason)
        return found

    def instances(self, study_uid: str, series_uid: str) -> frozenset[str]:
        """The SOP Instance UIDs of a series."""
        found = self.ask("IMAGE", {STUDY_UID: study_uid, SERIES_UID: series_uid, SOP_UID: ""})
        return frozenset(one[SOP_UID] for one in found if SOP_UID in one)

    def number(self, match: Match, tag: int) -> int | None:
        """A count that a match states."""
        return self._readable(lambda: number(match, tag))

    def _readable(self, read: Callable[[], _Read]) -> _Read:
        try:
            return read()
        except Malformed as error:
            raise GiveUp(f"{self._peer.name} answers a query with a dataset that cannot be read: {error}") from error
