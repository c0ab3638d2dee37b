"""Folded embeddings: few numbers that keep distances and mean the same for ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from models.embedding import LONGEST, fold, signs


def test_few_numbers_stay_as_they_are_and_many_become_few() -> None:
    assert fold(np.array([1.5, -2.0])) == (1.5, -2.0)
    assert len(fold(np.ones(408))) == LONGEST
    assert len(fold(np.ones((3, 136)))) == LONGEST


def test_distances_are_kept_nearly() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40, 400))
    kept = [np.linalg.norm(np.subtract(fold(x), fold(y))) / np.linalg.norm(x - y) for x, y in zip(a, b, strict=True)]
    assert np.mean(kept) == pytest.approx(1, abs=0.06)
    assert min(kept) > 0.6 and max(kept) < 1.4


def test_the_signs_are_those_of_every_other_version() -> None:
    """Embeddings of different years are compared: a change of the projection would be a drift of every model."""
    assert hashlib.sha256(signs(96, 64).astype(np.int8).tobytes()).hexdigest()[:16] == "0f4da59079179edf"
    assert hashlib.sha256(signs(408, 64).astype(np.int8).tobytes()).hexdigest()[:16] == "ad59fbefffabb7a7"


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        fold(np.array([1.0, np.nan]))
