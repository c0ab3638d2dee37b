from __future__ import annotations

import numpy as np
import pytest

from models.labels import labels_of, main_parts


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_likeliest_of_elsewhere_and_the_channels_is_the_label(channels: int, kind: type) -> None:
    rng = np.random.default_rng(channels)
    logits = rng.normal(0, 2, (channels + 1, 5, 40, 44))
    shares = np.exp(logits) / np.exp(logits).sum(0)
    probability = shares[1:].astype(kind)
    # all in one part, so that nothing is dropped
    probability[:, :, 20:22] = 0
    probability[0, :, 20:22] = 1
    rest = 1 - probability.astype(np.float32).sum(0)
    wanted = np.where(probability.max(0) > rest, probability.argmax(0) + 1, 0)
    found = labels_of(probability)
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    kept = found > 0
    assert np.array_equal(found[kept], wanted[kept])
    assert np.array_equal(main_parts(wanted.astype(np.uint8)), found)


def test_half_a_half_and_less_are_decided_against_what_is_left_over() -> None:
    cases = np.array([[0.5, 0.5, 0.4, 0.34, 0.3, 0.0], [0.5, 0.0, 0.3, 0.33, 0.3, 0.0]], np.float16)
    found = labels_of(cases.reshape(2, 1, 1, 6).repeat(4, axis=2))
    assert found[0, 0].tolist() == [1, 0, 1, 1, 0, 0]


def test_small_parts_away_from_the_largest_are_dropped_and_large_ones_stay() -> None:
    labels = np.zeros((6, 61, 83), np.uint8)  # no multiples of the cells
    labels[:, 4:24, 4:24] = 1
    labels[:4, 40:60, 4:24] = 1  # two thirds of it
    labels[2, 50:53, 60:63] = 1  # a speck
    labels[1, 30:36, 70:83] = 2
    before = labels.copy()
    found = main_parts(labels)
    assert found is labels
    before[2, 50:53, 60:63] = 0
    assert np.array_equal(found, before)
