"""Series -> Volume: whatever the files' order and the scanner's axes, every voxel keeps its place and its value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.base import Unsuitable
from pipelines.study import Series, Study
from pipelines.volume import Volume
from tests import builders
from tests.builders import Axes


@pytest.mark.parametrize("axes", list(builders.orientations()), ids=str)
def test_every_orientation_has_the_same_canonical_view_and_the_way_back_is_exact(axes: Axes, tmp_path: Path) -> None:
    hu = builders.voxels()
    volume = Volume.from_series(builders.series_of(builders.shuffled(builders.oriented(tmp_path, hu, axes))))
    assert np.array_equal(volume.canonical(), hu)
    assert volume.canonical_spacing == pytest.approx(builders.SPACING)
    assert np.array_equal(volume.from_canonical(volume.canonical()), volume.voxels)
    two = np.stack([hu, -hu])
    assert np.array_equal(volume.canonical(volume.from_canonical(two)), two)


@pytest.mark.parametrize("axes", list(builders.orientations()), ids=str)
def test_the_affine_says_where_each_voxel_lies_in_the_patient(axes: Axes, tmp_path: Path) -> None:
    hu = builders.voxels()
    volume = Volume.from_series(builders.series_of(builders.oriented(tmp_path, hu, axes)))
    for index in ((0, 0, 0), (5, 0, 0), (0, 7, 0), (0, 0, 9), (2, 3, 4)):
        mark = np.zeros(hu.shape, np.uint8)
        mark[index] = 1
        (found,) = np.argwhere(volume.from_canonical(mark))
        assert (volume.affine @ [*found, 1])[:3] == pytest.approx(builders.place(index), abs=1e-4)
    assert np.linalg.det(volume.affine[:3, :3]) != 0
    assert volume.voxel_ml == pytest.approx(np.prod(builders.SPACING) / 1000)


def test_each_frame_stands_with_the_instance_that_it_came_from(tmp_path: Path) -> None:
    volume = Volume.from_series(builders.series_of(builders.shuffled(builders.axial(tmp_path))))
    heights = [float(one.header.ImagePositionPatient[2]) for one in volume.instances]
    assert heights == sorted(heights)
    assert heights == pytest.approx([(volume.affine @ [k, 0, 0, 1])[2] for k in range(len(heights))])
    assert volume.frame_numbers == (1,) * len(heights)


def test_an_enhanced_multi_frame_object_gives_the_same_volume_as_its_single_frames(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path / "single")
    single = Volume.from_series(builders.series_of(paths))
    order = [3, 0, 5, 1, 4, 2]
    multi = Volume.from_series(builders.series_of([builders.enhanced(paths, tmp_path / "enhanced.dcm", order)]))
    assert np.array_equal(multi.voxels, single.voxels)
    assert multi.affine == pytest.approx(single.affine)
    assert multi.frame_numbers == tuple(order.index(k) + 1 for k in range(6))
    assert len(set(map(id, multi.instances))) == 1


def test_non_square_pixels_keep_their_two_spacings(tmp_path: Path) -> None:
    volume = Volume.from_series(builders.series_of(builders.axial(tmp_path)))
    assert volume.spacing == pytest.approx((2.5, 0.75, 0.5))


@pytest.mark.parametrize("degrees", [5, 20, 29, -29])
def test_a_stack_that_is_turned_a_little_is_taken_as_it_is(degrees: float, tmp_path: Path) -> None:
    volume = Volume.from_series(builders.series_of(builders.turned(tmp_path, degrees)))
    assert np.array_equal(volume.canonical(), builders.voxels((8, 10, 12)))
    assert volume.view.oblique == pytest.approx(abs(degrees), abs=0.01)


@pytest.mark.parametrize("degrees", [31, 45, -40])
def test_a_stack_that_is_turned_too_far_has_no_canonical_view(degrees: float, tmp_path: Path) -> None:
    volume = Volume.from_series(builders.series_of(builders.turned(tmp_path, degrees)))
    with pytest.raises(Unsuitable, match=f"oblique: .* by {abs(degrees)} degrees"):
        volume.canonical()


def test_rescale_is_applied_slice_by_slice(tmp_path: Path) -> None:
    hu = builders.voxels()
    paths = builders.axial(tmp_path, hu - hu % 2)
    for index, path in enumerate(paths):
        stored = (hu[index] - hu[index] % 2) // 2 + 10 * index
        builders.rewritten(
            path, RescaleSlope="2", RescaleIntercept=str(-20 * index), PixelData=stored.astype("<i2").tobytes()
        )
    volume = Volume.from_series(builders.series_of(paths))
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, hu - hu % 2)


def test_a_rescale_with_a_fraction_gives_float32(tmp_path: Path) -> None:
    hu = builders.voxels()
    volume = Volume.from_series(
        builders.series_of(builders.axial(tmp_path, hu, RescaleSlope="0.5", RescaleIntercept="-0.25"))
    )
    assert volume.voxels.dtype == np.float32
    assert volume.voxels == pytest.approx(np.maximum(hu * 0.5 - 0.25, -1024))


REAL = {
    "o01-ct-chest-lidc0314": ((60, 512, 512), (4.0, 0.78125, 0.78125), -1000, 1845, -622.023),
    "o04-ct-abdpelvis-3mm-totalseg": ((112, 101, 122), (3.0, 3.0, 3.0), -1024, 3071, None),
    "o03-ct-abdomen-j2k-totalseg": ((20, 512, 512), (2.0, 0.9765625, 0.9765625), -1024, 1839, None),
    "o07-mr-brain-tumour-pyradiomics": ((25, 256, 256), (6.5, 0.78125, 0.78125), 0, 3057, None),
}


@pytest.mark.parametrize("case", REAL)
def test_real_series_have_the_shape_spacing_and_values_that_their_index_says(case: str, real_data: Path) -> None:
    shape, spacing, low, high, mean = REAL[case]
    (series,) = Study.from_folder(real_data / case).series
    volume = Volume.from_series(series)
    assert volume.voxels.shape == shape
    assert volume.spacing == pytest.approx(spacing, abs=1e-4)
    assert (int(volume.voxels.min()), int(volume.voxels.max())) == (low, high)
    if mean is not None:
        assert float(volume.voxels.mean()) == pytest.approx(mean, abs=0.001)


def test_organs_of_a_real_liver_ct_have_the_attenuation_that_its_index_says(real_data: Path) -> None:
    (series,) = Study.from_folder(real_data / "o02-ct-abdomen-crlm1004").series
    volume = Volume.from_series(series)
    assert volume.instances[20].path.name == "1-17.dcm"
    assert volume.affine[2, 3] + 20 * volume.affine[2, 0] == pytest.approx(-255.0)
    organs = {"liver": (216, 244, 136, 164, 120.9, 13.7), "aorta": (258, 268, 257, 267, 141.4, 13.6),
              "spleen": (280, 300, 360, 380, 111.7, 10.0), "muscle": (350, 360, 195, 205, 71.4, 10.7)}  # fmt: skip
    for top, bottom, left, right, mean, spread in organs.values():
        region = volume.voxels[20, top:bottom, left:right]
        assert float(region.mean()) == pytest.approx(mean, abs=1.5)
        assert float(region.std()) == pytest.approx(spread, abs=1.0)


def test_an_image_turned_by_180_degrees_is_turned_back_in_the_canonical_view(real_data: Path) -> None:
    (series,) = Study.from_folder(real_data / "o04-ct-abdpelvis-3mm-totalseg").series
    volume = Volume.from_series(series)
    assert volume.view.flip[1:] == (True, True)
    canonical = volume.canonical()
    # the table lies posterior, and the spine: bone is in the posterior half
    bone = np.argwhere(canonical > 250)
    assert bone[:, 1].mean() > canonical.shape[1] / 2


def test_every_real_series_is_a_volume_or_says_why_not(real_data: Path) -> None:
    from pipelines.study import NotAStudy, is_dicom

    grouped: dict[tuple[str, str, str], list] = {}
    for path in sorted(one for one in real_data.rglob("*") if one.is_file()):
        if not is_dicom(path):
            continue
        try:
            study = Study.from_files([path])
        except NotAStudy as error:
            assert str(error)
            continue
        (series,) = study.series
        case = path.relative_to(real_data).parts[0]
        grouped.setdefault((case, study.StudyInstanceUID, series.SeriesInstanceUID), []).extend(series.instances)
    taken = 0
    for (_, _, uid), instances in grouped.items():
        try:
            volume = Volume.from_series(Series(uid, tuple(instances)))
        except Unsuitable as error:
            assert error.reason and "\n" not in error.reason and len(error.reason) < 400
        else:
            assert np.isfinite(volume.voxels).all()
            taken += 1
    assert taken >= 15
    assert len(grouped) > 60
