"""Which instances are documents: structured reports and key object selections (PS3.4, B.5)."""

from __future__ import annotations

ROOT = "1.2.840.10008.5.1.4.1.1.88."
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"  # Key Object Selection Document Storage


def is_document(sop_class: str) -> bool:
    """Whether instances of the class say something about others and hold nothing that a pipeline reads."""
    return sop_class.startswith(ROOT)
