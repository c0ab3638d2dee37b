"""The outline of a region encloses just its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from pipelines.outlines import outline


def area(polygon: np.ndarray) -> float:
    """The signed area of a closed polygon of (column, row); positive if it runs clockwise on the screen."""
    x, y = polygon.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_one_pixel_is_the_square_around_its_centre() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    polygon = outline(mask, tolerance=0)
    assert sorted(map(tuple, polygon.tolist())) == [(3.5, 1.5), (3.5, 2.5), (4.5, 1.5), (4.5, 2.5)]


def test_columns_come_first_and_rows_second() -> None:
    mask = np.zeros((20, 30), bool)
    mask[3:5, 10:25] = True
    polygon = outline(mask)
    assert polygon.min(axis=0).tolist() == [9.5, 2.5] and polygon.max(axis=0).tolist() == [24.5, 4.5]
    assert len(polygon) == 4


@pytest.mark.parametrize("seed", range(20))
def test_without_tolerance_the_outline_encloses_exactly_the_filled_largest_part(seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(40, 50)), 2)
    mask = noise > 0.02
    parts, _ = ndimage.label(mask)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    filled = ndimage.binary_fill_holes(largest)
    assert abs(area(outline(mask, tolerance=0))) == np.count_nonzero(filled)


def test_a_hole_is_passed_over() -> None:
    mask = np.ones((9, 9), bool)
    mask[3:6, 3:6] = False
    assert abs(area(outline(mask))) == 81


def test_a_part_that_touches_at_a_corner_only_is_another_part() -> None:
    mask = np.zeros((8, 8), bool)
    mask[1:5, 1:5], mask[5:7, 5:7] = True, True
    assert abs(area(outline(mask))) == 16


def test_a_pinch_inside_one_part_is_followed_without_end() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)  # (1, 2) and (2, 1) touch at a corner around a bay
    assert abs(area(outline(mask, tolerance=0))) in (7, 8)


def test_a_region_at_the_edge_of_the_image_stays_inside_the_image() -> None:
    polygon = outline(np.ones((6, 4), bool))
    assert polygon.min() == -0.5 and polygon.max(axis=0).tolist() == [3.5, 5.5]


@pytest.mark.parametrize("size", [64, 512])
def test_a_simplified_outline_stays_within_its_tolerance_and_is_short(size: int) -> None:
    picture = Image.new("1", (size, size))
    ImageDraw.Draw(picture).ellipse((size * 0.1, size * 0.2, size * 0.8, size * 0.9), fill=1)
    mask = np.asarray(picture)
    polygon = outline(mask)
    assert len(polygon) <= 200
    assert abs(area(polygon)) == pytest.approx(np.count_nonzero(mask), rel=0.03 if size == 64 else 0.005)


def test_a_ragged_lung_of_a_large_image_needs_few_points() -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(512, 512)), 6)
    radius = np.hypot(*(np.indices((512, 512)) - 255))
    mask = ndimage.binary_fill_holes(radius + 400 * noise < 180)
    polygon = outline(mask)
    assert abs(area(polygon)) == pytest.approx(np.count_nonzero(mask), rel=0.02)
    assert len(polygon) <= 200


def test_an_empty_mask_has_no_outline() -> None:
    with pytest.raises(ValueError, match="empty"):
        outline(np.zeros((4, 4), bool))
