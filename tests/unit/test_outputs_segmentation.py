from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from pipelines.outputs import reading
from pipelines.outputs.segmentation import Segmentation
from tests.results import MAKER, ORIENTATIONS, SEGMENTS, Case, bytes_of, case, enhanced, written


def read_back(made: Dataset, one: Case) -> np.ndarray:
    """The label map that a stored segmentation gives, by the source slices that its frames name."""
    masks = np.zeros_like(one.masks)
    places = list(
        zip((instance.SOPInstanceUID for instance in one.volume.instances), one.volume.frame_numbers, strict=True)
    )
    for (number, place), mask in reading.masks(made).frames.items():
        masks[places.index(place)][mask] = number
    return masks


@pytest.mark.parametrize("steps", ORIENTATIONS)
def test_every_frame_names_the_source_slice_that_it_was_made_from(tmp_path: Path, steps: str) -> None:
    one = case(written(tmp_path, steps))
    made = one.made()["segmentation"][0]
    assert np.array_equal(read_back(made, one), one.masks)


def test_frames_of_an_enhanced_source_are_referred_to_by_their_number(tmp_path: Path) -> None:
    order = tuple(int(index) for index in np.random.default_rng(4).permutation(24))
    one = case(enhanced(tmp_path, order))
    made = one.made()
    assert np.array_equal(read_back(made["segmentation"][0], one), one.masks)
    assert {len(one.masks[0]), *made["segmentation"][0].pixel_array.shape[1:]} == {48, 56}
    assert made["heatmap"][0].SourceImageSequence[0].ReferencedFrameNumber == one.volume.frame_numbers[3]


def test_a_compressed_source_gives_a_native_segmentation_on_its_instances(tmp_path: Path) -> None:
    one = case(
        written(tmp_path, change=lambda dataset, index: dataset.compress(RLELossless, generate_instance_uid=False))
    )
    assert one.study.instances[0].header.file_meta.TransferSyntaxUID == RLELossless
    made = one.made()["segmentation"][0]
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(read_back(made, one), one.masks)


def test_frames_without_voxels_are_left_out(tmp_path: Path) -> None:
    one = case(written(tmp_path))
    made = one.made()["segmentation"][0]
    full = sum(int((one.masks == number).any(axis=(1, 2)).sum()) for number in (1, 2))
    assert made.NumberOfFrames == full < 2 * len(one.masks)
    assert made.pixel_array.any(axis=(1, 2)).all()


def test_segments_are_coded_sided_coloured_and_named_as_automatic(tmp_path: Path) -> None:
    made = case(written(tmp_path)).made()["segmentation"][0]
    left, right = made.SegmentSequence
    for segment, side in ((left, "Left"), (right, "Right")):
        assert segment.SegmentLabel == f"{side} lung" and segment.SegmentAlgorithmType == "AUTOMATIC"
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == side
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
        assert segment.AnatomicRegionSequence[0].CodingSchemeDesignator == "SCT"
    colours = [one.rgb for one in reading.masks(made).segments]
    assert np.abs(np.array(colours) - [(72, 160, 255), (255, 152, 48)]).max() <= 1


def test_the_series_is_in_the_pipelines_own_range_and_says_who_made_it(tmp_path: Path) -> None:
    made = case(written(tmp_path)).made()["segmentation"][0]
    assert made.SeriesNumber == 9001
    assert made.SeriesDescription == "AI ct-lung 2.1.0 segmentation" and made.ContentLabel == "AI_SEG"
    assert made.ContentDescription == "AI result, not for primary diagnosis"
    assert made.BodyPartExamined == "CHEST" and made.Modality == "SEG"


def test_a_series_number_that_the_study_has_already_is_not_used_again(tmp_path: Path) -> None:
    made = case(written(tmp_path, change=lambda dataset, index: setattr(dataset, "SeriesNumber", 9001))).made()
    assert made["segmentation"][0].SeriesNumber == 1009001


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    study = written(tmp_path)
    assert bytes_of(case(study).made()["segmentation"]) == bytes_of(case(study).made()["segmentation"])


def test_no_segmentation_is_made_of_an_empty_mask(tmp_path: Path) -> None:
    study = written(tmp_path)
    assert case(study, np.zeros((24, 48, 56), np.uint8)).made()["segmentation"] == []


def test_no_segmentation_is_made_without_a_frame_of_reference(tmp_path: Path) -> None:
    def take_away(dataset: Dataset, index: int) -> None:
        dataset.pop("FrameOfReferenceUID", None)

    made = case(written(tmp_path, change=take_away)).made()
    assert made["segmentation"] == [] and len(made["report"]) == 1 and made["heatmap"]
    series = made["report"][0].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(series) == 1  # the images alone: it must not refer to a segmentation that is not there


def test_a_frame_of_reference_of_each_image_is_taken_from_the_first(tmp_path: Path) -> None:
    one = case(
        written(tmp_path, change=lambda dataset, index: setattr(dataset, "FrameOfReferenceUID", f"1.2.3.{index + 1}"))
    )
    assert one.made()["segmentation"][0].FrameOfReferenceUID == "1.2.3.1"


def test_one_lung_alone_keeps_the_numbers_of_the_segments(tmp_path: Path) -> None:
    one = case(written(tmp_path))
    right = case(one.study, np.where(one.masks == 2, 2, 0).astype(np.uint8))
    made = right.made()["segmentation"][0]
    numbers = {
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for frame in made.PerFrameFunctionalGroupsSequence
    }
    assert numbers == {2} and len(made.SegmentSequence) == 2


def test_masks_of_another_shape_are_refused(tmp_path: Path) -> None:
    one = case(written(tmp_path))
    with pytest.raises(ValueError, match="shape"):
        Segmentation(one.volume, one.masks[1:], SEGMENTS).to_dicom(one.study, MAKER)


def test_a_segmentation_of_one_segment_names_it_in_every_frame(tmp_path: Path) -> None:
    study = written(tmp_path)
    left = (case(study).masks == 1).astype(np.uint8)
    one = case(study, left, SEGMENTS[:1])
    made = one.made()["segmentation"][0]
    assert len(made.SegmentSequence) == 1
    assert np.array_equal(read_back(made, one), left)
