"""How long an association may be silent, and how much it may say at once."""

from __future__ import annotations

from dataclasses import dataclass

from node.sections import Node


@dataclass(frozen=True)
class Limits:
    """Seconds, and `max_pdu` in bytes."""

    max_pdu: int
    acse_timeout: float
    dimse_timeout: float
    network_timeout: float
    idle_pdu_timeout: float


def limits_of(node: Node) -> Limits:
    """The limits of `[node]`."""
    return Limits(node.max_pdu, node.acse_timeout, node.dimse_timeout, node.network_timeout, node.idle_pdu_timeout)
