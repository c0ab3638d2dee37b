"""The viewer test's own comparisons, on screens made here: they take what fits, and refuse what does not."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.viewers import packages
from tests.viewers.compare import (
    Drawn,
    Fit,
    coloured,
    image_differences,
    outline_differences,
    segment_differences,
    sides,
)
from tests.viewers.packages import Package, check, unpack

BLUE, ORANGE = (72, 160, 255), (255, 152, 48)
SCREEN = (300, 420)
FIT = Fit.of((100, 120), (1.0, 0.5), SCREEN)


def masks() -> list[Drawn]:
    rows, columns = np.ogrid[:100, :120]
    left = ((rows - 52) / 30) ** 2 + ((columns - 88) / 20) ** 2 < 1
    right = ((rows - 45) / 25) ** 2 + ((columns - 33) / 22) ** 2 < 1
    return [Drawn("Left lung", BLUE, left), Drawn("Right lung", ORANGE, right)]


def screen(drawn: list[Drawn], shift: int = 0) -> np.ndarray:
    """A grey image with the segments laid over it, half transparent, as a viewer would."""
    made = np.full((*SCREEN, 3), 90.0)
    for one in drawn:
        found = np.roll(FIT.nearest(one.mask, SCREEN), shift, axis=1)
        made[found] = 0.5 * made[found] + 0.5 * np.array(one.rgb)
    return made.astype(np.uint8)


def test_an_image_is_fitted_in_millimetres_and_centred() -> None:
    assert (FIT.down, FIT.right, FIT.top, FIT.left) == (3.0, 1.5, 0.0, 120.0)
    assert FIT.points(np.array([[0, 0], [120, 100]])).tolist() == [[120, 0], [300, 300]]
    whole = FIT.nearest(np.ones((100, 120), bool), SCREEN)
    assert whole.sum() == 300 * 180 and whole[:, 120:300].all()


def test_segments_in_their_places_and_colours_are_taken() -> None:
    assert segment_differences(screen(masks()), FIT, masks()) == []
    assert sides(screen(masks()), FIT, {one.label: one.rgb for one in masks()}) == {
        "Left lung": "right",
        "Right lung": "left",
    }


@pytest.mark.parametrize(
    ("what", "drawn"),
    [
        ("colours swapped", [replace(one, rgb=rgb) for one, rgb in zip(masks(), (ORANGE, BLUE), strict=True)]),
        ("mirrored", [replace(one, mask=one.mask[:, ::-1]) for one in masks()]),
        ("upside down", [replace(one, mask=one.mask[::-1]) for one in masks()]),
        ("a pixel to the right", [replace(one, mask=np.roll(one.mask, 1, axis=1)) for one in masks()]),
        ("a pixel down", [replace(one, mask=np.roll(one.mask, 1, axis=0)) for one in masks()]),
        ("one lacks", masks()[:1]),
        ("in another colour", [replace(masks()[0], rgb=(60, 200, 60)), masks()[1]]),
        ("grey", [replace(one, rgb=(200, 200, 200)) for one in masks()]),
        ("nothing", []),
    ],
)
def test_segments_that_are_not_what_they_should_be_are_told(what: str, drawn: list[Drawn]) -> None:
    assert segment_differences(screen(drawn), FIT, masks()), what


def test_a_shift_by_one_pixel_of_the_screen_is_told() -> None:
    assert segment_differences(screen(masks(), shift=1), FIT, masks())


def test_colour_where_nothing_should_be_is_told() -> None:
    blank = np.full((*SCREEN, 3), 90, np.uint8)
    assert segment_differences(blank, FIT, []) == []
    blank[100:110, 200:210] = (60, 200, 60)
    assert segment_differences(blank, FIT, []) == ["100 coloured pixels in no segment's colour"]
    assert np.count_nonzero(coloured(blank)) == 100


def test_an_image_is_taken_as_it_is_and_in_no_other_way() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (100, 120, 3)).astype(np.uint8)
    shown = FIT.smooth(rgb, SCREEN).round().astype(np.uint8)
    assert image_differences(shown, FIT, rgb) == []
    for other in (rgb[:, ::-1], rgb[::-1], rgb[..., ::-1], np.roll(rgb, 1, axis=0), rgb // 2):
        assert image_differences(shown, FIT, other)


def test_an_outline_is_taken_within_a_pixel_and_as_a_whole() -> None:
    outline = np.array([[10, 10], [60, 10], [60, 50], [10, 50], [10, 10]], dtype=float)
    line = FIT.points(outline)
    assert outline_differences([line + 0.7], FIT, outline) == []
    assert outline_differences([], FIT, outline)
    assert outline_differences([line + np.array((0, 4))], FIT, outline)
    assert outline_differences([line[:3]], FIT, outline)
    assert outline_differences([line[:, ::-1]], FIT, outline)


def tarball(folder: Path) -> Path:
    path = folder / "made-up-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as packed:
        for name in ("package/dist/index.html", "package/dist/app.js.map"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            packed.addfile(entry, io.BytesIO(b"made"))
    return path


def test_a_package_is_taken_with_the_pinned_digest_alone(tmp_path: Path) -> None:
    path = tarball(tmp_path)
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    check(Package("made-up", "1.0.0", digest), path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(AssertionError, match=r"made-up 1\.0\.0: the tarball's SHA-512 is .* not the pinned one"):
        check(Package("made-up", "1.0.0", digest), path)


def test_a_package_is_unpacked_without_its_source_maps(tmp_path: Path) -> None:
    unpack(tarball(tmp_path), tmp_path / "unpacked")
    assert [path.name for path in sorted((tmp_path / "unpacked").rglob("*"))] == ["dist", "index.html"]


def test_another_pinned_digest_is_kept_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERREAD_TEST_CACHE", str(tmp_path))
    one, other = (Package("made-up", "1.0.0", base64.b64encode(bytes([fill]) * 64).decode()) for fill in (1, 2))
    assert one.folder != other.folder
    (tmp_path / one.folder).mkdir()
    assert packages.unpacked(one) == tmp_path / one.folder  # nothing is fetched
