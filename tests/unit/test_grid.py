"""What is not one regular stack of slices is refused, and the reason names the place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.base import Unsuitable
from pipelines.grid import Grid, View
from tests import builders
from tests.builders import rewritten


def refusal(paths: list[Path]) -> str:
    """The one line with which the files' grid is refused."""
    with pytest.raises(Unsuitable) as caught:
        Grid.from_series(builders.series_of(paths))
    assert "\n" not in caught.value.reason
    for private in ("Phantom^Chest", "PHANTOM", str(paths[0].parent)):
        assert private not in caught.value.reason
    return caught.value.reason


@pytest.fixture
def stack(tmp_path: Path) -> list[Path]:
    """Twelve good slices, 2.5 mm apart, from -27.5 to 0 mm."""
    return builders.axial(tmp_path, builders.voxels((12, 8, 10)))


def test_a_good_stack_needs_no_pixels_to_be_placed(stack: list[Path]) -> None:
    for path in stack:
        rewritten(path, PixelData=b"\0\0")
    grid = Grid.from_series(builders.series_of(builders.shuffled(stack)))
    assert grid.shape == (12, 8, 10)
    assert grid.spacing == pytest.approx((2.5, 0.75, 0.5))


def test_a_missing_slice_is_named_in_millimetres(stack: list[Path]) -> None:
    reason = refusal(stack[:4] + stack[5:])
    assert "gap: 1 slice seems to be missing" in reason and "between -20.0 and -15.0 mm" in reason


def test_several_missing_slices_are_counted(stack: list[Path]) -> None:
    assert "gap: 4 slices seem to be missing, first between -25.0 and -15.0 mm" in refusal(
        stack[:2] + stack[5:8] + stack[9:]
    )


def test_a_slice_that_is_there_twice_is_named(stack: list[Path]) -> None:
    reason = refusal([*stack, builders.duplicated(stack[6])])
    assert "duplicates: a slice lies where another does, first at -12.5 mm" in reason


def test_two_interleaved_stacks_are_uneven(stack: list[Path], tmp_path: Path) -> None:
    other = builders.ct_study(builders.voxels((12, 8, 10)), builders.SPACING, tmp_path / "other", "test",
                              lambda one, _: _shift(one, 0.8))  # fmt: skip
    assert "uneven" in refusal([*stack, *other]) or "gap" in refusal([*stack, *other])


@pytest.mark.parametrize("jitter", [0.02, 0.1, 0.2])
def test_small_irregularities_of_the_table_are_taken(stack: list[Path], jitter: float) -> None:
    _move(stack[5], (0, 0, jitter / 2))
    _move(stack[6], (0, 0, -jitter / 2))
    grid = Grid.from_series(builders.series_of(stack))
    assert grid.spacing[0] == pytest.approx(2.5)


def test_a_slice_that_lies_half_a_step_off_is_refused(stack: list[Path]) -> None:
    _move(stack[5], (0, 0, 1.0))
    assert refusal(stack).startswith(("uneven", "gap"))


@pytest.mark.parametrize("degrees", [1.5, 16.5, -20.0])
def test_gantry_tilt_is_refused_with_its_angle(degrees: float, tmp_path: Path) -> None:
    reason = refusal(builders.tilted(tmp_path, degrees))
    assert "sheared" in reason and f"{abs(degrees):.1f} degrees" in reason


def test_a_slice_beside_the_others_is_refused(stack: list[Path]) -> None:
    _move(stack[5], (3.0, 0, 0))
    assert "3.0 mm beside the others" in refusal(stack) and "-15.0 mm" in refusal(stack)


def test_slices_of_different_sizes_are_refused_with_both(stack: list[Path]) -> None:
    rewritten(stack[3], Rows=16)
    assert "16 x 10 pixels, others 8 x 10" in refusal(stack)


def test_slices_of_different_pixel_spacing_are_refused_with_both(stack: list[Path]) -> None:
    rewritten(stack[3], PixelSpacing=["0.75", "0.6"])
    assert "PixelSpacing of image 4 is 0.75 x 0.6 mm, of others 0.75 x 0.5 mm" in refusal(stack)


def test_a_slice_that_is_turned_against_the_others_is_refused(stack: list[Path]) -> None:
    angle = math.radians(2)
    rewritten(stack[3], ImageOrientationPatient=[f"{math.cos(angle):.7f}", f"{math.sin(angle):.7f}", "0",
                                                 f"{-math.sin(angle):.7f}", f"{math.cos(angle):.7f}", "0"])  # fmt: skip
    assert "image 4 is turned by 2.0 degrees" in refusal(stack)


def test_two_frames_of_reference_are_refused(stack: list[Path]) -> None:
    for path in stack[6:]:
        rewritten(path, FrameOfReferenceUID="2.25.7")
    assert "2 frames of reference" in refusal(stack)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"])
def test_an_image_without_what_places_it_is_named(stack: list[Path], keyword: str) -> None:
    rewritten(stack[4], **{keyword: None})
    reason = refusal(stack)
    assert keyword in reason and "image 5" in reason


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]),
        ("ImageOrientationPatient", ["0", "0", "0", "0", "0", "0"]),
        ("ImageOrientationPatient", ["1", "0", "0"]),
        ("PixelSpacing", ["0", "0"]),
        ("PixelSpacing", ["-0.75", "0.5"]),
        ("PixelSpacing", "0.75"),
        ("ImagePositionPatient", ["0", "0"]),
        ("RescaleSlope", "0"),
    ],
)
def test_geometry_that_is_nonsense_is_refused(stack: list[Path], keyword: str, value: object) -> None:
    rewritten(stack[4], **{keyword: value})
    assert keyword in refusal(stack)


def test_one_slice_is_no_volume(stack: list[Path]) -> None:
    assert "one slice only" in refusal(stack[:1])


def test_an_enhanced_object_whose_groups_do_not_count_its_frames_is_refused(stack: list[Path], tmp_path: Path) -> None:
    path = rewritten(builders.enhanced(stack, tmp_path / "enhanced.dcm"), NumberOfFrames=11)
    assert "declares 11 frames and places 12" in refusal([path])


def test_a_multi_frame_object_without_functional_groups_is_refused(stack: list[Path], tmp_path: Path) -> None:
    path = rewritten(builders.enhanced(stack, tmp_path / "enhanced.dcm"), PerFrameFunctionalGroupsSequence=None,
                     ImagePositionPatient=["0", "0", "0"])  # fmt: skip
    assert "12 frames and no functional groups" in refusal([path])


def test_the_view_is_its_own_inverse_for_every_right_angled_affine() -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for axes in builders.orientations():
        affine = np.eye(4)
        for column, (axis, sign) in enumerate(axes):
            affine[:3, column] = sign * builders.TOWARD[axis]
        view = View.of(affine)
        assert view.oblique == pytest.approx(0, abs=1e-4)
        assert np.array_equal(view.undo(view.apply(array)), array)
        assert np.array_equal(view.apply(view.undo(array)), array)


@pytest.mark.parametrize(
    ("series", "reason"), [("philips-phantom-tilt", "16.5 degrees"), ("o15", "between 28.5 and 30.5 mm")]
)
def test_real_faults_are_found(series: str, reason: str, real_data: Path) -> None:
    from pipelines.study import Study

    folder = next(real_data.glob(f"{series}*")) if series == "o15" else next(real_data.rglob(f"{series}*"))
    with pytest.raises(Unsuitable, match=reason):
        Grid.from_series(Study.from_folder(folder).series[0])


def _move(path: Path, by: tuple[float, float, float]) -> None:
    import pydicom

    position = pydicom.dcmread(path).ImagePositionPatient
    rewritten(path, ImagePositionPatient=[f"{float(at) + step:.4f}" for at, step in zip(position, by, strict=True)])


def _shift(one: object, by: float) -> None:
    x, y, z = one.ImagePositionPatient  # type: ignore[attr-defined]
    one.ImagePositionPatient = [str(x), str(y), f"{float(z) + by:.4f}"]  # type: ignore[attr-defined]
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{one.SOPInstanceUID[:60]}.7"  # type: ignore[attr-defined]
