"""What a listener said on a connection, read strictly: it must be well-formed whatever it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from node import dimse
from tests.fuzz.target import Violation

_LONGEST = 1 << 20  # bytes
_NAMES = {2: "AC", 3: "RJ", 4: "DATA", 6: "RP", 7: "ABORT"}


@dataclass
class Answers:
    """The kinds of the PDUs in their order, and each command that was said."""

    kinds: list[str] = field(default_factory=list)
    commands: list[dimse.Command] = field(default_factory=list)

    @property
    def good(self) -> list[int]:
        """The message IDs of the C-STOREs that were answered with success."""
        return [one.message_id for one in self.commands
                if one.field == dimse.C_STORE_RQ | dimse.RESPONSE and one.status == 0]  # fmt: skip


def read(said: bytes) -> Answers:
    """Raises Violation for a PDU that is cut off, unknown or out of place, a response without status, a last word that
    is followed by another."""
    found, at = Answers(), 0
    while at < len(said):
        if len(said) - at < 6:
            raise Violation("the listener's last PDU is cut off")
        kind, length = said[at], int.from_bytes(said[at + 2 : at + 6], "big")
        if kind not in _NAMES or length > _LONGEST or at + 6 + length > len(said):
            raise Violation(
                f"the listener said a PDU of type {kind} and length {length}, {len(said) - at} bytes are there"
            )
        if found.kinds and found.kinds[-1] in ("RJ", "RP", "ABORT"):
            raise Violation(f"the listener spoke again after {found.kinds[-1]}")
        if (kind in (2, 3)) != (not found.kinds) and kind != 7:
            raise Violation(f"the listener said {_NAMES[kind]} after {found.kinds}")
        found.kinds.append(_NAMES[kind])
        if kind == 4:
            _take(found, memoryview(said)[at + 6 : at + 6 + length])
        at += 6 + length
    return found


def _take(found: Answers, body: memoryview) -> None:
    try:
        for fragment in dimse.fragments(body):
            if fragment.is_command:
                command = dimse.read_command(bytes(fragment.data))
                if command.field & dimse.RESPONSE and command.status is None:
                    raise Violation("the listener answered without a status")
                found.commands.append(command)
    except dimse.BadCommand as error:
        raise Violation(f"the listener said a command that cannot be read: {error}") from error
