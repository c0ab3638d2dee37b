"""What a hostile sender may say on one connection: made of random numbers, from a true conversation to noise."""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, field

from tests.fuzz import pdus
from tests.fuzz.elements import DEFLATED, EXPLICIT, IMPLICIT, UIDS, Element, deep, encoded, spoiled, text
from tests.fuzz.mutate import LENGTHS, mutated
from tests.fuzz.target import MARKER, Input

CT, PUSH, ECHO = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.20.1", b"1.2.840.10008.1.1"
OFFERS: tuple[pdus.Offer, ...] = (
    (1, CT, (EXPLICIT.encode(),)), (3, CT, (IMPLICIT.encode(),)), (5, CT, (DEFLATED.encode(),)),
    (7, ECHO, (IMPLICIT.encode(),)), (9, PUSH, (EXPLICIT.encode(), IMPLICIT.encode())),
)  # fmt: skip
_SYNTAX = {1: EXPLICIT, 3: IMPLICIT, 5: DEFLATED}
_STORE, _ECHO, _CANCEL, _EVENT, _ACTION = 0x0001, 0x0030, 0x0FFF, 0x0100, 0x0130


def dataset(number: int, study: str = "1.2.3", patient: str = "P1") -> list[Element]:
    """A small image that is all right; `number` tells instances apart."""
    return [
        text(0x00080005, "CS", "ISO_IR 192"), text(0x00080016, "UI", CT), text(0x00080018, "UI", f"{study}.9.{number}"),
        text(0x00080060, "CS", "CT"), text(0x00100010, "PN", f"{MARKER}^Ada"), text(0x00100020, "LO", patient),
        text(0x00100030, "DA", "19700101"), text(0x00100040, "CS", "F"), text(0x0020000D, "UI", study),
        text(0x0020000E, "UI", f"{study}.9"), text(0x00200013, "IS", str(number % 1000)),
        Element(0x7FE00010, b"OW", bytes(64)),
    ]  # fmt: skip


@dataclass
class Said:
    """A conversation as it grows. `stored`: message ID of a C-STORE -> SHA-256 of the dataset that came with it."""

    parts: list[bytes] = field(default_factory=list)
    stored: dict[int, str] = field(default_factory=dict)
    twice: set[int] = field(default_factory=set)

    def note(self, message_id: int, content: bytes) -> None:
        """Remember which bytes a message brings; an ID that is used again says nothing of either."""
        if message_id in self.stored or message_id in self.twice:
            self.twice.add(message_id)
            self.stored.pop(message_id, None)
        else:
            self.stored[message_id] = hashlib.sha256(content).hexdigest()


def conversation(rng: random.Random) -> Input:
    """One connection: the bytes to send, piece by piece, and what a success for each message ID would promise."""
    said = Said()
    rng.choices((_noise, _odd_request, _many_contexts, _talk, _broken_bytes), weights=(1, 2, 2, 12, 3))[0](rng, said)
    return Input(tuple(said.parts), {"stored": dict(said.stored)})


def _noise(rng: random.Random, said: Said) -> None:
    said.parts.append(rng.choice((
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(50),
        rng.randbytes(rng.choice((1, 5, 6, 100, 5000))), bytes(rng.choice((1, 6, 1000))),
        pdus.pdu(rng.randrange(256), rng.randbytes(rng.randrange(80)), rng.choice((None, *LENGTHS))),
        pdus.pdu(pdus.ASSOCIATE_RQ, rng.randbytes(rng.randrange(300)), rng.choice((None, 0, 68, 262144, 262145))),
    )))  # fmt: skip


def _odd_request(rng: random.Random, said: Said) -> None:
    offers = [(rng.choice((1, 1, 2, 0, 255)), rng.choice((CT, *UIDS)), tuple(rng.choice((EXPLICIT.encode(), *UIDS))
              for _ in range(rng.choice((0, 1, 1, 3))))) for _ in range(rng.choice((0, 1, 3)))]  # fmt: skip
    titles = (
        b"SENDER",
        b"OVERREAD",
        b"",
        b" " * 16,
        b"\0" * 16,
        b"<b>x</b>",
        b"\x1b[2J",
        b"\xff" * 16,
        b"A\\B",
        b"A\nB",
    )
    whole = pdus.request(
        offers, rng.choice((b"SENDER", b"SENDER", rng.choice(titles))), rng.choice((b"OVERREAD", rng.choice(titles))),
        rng.choice((pdus.APPLICATION, pdus.APPLICATION, *UIDS)), pdus.odd_user_information(rng), rng.choice((1, 1, 0, 65535)),
    )  # fmt: skip
    said.parts.append(whole if rng.random() < 0.5 else mutated(rng, whole))
    said.parts.append(pdus.pdu(pdus.RELEASE_RQ, bytes(4)))


def _many_contexts(rng: random.Random, said: Said) -> None:
    count = rng.choice((129, 300, 1000, 3000))
    offers = [(rng.choice((2 * n + 1, n, 1)), rng.choice((CT, ECHO, b"1.2.3.%d" % n)), (EXPLICIT.encode(),) * rng.choice((0, 1, 1, 2)))
              for n in range(count)]  # fmt: skip
    if rng.random() < 0.3:
        offers = [(1, CT, tuple(b"1.2.3.%d" % n for n in range(count * 2)))]
    said.parts.append(pdus.request(offers))
    _store(rng, said, 1, 1)
    said.parts.append(pdus.pdu(pdus.RELEASE_RQ, bytes(4)))


def _talk(rng: random.Random, said: Said) -> None:
    user = None if rng.random() < 0.8 else pdus.odd_user_information(rng)
    said.parts.append(pdus.request(OFFERS, user=user))
    for message_id in range(1, rng.choice((2, 3, 6))):
        rng.choices((_store, _odd_store, _odd_command, _commitment, _out_of_place, _echo), (3, 6, 4, 3, 2, 1))[0](
            rng, said, rng.choice((1, 1, 3, 5)), message_id
        )
    said.parts.append(rng.choice((pdus.pdu(pdus.RELEASE_RQ, bytes(4)), pdus.pdu(pdus.ABORT, bytes(4)), b"", b"\x04\0")))


def _broken_bytes(rng: random.Random, said: Said) -> None:
    whole = Said()
    _talk(rng, whole)
    content = mutated(rng, b"".join(whole.parts[1:]), (whole.parts[0],))
    said.parts += [whole.parts[0], *(content[at : at + 4096] for at in range(0, len(content), 4096))][:200]


def _echo(rng: random.Random, said: Said, context_id: int, message_id: int) -> None:
    fields = [(2, ECHO + b"\0"), (0x100, b"\x30\0"), (0x110, struct.pack("<H", message_id)), (0x800, b"\1\1")]
    said.parts += pdus.message(rng, rng.choice((7, context_id)), pdus.command(fields), None)


def _store_command(message_id: int, sop_uid: bytes, sop_class: bytes = CT) -> list[tuple[int, bytes]]:
    return [(2, _even(sop_class)), (0x100, struct.pack("<H", _STORE)), (0x110, struct.pack("<H", message_id)),
            (0x700, b"\0\0"), (0x800, b"\0\0"), (0x1000, _even(sop_uid))]  # fmt: skip


def _even(uid: bytes) -> bytes:
    return uid + b"\0" * (len(uid) % 2)


def _store(rng: random.Random, said: Said, context_id: int, message_id: int) -> None:
    number = rng.randrange(1 << 30)
    content = encoded(dataset(number), _SYNTAX[context_id])
    said.note(message_id, content)
    fields = _store_command(message_id, b"1.2.3.9.%d" % number)
    said.parts += pdus.message(rng, context_id, pdus.command(fields), content)


def _odd_store(rng: random.Random, said: Said, context_id: int, message_id: int) -> None:
    number, syntax = rng.randrange(1 << 30), _SYNTAX[context_id]
    sop_uid, kind = b"1.2.3.9.%d" % number, rng.randrange(9)
    plain = dataset(number, rng.choice(("1.2.3", "1.2.4")), rng.choice(("P1", "P2")))
    content = encoded(plain, syntax)
    if kind < 3:
        content = encoded(spoiled(rng, plain), syntax)
    elif kind == 3:
        content = mutated(rng, content)
    elif kind == 4:  # in another transfer syntax than was agreed
        content = encoded(plain, rng.choice((EXPLICIT, IMPLICIT, DEFLATED)))
    elif kind == 5:
        content = deep(rng.choice((10, 63, 65, 5000)), syntax)
    elif kind == 6:
        content = rng.choice((b"", b"\0" * 9, rng.randbytes(500)))
    elif kind == 7:  # the command names another instance or class than the dataset
        sop_uid = rng.choice((b"1.2.3.9.0", *UIDS))
    else:
        context_id = rng.choice((7, 9, 11, 0, 255))
    if context_id in _SYNTAX:
        said.note(message_id, content)
    sop_class = CT if rng.random() < 0.9 else rng.choice((ECHO, *UIDS))
    said.parts += pdus.message(rng, context_id, pdus.command(_store_command(message_id, sop_uid, sop_class)), content)


def _odd_command(rng: random.Random, said: Said, context_id: int, message_id: int) -> None:
    fields = _store_command(message_id, b"1.2.3.9.1")
    kind = rng.choice((_STORE, _ECHO, _CANCEL, _EVENT, _ACTION, 0x0020, 0x0021, 0x8001, 0x8030, 0x8100, 0, 0xFFFF))
    fields[1] = (0x100, struct.pack("<H", kind))
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(fields))
        fields[at] = (
            fields[at][0],
            rng.choice((b"", b"\0", b"\1\1", b"\xff" * 4, b"1.2\0", rng.choice(UIDS), b"9" * 3000)),
        )
    if rng.random() < 0.4:
        del fields[rng.randrange(len(fields))]
    if rng.random() < 0.3:
        fields.append(
            (rng.choice((0x900, 0x902, 0x1002, 0x1008, 0x1001, 3, 0x5000)), rng.choice((b"\1\0", b"\0\0", b"x" * 70)))
        )
    if rng.random() < 0.3:
        rng.shuffle(fields)
    whole = pdus.command(fields)
    if rng.random() < 0.2:
        whole = mutated(rng, whole)
    said.twice.add(message_id)  # what a success for it means, nobody can say
    said.parts += pdus.message(rng, context_id, whole, rng.choice((None, b"", encoded(dataset(1)), bytes(100))))


def _commitment(rng: random.Random, said: Said, context_id: int, message_id: int) -> None:
    content = commitment_dataset(rng)
    kind, type_tag, uid_tag, class_tag = rng.choice(((_ACTION, 0x1008, 0x1001, 3), (_EVENT, 0x1002, 0x1000, 2)))
    fields = [(class_tag, PUSH), (0x100, struct.pack("<H", kind)), (0x110, struct.pack("<H", message_id)), (0x800, b"\0\0"),
              (uid_tag, rng.choice((b"1.2.840.10008.1.20.1.1", b"1.2.840.10008.1.20.1.1", *UIDS))),
              (type_tag, struct.pack("<H", rng.choice((1, 1, 1, 2, 0, 9))))]  # fmt: skip
    said.twice.add(message_id)
    said.parts += pdus.message(rng, rng.choice((9, 9, 9, context_id)), pdus.command(fields), content)


def commitment_dataset(rng: random.Random, syntax: str = EXPLICIT) -> bytes:
    """The dataset of a storage commitment request or answer, mostly wrong."""
    references = tuple(
        (
            text(0x00081150, "UI", CT if rng.random() < 0.95 else rng.choice(UIDS)),
            text(0x00081155, "UI", b"1.2.3.9.%d" % n),
        )
        for n in range(rng.choice((0, 1, 3, 40)))
    )
    failed = tuple((*one, Element(0x00081197, b"US", b"\x12\1")) for one in references[:2])
    elements = [
        text(0x00081195, "UI", b"2.25.%d" % rng.randrange(9999) if rng.random() < 0.8 else rng.choice(UIDS)),
        Element(0x00081198, b"SQ", items=failed, undefined=rng.random() < 0.5),
        Element(0x00081199, b"SQ", items=references, undefined=rng.random() < 0.5),
    ]
    chosen = rng.random()
    if chosen < 0.4:
        return encoded(elements, syntax)
    if chosen < 0.7:
        return encoded(spoiled(rng, elements), syntax)
    if chosen < 0.75:
        return deep(rng.choice((3, 100, 20000)), syntax, 0x00081199)
    return mutated(rng, encoded(elements, syntax))


def _out_of_place(rng: random.Random, said: Said, context_id: int, message_id: int) -> None:
    start = pdus.command(_store_command(message_id, b"1.2.3.9.1"))
    said.twice.add(message_id)
    said.parts.append(rng.choice((
        pdus.request(OFFERS), pdus.pdu(2, bytes(68)), pdus.pdu(3, bytes(4)), pdus.pdu(6, bytes(4)),
        pdus.pdu(pdus.P_DATA, b""), pdus.pdu(pdus.P_DATA, pdus.value(context_id, 0, b"no command")),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, 1, start) + pdus.value(context_id, 3, start)),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, 3, start) + pdus.value(context_id, 3, start)),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, 3, start) + pdus.value(context_id ^ 2, 2, b"other context")),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, 3, start, rng.choice(LENGTHS))),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, 1, b"\0") * rng.choice((1, 3000))),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, rng.randrange(256), start)),
        pdus.pdu(pdus.P_DATA, pdus.value(context_id, 1, bytes(16000))) * 2,
        pdus.pdu(pdus.P_DATA, bytes(10), rng.choice(LENGTHS)),
    )))  # fmt: skip
