from __future__ import annotations

import numpy as np
import pytest

from pipelines.outputs.colours import heat_colours, lab_from_dicom, lab_to_rgb, rgb_to_lab
from pipelines.outputs.overlay import Blend, Scale, levels, magnification, window


def lightness(rgb: np.ndarray) -> np.ndarray:
    return np.array([rgb_to_lab(tuple(int(value) for value in colour))[0] for colour in rgb])


def test_lightness_of_the_colour_map_rises_with_every_value() -> None:
    rising = lightness(heat_colours(64))
    assert (np.diff(rising) > 0).all() and rising[0] < 30 and rising[-1] > 90


def test_colours_go_to_cielab_and_back() -> None:
    for rgb in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (72, 160, 255), (255, 152, 48), (13, 200, 77)):
        assert np.abs(lab_to_rgb(np.array(rgb_to_lab(rgb))).astype(int) - rgb).max() <= 1


def test_white_and_black_have_the_lightness_of_the_definition() -> None:
    assert rgb_to_lab((255, 255, 255)) == pytest.approx((100, 0, 0), abs=0.05)
    assert rgb_to_lab((0, 0, 0)) == pytest.approx((0, 0, 0), abs=0.01)
    assert lab_from_dicom([0xFFFF, 0x8080, 0x8080]) == (100, 0, 0)  # PS3.3 C.10.7.1.1


def test_the_image_stays_readable_below_the_strongest_colour() -> None:
    grey = np.arange(256, dtype=np.uint8)
    strongest = Blend()(grey, np.full(256, 255, np.uint8)).astype(int)
    seen = strongest.sum(axis=1)
    assert (np.diff(seen) >= 0).all() and seen[-1] - seen[0] > 0.4 * 3 * 255  # 40 % of the contrast is left
    assert np.array_equal(Blend()(grey, np.zeros(256, np.uint8)), np.stack([grey] * 3, axis=-1))


def test_colour_grows_stronger_with_the_value() -> None:
    black = Blend()(np.zeros(255, np.uint8), np.arange(1, 256, dtype=np.uint8)).astype(float)
    assert (np.diff(black.sum(axis=1)) >= -1).all()


def test_nothing_below_the_lowest_value_is_coloured() -> None:
    assert levels(np.array([0, 0.049, 0.05, 0.5, 1, 2]), 0.05, 1.0).tolist() == [0, 0, 1, 121, 255, 255]


def test_looked_up_levels_are_the_computed_ones_of_the_largest() -> None:
    rng = np.random.default_rng(1)
    halves = [rng.random((30, 40)).astype(np.float16), rng.random((30, 40)).astype(np.float16)]
    whole = [rng.integers(0, 256, (30, 40), np.uint8), rng.integers(0, 256, (30, 40), np.uint8)]
    scale = Scale(0.05, 0.9)
    for several, values in ((halves, np.maximum(*halves)), (whole, np.maximum(*whole) / 255),
                            ([one.astype(np.float32) for one in halves], np.maximum(*halves))):  # fmt: skip
        assert np.array_equal(scale(several), levels(values, 0.05, 0.9))
        assert np.array_equal(scale([one[:, ::-1] for one in several]), levels(values[:, ::-1], 0.05, 0.9))
        assert scale(several[:1]).shape == (30, 40)


def test_a_window_has_the_ends_that_the_standard_gives() -> None:
    shown = window(np.array([-2000, -1151, -401, 350, 2000]), -400, 1500)
    assert shown[0] == 0 and shown[1] == 0 and abs(int(shown[2]) - 127) <= 1 and shown[3] == 255 and shown[4] == 255


@pytest.mark.parametrize(
    ("rows", "columns", "times"), [(512, 512, 1), (101, 122, 5), (256, 300, 2), (480, 700, 1), (479, 700, 2)]
)
def test_small_matrices_are_drawn_large_enough_for_captions(rows: int, columns: int, times: int) -> None:
    assert magnification(rows, columns) == times
