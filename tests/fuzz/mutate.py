"""Damage to bytes, the same for the same random numbers: flips, cuts, splices, and lengths that lie."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

LENGTHS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
           0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip
_NEAR = 2048  # bytes: most of what decides stands at the beginning


def mutated(rng: random.Random, content: bytes, others: Sequence[bytes] = (), most: int = 4) -> bytes:
    """`content` after one to `most` damages; `others`: what pieces are taken from for splices."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, most)):
        if not damaged:
            return bytes(damaged)
        rng.choice(_DAMAGES)(rng, damaged, others)
    return bytes(damaged)


def _place(rng: random.Random, damaged: bytearray) -> int:
    end = len(damaged) if rng.random() < 0.3 else min(len(damaged), _NEAR)
    return rng.randrange(end)


def _flip(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        damaged[_place(rng, damaged)] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, damaged)
    piece = rng.choice((b"\0", b"\xff", b"\x7f", b" ", b"\\", b"^", b"\x1b$B", b"<script>", b"../../", b"\r\n", b"\0\0\0\0",
                        rng.randbytes(rng.randint(1, 16))))  # fmt: skip
    damaged[at : at + len(piece)] = piece


def _length(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    at, form = _place(rng, damaged), rng.choice(("<H", ">H", "<L", ">L"))
    value = rng.choice(LENGTHS) if rng.random() < 0.7 else len(damaged) + rng.randint(-20, 20)
    size = struct.calcsize(form)
    damaged[at : at + size] = struct.pack(form, value % (1 << (8 * size)))


def _cut(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    del damaged[_place(rng, damaged) :]


def _leave_out(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, damaged)
    del damaged[at : at + rng.choice((1, 2, 4, 8, 20, 100))]


def _repeat(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, damaged)
    piece = damaged[at : at + rng.choice((1, 4, 8, 32, 200))]
    damaged[at:at] = piece * rng.choice((1, 2, 100))


def _insert(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, damaged)
    damaged[at:at] = rng.randbytes(rng.choice((1, 2, 4, 12, 50)))


def _splice(rng: random.Random, damaged: bytearray, others: Sequence[bytes]) -> None:
    other = rng.choice(others) if others else bytes(damaged)
    if not other:
        return
    start = rng.randrange(len(other))
    piece = other[start : start + rng.choice((4, 16, 64, 512))]
    at = _place(rng, damaged)
    damaged[at : at + rng.choice((0, len(piece)))] = piece


def _append(rng: random.Random, damaged: bytearray, _: Sequence[bytes]) -> None:
    damaged += rng.randbytes(rng.choice((1, 7, 64, 1000)))


_DAMAGES: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _flip, _overwrite, _length, _length, _cut, _leave_out, _repeat, _insert, _splice, _append,
)  # fmt: skip
