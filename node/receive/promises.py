"""What we still have to say on an association: answers that the peer may wait for, or leave to come by another way.

A peer that asked for storage commitment gets its answer here once it is quiet for a moment; one that releases at
once gets it over an association that we ask for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from node import dimse

QUIET = 0.5  # seconds without a request before we speak: who releases at once has begun to by then
_ANSWER_WITHIN = 30.0  # seconds
_LARGEST = 64 * 1024  # bytes in one P-DATA, however much the peer takes


class Promise(Protocol):
    """One request of ours, made on the peer's association."""

    def keep(self, message_id: int) -> tuple[bytes, bytes] | None:
        """The command set and the dataset; None when the peer was told by another way."""

    def heard(self, status: int) -> None:
        """The peer answered."""

    def unheard(self) -> None:
        """The association ended before it did."""


class Promises:
    """The promises of one association, kept one at a time. `largest`: bytes that the peer takes in a P-DATA; 0: any."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.largest = 0
        self._send = send
        self._waiting: deque[tuple[Promise, int]] = deque()
        self._told: Promise | None = None
        self._message_id = 0

    def add(self, promise: Promise, context_id: int) -> None:
        """Keep it when the peer is quiet."""
        self._waiting.append((promise, context_id))

    def patience(self, otherwise: float) -> float:
        """How long to wait for the peer's next word, in seconds."""
        if self._told is not None:
            return min(otherwise, _ANSWER_WITHIN)
        return min(otherwise, QUIET) if self._waiting else otherwise

    def keep_one(self) -> bool:
        """The peer is quiet: say what is next. False when nothing is, or when the last word got no answer."""
        if self._told is not None or not self._waiting:
            return False
        promise, context_id = self._waiting.popleft()
        self._message_id = self._message_id % 0xFFFF + 1
        words = promise.keep(self._message_id)
        if words is not None:
            self._told = promise
            command, dataset = words
            self._send(dimse.p_data_header(context_id, dimse.COMMAND | dimse.LAST, len(command)) + command)
            each = min(self.largest or _LARGEST, _LARGEST) - 6
            for start in range(0, max(len(dataset), 1), each):
                part = dataset[start : start + each]
                control = dimse.LAST if start + each >= len(dataset) else 0
                self._send(dimse.p_data_header(context_id, control, len(part)) + part)
        return True

    def heard(self, answer: dimse.Command) -> None:
        """A response of the peer; one to nothing that we said is passed over."""
        if self._told is not None and answer.message_id == self._message_id and answer.status is not None:
            promise, self._told = self._told, None
            promise.heard(answer.status)

    def leave(self) -> None:
        """The association is over."""
        if self._told is not None:
            promise, self._told = self._told, None
            promise.unheard()
