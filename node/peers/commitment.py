"""Storage commitment over an association that we ask for: asking a peer, and telling one what we hold (PS3.4, J.3)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from node import dimse, faults
from node.commitment import (
    EXPLICIT,
    IMPLICIT,
    LONGEST_DATASET,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    Malformed,
    Report,
    Request,
    read_report,
    write_report,
    write_request,
)
from node.config import Config
from node.errors import GiveUp, TryAgain
from node.peers.proposal import Offer
from node.peers.requestor import Message, Requestor
from node.peers.statuses import classify
from node.sections import Peer

_OFFERS: tuple[Offer, ...] = ((PUSH_MODEL, EXPLICIT), (PUSH_MODEL, IMPLICIT))


@dataclass(frozen=True)
class Offered:
    """Whether a peer takes storage commitment requests; None: it could not be asked. `reason`: one line when not."""

    ok: bool | None
    reason: str = ""


def offers_commitment(config: Config, peer: Peer) -> Offered:
    """Negotiate and release, nothing else; never raises for what a network can do."""
    try:
        with Requestor(config.node, peer, _OFFERS) as association:
            ok = any(association.takes(offer) for offer in _OFFERS)
            return Offered(ok, "" if ok else "it does not take the Storage Commitment Push Model")
    except TryAgain as error:
        return Offered(None, error.reason)


def ask(
    config: Config, peer: Peer, request: Request, wait: float, taken: Callable[[], None], take: Callable[[Report], None]
) -> None:
    """Ask `peer` whether it keeps these instances. `taken` is called when it took the request.

    Its answer may come on the same association within `wait` seconds: `take` is called with it, and only when that
    returns the peer hears that it arrived. Otherwise it will come to our listener. Raises TryAgain when the peer is
    away or busy, GiveUp when it does not take such requests.
    """
    with Requestor(config.node, peer, _OFFERS) as association:
        association.longest_request = LONGEST_DATASET
        offer = _chosen(association, peer)
        status, comment = association.ask(
            offer,
            lambda message_id: dimse.action_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST_ACTION),
            write_request(request, offer[1]),
        )
        _check(peer, status, comment)
        faults.point("send.asked")
        taken()
        deadline = time.monotonic() + wait
        with contextlib.suppress(_Over):
            while (message := _next(association, deadline)) is not None:
                answer = _read(association, message, offer[1], request.transaction_uid)
                if answer is not None:
                    take(answer)
                    _respond(association, message, dimse.SUCCESS)
                    return


class _Over(Exception):
    """The peer ended the association after it took the request: its answer comes on another one."""


def _next(association: Requestor, deadline: float) -> Message | None:
    left = deadline - time.monotonic()
    try:
        return association.wait_for_request(left) if left > 0 else None
    except TryAgain as error:
        raise _Over from error


def _respond(association: Requestor, message: Message, status: int, comment: str = "") -> None:
    try:
        association.respond(message, status, comment)
    except TryAgain as error:
        raise _Over from error


def _read(association: Requestor, message: Message, transfer_syntax: str, transaction_uid: str) -> Report | None:
    """The answer that a message holds; what is none is answered with its failure status."""
    command = message.command
    if command.field & dimse.RESPONSE:
        return None
    if command.field != dimse.N_EVENT_REPORT_RQ:
        _respond(association, message, dimse.UNRECOGNISED_OPERATION)
        return None
    try:
        found = read_report(message.dataset, transfer_syntax)
        if found.transaction_uid != transaction_uid:
            raise Malformed("this association waits for another transaction")
    except Malformed as error:
        _respond(association, message, dimse.INVALID_ARGUMENT_VALUE, str(error))
        return None
    return found


def report(config: Config, peer: Peer, told: Report) -> None:
    """Tell `peer` what we hold, as the SCP that calls. Raises TryAgain or GiveUp when it does not take that."""
    with Requestor(config.node, peer, _OFFERS, as_scp=PUSH_MODEL) as association:
        offer = _chosen(association, peer)
        status, comment = association.ask(
            offer,
            lambda message_id: dimse.event_report_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, told.event),
            write_report(told, offer[1]),
        )
        _check(peer, status, comment)


def _chosen(association: Requestor, peer: Peer) -> Offer:
    for offer in _OFFERS:
        if association.takes(offer):
            return offer
    raise GiveUp(f"{peer.name} does not take the Storage Commitment Push Model")


def _check(peer: Peer, status: int, comment: str) -> None:
    meaning, words = classify(status)
    if meaning == "stored":
        return
    reason = f"{peer.name} answers 0x{status:04X} {words}" + (f" ({comment})" if comment else "")
    raise TryAgain(reason) if meaning == "again" else GiveUp(reason)
