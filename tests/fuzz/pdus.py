"""The upper layer's PDUs, put together by hand so that any part of them can be wrong (PS3.8, 9.3; PS3.7, annex D)."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

from tests.fuzz.elements import UIDS

APPLICATION = b"1.2.840.10008.3.1.1.1"
ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT = 1, 4, 5, 7
Offer = tuple[int, bytes, Sequence[bytes]]
"""(context ID, abstract syntax, transfer syntaxes)"""


def pdu(kind: int, body: bytes, says: int | None = None) -> bytes:
    """A PDU that declares `says` bytes in place of those that it has."""
    return struct.pack(">BBL", kind, 0, (len(body) if says is None else says) & 0xFFFFFFFF) + body


def item(kind: int, body: bytes, says: int | None = None) -> bytes:
    """An item or sub-item."""
    return struct.pack(">BBH", kind, 0, (len(body) if says is None else says) & 0xFFFF) + body


def context(offer: Offer) -> bytes:
    """A presentation context item (PS3.8, table 9-13)."""
    number, abstract, syntaxes = offer
    inside = item(0x30, abstract) + b"".join(item(0x40, one) for one in syntaxes)
    return item(0x20, struct.pack(">BBBB", number & 0xFF, 0, 0, 0) + inside)


def user_information(*further: bytes, largest: int = 16384) -> bytes:
    """The user information item: maximum length, implementation class, and what else is given."""
    return item(0x50, item(0x51, struct.pack(">L", largest)) + item(0x52, b"1.2.3.4.5") + b"".join(further))


def request(
    offers: Sequence[Offer], calling: bytes = b"SENDER", called: bytes = b"OVERREAD", application: bytes = APPLICATION,
    user: bytes | None = None, version: int = 1,
) -> bytes:  # fmt: skip
    """An A-ASSOCIATE-RQ."""
    fixed = struct.pack(">HH16s16s32x", version, 0, called.ljust(16)[:16], calling.ljust(16)[:16])
    items = item(0x10, application) + b"".join(context(one) for one in offers)
    return pdu(ASSOCIATE_RQ, fixed + items + (user_information() if user is None else user))


def value(context_id: int, control: int, data: bytes, says: int | None = None) -> bytes:
    """A presentation data value."""
    return (
        struct.pack(">LBB", (len(data) + 2 if says is None else says) & 0xFFFFFFFF, context_id & 0xFF, control) + data
    )


def message(
    rng: random.Random, context_id: int, command: bytes, dataset: bytes | None, largest: int = 16000
) -> list[bytes]:  # fmt: skip
    """A DIMSE message as P-DATA PDUs, in pieces of a size that the random numbers say."""
    values = [(3, command)]
    if dataset is not None:
        piece = rng.choice((largest, largest, 512, max(1, len(dataset) // 3)))
        parts = [dataset[at : at + piece] for at in range(0, len(dataset), piece)][:400] or [b""]
        values += [(2 if number == len(parts) - 1 else 0, part) for number, part in enumerate(parts)]
    return [pdu(P_DATA, value(context_id, control, data)) for control, data in values]


def command(elements: Sequence[tuple[int, bytes]]) -> bytes:
    """A command set of group 0000 with its length before it (PS3.7, 6.3.1)."""
    body = b"".join(struct.pack("<HHL", 0, tag, len(data)) + data for tag, data in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def odd_user_information(rng: random.Random) -> bytes:
    """User information that is rare, wrong, or too much: roles, user identity, extended negotiation."""
    uid = rng.choice((b"1.2.840.10008.1.20.1", *UIDS))
    role = item(0x54, struct.pack(">H", len(uid)) + uid + bytes((rng.randrange(256), rng.randrange(256))))
    identity = item(0x58, struct.pack(">BBH", rng.randrange(7), rng.randrange(2), rng.choice((0, 5, 65535))) + b"admin")
    extended = item(0x56, struct.pack(">H", rng.choice((0, 3, len(uid), 60000))) + uid + b"\1\1\1")
    window = item(0x53, struct.pack(">HH", rng.randrange(65536), 0))
    unknown = item(rng.randrange(256), rng.randbytes(rng.randrange(20)))
    version = item(0x55, rng.choice((b"", b"X" * 16, b"X" * 300, b"\xff\xfe", b"<b>")))
    chosen = [
        rng.choice((role, identity, extended, window, unknown, version)) for _ in range(rng.choice((1, 2, 5, 200)))
    ]
    return user_information(*chosen, largest=rng.choice((0, 1, 6, 7, 128, 16384, 0xFFFFFFFF)))
