"""Results to test: small CT studies with two ellipsoids as lungs, and the three outputs on them, without a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, EnhancedCTImageStorage

from pipelines.base import Output
from pipelines.examples import write_stack
from pipelines.outputs import codes, colours
from pipelines.outputs.check import Gate
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.identity import Maker
from pipelines.outputs.parts import Finding, KeyRegion, Measurement, Segment
from pipelines.outputs.report import Report
from pipelines.outputs.segmentation import Segmentation
from pipelines.study import Study
from pipelines.volume import Volume

MAKER = Maker("ct-lung", "1.0.0", "ct-lung", "2.1.0", "0f" * 32, "0.1.0", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
SEGMENTS = tuple(
    Segment(number, f"{side.meaning} lung", codes.ANATOMICAL_STRUCTURE, codes.LUNG, side, codes.LUNG, colour,
            f"{side.meaning} lung, aerated")
    for number, (side, colour) in enumerate(((codes.LEFT, colours.LEFT_COLOUR), (codes.RIGHT, colours.RIGHT_COLOUR)), 1)
)  # fmt: skip
# Frame, row and column steps (LPS mm) of the ways in which an axial series may lie
ORIENTATIONS: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "supine, head first": ((0, 0, 4), (0, 1.5, 0), (1.25, 0, 0)),
    "slices from the head down": ((0, 0, -4), (0, 1.5, 0), (1.25, 0, 0)),
    "turned by 180 degrees in plane": ((0, 0, 4), (0, -1.5, 0), (-1.25, 0, 0)),
    "rows and columns swapped": ((0, 0, 4), (1.25, 0, 0), (0, 1.5, 0)),
    "oblique": ((0, 1.0, 3.8729833), (0, 1.4523688, -0.375), (1.25, 0, 0)),
    "coronal": ((0, 4, 0), (0, 0, -1.5), (1.25, 0, 0)),
}


def written(folder: Path, steps: str = "supine, head first", shape: tuple[int, int, int] = (24, 48, 56),
            change=None, seed: str = "results", **attributes: object) -> Study:  # fmt: skip
    """A CT study of water with some noise, on the given grid."""
    hu = np.random.default_rng(0).integers(-60, 60, shape, dtype=np.int16)
    vectors = [np.array(step, dtype=float) for step in ORIENTATIONS[steps]]
    return Study.from_files(write_stack(hu, vectors, (-30.5, 12.25, -301.75), folder, seed, change, 2, **attributes))


def radiograph(folder: Path, shape: tuple[int, int] = (700, 600), **attributes: object) -> Study:
    """A study of one chest radiograph, a ramp from dark to bright; an attribute of None is taken away."""

    def change(dataset: Dataset, index: int) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "SliceThickness", "KVP",
                        "FrameOfReferenceUID", "PositionReferenceIndicator", "PixelSpacing", "ConvolutionKernel"):  # fmt: skip
            dataset.pop(keyword, None)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.Modality, dataset.PatientOrientation = "DX", ["L", "F"]
        dataset.ImagerPixelSpacing = ["0.2", "0.2"]
        for keyword, value in attributes.items():
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)

    ramp = np.linspace(0, 4095, shape[0] * shape[1]).reshape(1, *shape).astype(np.int16)
    steps = [np.array(step, dtype=float) for step in ORIENTATIONS["coronal"]]
    return Study.from_files(write_stack(ramp, steps, (0, 0, 0), folder, "radiograph", change, 1))


def ellipsoids(volume: Volume) -> np.ndarray:
    """A label map on the source grid: 1 in the patient's left half, 2, smaller, in the right half; ends left empty."""
    shape = volume.canonical().shape
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij")
    left = (z / 0.8) ** 2 + (y / 0.6) ** 2 + ((x - 0.5) / 0.35) ** 2 < 1
    right = (z / 0.5) ** 2 + (y / 0.5) ** 2 + ((x + 0.5) / 0.3) ** 2 < 1
    return volume.from_canonical(np.where(left, 1, np.where(right, 2, 0)).astype(np.uint8))


def finding(volume: Volume, masks: np.ndarray, segment: Segment) -> Finding:
    """What a report says of one segment: its volume, and a box around it on its largest slice; or that it is not there."""
    mask = masks == segment.number
    if not mask.any():
        return Finding(segment.tracking_id, segment.type, codes.LUNG, segment.modifier, None)
    key = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(mask[key])
    box = [
        (columns.min(), rows.min()),
        (columns.max(), rows.min()),
        (columns.max(), rows.max()),
        (columns.min(), rows.max()),
    ]
    measured = (Measurement(codes.VOLUME, round(float(mask.sum() * volume.voxel_ml), 2), codes.MILLILITRE),
                Measurement(codes.ATTENUATION, round(float(volume.voxels[mask].mean()), 1), codes.HOUNSFIELD, codes.MEAN))  # fmt: skip
    return Finding(segment.tracking_id, segment.type, codes.LUNG, segment.modifier,
                   KeyRegion(key, np.array(box, dtype=float)), measured, segment=segment.number)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """A study, its volume, a label map on it, and the outputs."""

    study: Study
    volume: Volume
    masks: np.ndarray
    segmentation: Segmentation
    report: Report
    heatmap: Heatmap

    def made(self, maker: Maker = MAKER) -> dict[str, list[Dataset]]:
        """The DICOM objects of each output, through the gate."""
        made = {}
        outputs = (self.segmentation, self.report, self.heatmap)
        gate = Gate(self.study, maker, [output.name for output in outputs])
        for output in outputs:
            made[output.name] = list(output.to_dicom(self.study, maker))
            for number, dataset in enumerate(made[output.name], 1):
                gate.release(output.name, number, dataset)
        return made


def case(study: Study, masks: np.ndarray | None = None, segments: tuple[Segment, ...] = SEGMENTS) -> Case:
    """The outputs on the study's first series, with `masks` or the two ellipsoids as the described `segments`."""
    volume = Volume.from_series(study.series[0])
    if masks is None:
        masks = ellipsoids(volume)
    segmentation = Segmentation(volume, masks, segments)
    report = Report(volume, [finding(volume, masks, one) for one in segments], (), segmentation)
    heat = {one.label: np.where(masks == one.number, np.float16(0.9), np.float16(0)) for one in segments}
    return Case(
        study,
        volume,
        masks,
        segmentation,
        report,
        Heatmap(volume, heat, "Softmax probability", window=(-400.0, 1500.0)),
    )


def enhanced(folder: Path, order: tuple[int, ...]) -> Study:
    """The same study as one Enhanced CT instance, its frames stored in `order` of the slices (PS3.3 A.38)."""
    single = [pydicom.dcmread(one.path) for one in written(folder / "single").instances]
    made = copy.deepcopy(single[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SliceLocation",
                    "RescaleSlope", "RescaleIntercept", "RescaleType"):  # fmt: skip
        del made[keyword]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.NumberOfFrames = len(order)
    shared, measures, orientation, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = single[0].PixelSpacing, single[0].SliceThickness
    orientation.ImageOrientationPatient = single[0].ImageOrientationPatient
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "1", "0", "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [rescale]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for index in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = single[index].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        made.PerFrameFunctionalGroupsSequence.append(frame)
    made.PixelData = b"".join(single[index].PixelData for index in order)
    path = folder / "enhanced.dcm"
    made.save_as(path, enforce_file_format=True)
    return Study.from_files([path])


def released(output: Output, study: Study, maker: Maker = MAKER) -> list[Dataset]:
    """An output's objects through the gate, written and read again."""
    gate = Gate(study, maker)
    numbered = enumerate(output.to_dicom(study, maker), 1)
    return [gate.release(output.name, number, dataset).dataset() for number, dataset in numbered]


def source_corners(volume: Volume, index: int) -> np.ndarray:
    """The outer corners (4, 3) of a frame of a volume, LPS mm, by its affine."""
    rows, columns = volume.voxels.shape[1:]
    ends = [(row, column) for row in (-0.5, rows - 0.5) for column in (-0.5, columns - 0.5)]
    return np.array([(volume.affine @ (index, row, column, 1))[:3] for row, column in ends])


def places(volume: Volume) -> list[tuple[str, int]]:
    """SOP Instance UID and frame number of each frame."""
    return [(one.SOPInstanceUID, number) for one, number in zip(volume.instances, volume.frame_numbers, strict=True)]


def bytes_of(datasets: list[Dataset]) -> list[bytes]:
    """Each object as the bytes of its file."""
    files = []
    for dataset in datasets:
        file = BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        files.append(file.getvalue())
    return files


def saved(made: Mapping[str, list[Dataset]], folder: Path) -> dict[str, list[Path]]:
    """The objects as files, by output."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[Path]] = {}
    for name, datasets in made.items():
        files[name] = [folder / f"{name}-{number:03d}.dcm" for number in range(len(datasets))]
        for dataset, path in zip(datasets, files[name], strict=True):
            dataset.save_as(path, enforce_file_format=True)
    return files
