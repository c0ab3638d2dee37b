from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs.check import Gate
from pipelines.outputs.identity import Maker
from pipelines.outputs.placement import content_items
from pipelines.study import Replaced, Study
from tests.results import MAKER, Case, case, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(
        written(tmp_path_factory.mktemp("check"), shape=(12, 24, 28), PatientName="Secret^Name", PatientID="SECRET")
    )


@pytest.fixture(scope="module")
def made(one: Case) -> dict[str, list[Dataset]]:
    return one.made()


def check(name: str, datasets: list[Dataset], study: Study, maker: Maker) -> None:
    gate = Gate(study, maker, ("segmentation", "report", "heatmap", name))
    for number, dataset in enumerate(datasets, 1):
        gate.release(name, number, dataset)


def setting(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset, keyword, value)


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, keyword)


def moved(dataset: Dataset) -> None:
    """0.02 mm further along z."""
    frame = (
        dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
        if "SegmentSequence" in dataset
        else dataset
    )
    x, y, z = frame.ImagePositionPatient
    frame.ImagePositionPatient = [x, y, float(z) + 0.02]


def stretched(dataset: Dataset) -> None:
    """Pixels 0.1 % larger: off by less than a tenth of a pixel at the far corner, and still wrong."""
    where = (
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0] if "SegmentSequence" in dataset else dataset
    )
    where.PixelSpacing = [float(value) * 1.001 for value in where.PixelSpacing]


def mirrored(dataset: Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    shared.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def foreign_frame(dataset: Dataset) -> None:
    source = dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = "1.2.3"


def other_class(dataset: Dataset) -> None:
    dataset.SourceImageSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"


def frame_that_is_not_there(dataset: Dataset) -> None:
    dataset.SourceImageSequence[0].ReferencedFrameNumber = 2


def outside(dataset: Dataset) -> None:
    region = next(item for item in content_items(dataset) if item.ValueType == "SCOORD")
    region.GraphicData = [*region.GraphicData[:2], 29.5, 3.0, *region.GraphicData[4:]]


def no_region(dataset: Dataset) -> None:
    group = next(item for item in content_items(dataset) if item.ConceptNameCodeSequence[0].CodeValue == "125007")
    group.ContentSequence = [item for item in group.ContentSequence if item.ValueType != "SCOORD"]


def same_tracking(dataset: Dataset) -> None:
    for item in content_items(dataset):
        if item.ConceptNameCodeSequence[0].CodeValue == "112040":
            item.UID = "2.25.5"


def no_device(dataset: Dataset) -> None:
    dataset.ContributingEquipmentSequence[0].DeviceUID = "2.25.6"


def no_tracking(dataset: Dataset) -> None:
    del dataset.SegmentSequence[1].TrackingUID


BROKEN: dict[str, tuple[str, Callable[[Dataset], None], str]] = {
    "of another patient": ("report", setting("PatientID", "OTHER"), "PatientID is not that of"),
    "with the patient's name taken out": ("heatmap", setting("PatientName", ""), "PatientName is not that of"),
    "of another study": ("segmentation", setting("StudyInstanceUID", "1.2.3"), "StudyInstanceUID is not that of"),
    "in another frame of reference": (
        "segmentation",
        setting("FrameOfReferenceUID", "1.2.3"),
        "FrameOfReferenceUID is not",
    ),
    "with a random UID": ("report", setting("SOPInstanceUID", "2.25.1"), "SOPInstanceUID is not derived"),
    "in another series": ("heatmap", setting("SeriesInstanceUID", "2.25.1"), "SeriesInstanceUID is not derived"),
    "with a series number of the study": ("heatmap", setting("SeriesNumber", 2), "SeriesNumber is that of a series"),
    "with an invalid UID": ("report", setting("InstanceCreatorUID", "1.02.3"), "InstanceCreatorUID is not a valid UID"),
    "without contributing equipment": ("report", without("ContributingEquipmentSequence"), "does not name us"),
    "without the model's device UID": ("heatmap", no_device, "lacks the Device UID"),
    "of another issuer's patient": ("report", setting("IssuerOfPatientID", "OTHER"), "IssuerOfPatientID is not that"),
    "without a Type 1 attribute": ("heatmap", without("ConversionType"), "ConversionType (Type 1)"),
    "with an empty Type 1 attribute": ("segmentation", setting("ContentLabel", ""), "ContentLabel (Type 1)"),
    "without a Type 1 attribute in a sequence": ("segmentation", no_tracking, "SegmentSequence/TrackingUID (Type 1)"),
    "without a Type 2 attribute": ("report", without("StudyTime"), "StudyTime (Type 2)"),
    "with a frame 0.02 mm off": ("segmentation", moved, "frame 3 lies 0.020 mm off"),
    "with a slice 0.02 mm off": ("heatmap", moved, "lies 0.020 mm off"),
    "with pixels that are too large": ("segmentation", stretched, "mm off its source slice"),
    "with slices that are too large": ("heatmap", stretched, "mm off its source slice"),
    "mirrored": ("segmentation", mirrored, "mm off its source slice"),
    "on an instance that is not held": ("segmentation", foreign_frame, "does not hold"),
    "on an instance of another class": ("heatmap", other_class, "ReferencedSOPClassUID is not the class"),
    "on a frame that is not there": ("heatmap", frame_that_is_not_there, "ReferencedFrameNumber"),
    "with a region outside the image": ("report", outside, "reaches outside"),
    "with a group that has no region": ("report", no_region, "no 2D region"),
    "with one tracking UID twice": ("report", same_tracking, "Tracking Unique Identifier"),
    "verified by nobody": ("report", setting("VerificationFlag", "VERIFIED"), "VerificationFlag"),
    "with pixels missing": (
        "heatmap",
        lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-2]),
        "PixelData has",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_gate_refuses_an_object(one: Case, made: dict[str, list[Dataset]], what: str) -> None:
    name, break_it, said = BROKEN[what]
    datasets = [copy.deepcopy(dataset) for dataset in made[name][:2]]
    break_it(datasets[-1])
    with pytest.raises(InvalidOutput) as refused:
        check(name, datasets, one.study, MAKER)
    text = str(refused.value)
    assert said in text and text.startswith(f"{name}, object {len(datasets)}: ")
    assert "\n" not in text and "SECRET" not in text.upper() and "OTHER" not in text


def test_the_gate_refuses_the_same_object_twice(one: Case, made: dict[str, list[Dataset]]) -> None:
    with pytest.raises(InvalidOutput, match="InstanceNumber is not the object"):
        check("report", made["report"] * 2, one.study, MAKER)


def test_the_gate_refuses_what_another_model_made(one: Case, made: dict[str, list[Dataset]]) -> None:
    with pytest.raises(InvalidOutput, match="SOPInstanceUID is not derived"):
        check("report", made["report"], one.study, replace(MAKER, model_digest="aa" * 32))


def test_the_gate_refuses_text_that_cannot_be_written(one: Case, made: dict[str, list[Dataset]]) -> None:
    broken = copy.deepcopy(made["report"][0])
    broken.Rows = 70_000  # does not fit into US
    with pytest.raises(InvalidOutput, match="cannot be written"):
        check("report", [broken], one.study, MAKER)


def test_the_gate_wants_the_predecessor_named(one: Case, made: dict[str, list[Dataset]]) -> None:
    earlier = (Replaced("report", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.77", "2.25.78"),)
    with pytest.raises(InvalidOutput, match="PredecessorDocumentsSequence"):
        check("report", made["report"], Study(one.study.StudyInstanceUID, one.study.series, 2, earlier), MAKER)


def test_the_gate_lets_whole_objects_pass(one: Case, made: dict[str, list[Dataset]]) -> None:
    for name, datasets in made.items():
        assert datasets
        check(name, datasets, one.study, MAKER)
