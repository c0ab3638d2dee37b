"""What a C-STORE status means for a delivery (PS3.4, table B.2-1; PS3.7, annex C)."""

from __future__ import annotations

from typing import Literal

Meaning = Literal["stored", "again", "never"]

# (first, last, meaning, in words); the first row that holds a status counts.
TABLE: tuple[tuple[int, int, Meaning, str], ...] = (
    (0x0000, 0x0000, "stored", "success"),
    (0x0001, 0x0001, "stored", "warning: optional attributes are not supported"),
    (0x0107, 0x0107, "stored", "warning: attribute list error"),
    (0x0116, 0x0116, "stored", "warning: attribute value out of range"),
    (0x0111, 0x0111, "stored", "it was already there"),  # our UIDs are derived: the same UID is the same object
    (0x0110, 0x0110, "again", "processing failure"),
    (0x0122, 0x0122, "never", "SOP class not supported"),
    (0x0124, 0x0124, "never", "not authorised"),
    (0x0210, 0x0210, "again", "duplicate invocation"),
    (0x0211, 0x0211, "never", "unrecognised operation"),
    (0x0212, 0x0212, "never", "mistyped argument"),
    (0x0213, 0x0213, "again", "resource limitation"),
    (0xA700, 0xA7FF, "again", "out of resources"),
    (0xA900, 0xA9FF, "never", "the dataset does not match its SOP class"),
    (0xB000, 0xB000, "stored", "warning: coercion of data elements"),
    (0xB006, 0xB006, "stored", "warning: elements discarded"),
    (0xB007, 0xB007, "stored", "warning: the dataset does not match its SOP class"),
    (0xB000, 0xBFFF, "stored", "warning"),
    (0xC000, 0xCFFF, "never", "cannot understand"),
    (0x0100, 0x01FF, "never", "failure"),
)


def out_of_resources(status: int | None) -> bool:
    """Whether the peer says that it is full or busy: nothing is wrong with the instance."""
    return status is not None and (status == 0x0213 or 0xA700 <= status <= 0xA7FF)


def classify(status: int) -> tuple[Meaning, str]:
    """What `status` means for the instance, and the status in words. One that the standard does not know may pass."""
    for first, last, meaning, words in TABLE:
        if first <= status <= last:
            return meaning, words
    return "again", "a status that the standard does not know"
