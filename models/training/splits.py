"""Which patients train, validate and test. A phantom's seed is its patient: no patient is on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

PER_RUN = 1_000_000
FIRST = {"train": 0, "validation": 800_000, "test": 900_000}


def patient_seeds(seed: int, part: str) -> range:
    """The phantom seeds that a run of ``seed`` may use for "train", "validation" or "test"; KeyError for another
    word."""
    start = seed * PER_RUN
    after = [v for v in sorted(FIRST.values()) if v > FIRST[part]]
    return range(start + FIRST[part], start + (after[0] if after else PER_RUN))


def split_patients(
    patients: Sequence[str], shares: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
) -> dict[str, str]:
    """Patient -> "train", "validation" or "test", by a digest of the patient and ``seed``: stable when patients are
    added."""
    if abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
        raise ValueError(f"shares must be three fractions that sum to 1, not {shares}")
    out = {}
    for patient in patients:
        u = int.from_bytes(hashlib.sha256(f"{seed}/{patient}".encode()).digest()[:8], "big") / 2**64
        out[patient] = "train" if u < shares[0] else "validation" if u < shares[0] + shares[1] else "test"
    return out
