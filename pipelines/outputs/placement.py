"""Does a result lie where its source lies? Geometry read back from the objects, in millimetres."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MRImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from pipelines.outputs import origin
from pipelines.outputs.codes import LabelMapSegmentationStorage
from pipelines.study import Instance

TOLERANCE = 0.01  # mm, at every corner of a frame
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_SLICES = frozenset(
    ("CT", "MR", "PT", "NM")
)  # modalities whose images lie somewhere; a projection may say so and does not


def misplaced(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    """What of `dataset` does not lie on its source, as a text; None when all does. `held`: the study's instances."""
    look: Callable[[Dataset, Mapping[str, Instance]], str | None] | None = {
        SegmentationStorage: _segmentation, LabelMapSegmentationStorage: _segmentation,
        SecondaryCaptureImageStorage: _capture,
        MultiFrameTrueColorSecondaryCaptureImageStorage: _pages,
        GrayscaleSoftcopyPresentationStateStorage: _graphics,
        ParametricMapStorage: _segmentation,
        CTImageStorage: _derived, MRImageStorage: _derived,
    }.get(dataset.SOPClassUID)  # fmt: skip
    return look(dataset, held) if look else _regions(dataset, held)


def corners(position: np.ndarray, orientation: np.ndarray, spacing: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The outer corners of a frame, LPS mm, (4, 3): half a pixel outside the corner pixels' centres (PS3.3 C.7.6.2)."""
    along_columns, along_rows = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    ends = [(row, column) for row in (-0.5, rows - 0.5) for column in (-0.5, columns - 0.5)]
    return np.asarray([position + along_rows * row + along_columns * column for row, column in ends])


def _source_spacing(source: Instance, reference: Dataset) -> float:
    """Millimetres between the columns of a referenced frame."""
    return float(origin.plane(source, int(reference.get("ReferencedFrameNumber") or 1)).PixelSpacing[1])


def _source_corners(source: Instance, frame_number: int) -> np.ndarray:
    plane = origin.plane(source, frame_number)
    return corners(_numbers(plane.ImagePositionPatient), _numbers(plane.ImageOrientationPatient),
                   _numbers(plane.PixelSpacing), int(source.header.Rows), int(source.header.Columns))  # fmt: skip


def _numbers(values: object) -> np.ndarray:
    return np.asarray([float(value) for value in values], dtype=np.float64)  # type: ignore[attr-defined]


def _away(found: np.ndarray, wanted: np.ndarray, what: str) -> str | None:
    distance = float(np.abs(found - wanted).max())
    return None if distance <= TOLERANCE else f"{what} lies {distance:.3f} mm off its source slice"


def _segmentation(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    frames = dataset.PerFrameFunctionalGroupsSequence
    return _frames(dataset, [one.DerivationImageSequence[0].SourceImageSequence[0] for one in frames], held)


def _capture(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    source = dataset.SourceImageSequence[0]
    drawn_from = held[source.ReferencedSOPInstanceUID]
    if "ImagePositionPatient" not in dataset and not _is_slice(drawn_from):
        return _projection(dataset, drawn_from)
    for keyword in _PLACE:
        if not dataset.get(keyword):
            return f"{keyword} is missing, but its source says where it lies"
    spacing = _numbers(dataset.PixelSpacing)
    # to the right of the image there may be a legend, in columns of its own
    covered = round(int(drawn_from.header.Columns) * _source_spacing(drawn_from, source) / spacing[1])
    found = corners(_numbers(dataset.ImagePositionPatient), _numbers(dataset.ImageOrientationPatient),
                    spacing, dataset.Rows, min(covered, dataset.Columns))  # fmt: skip
    wanted = _source_corners(drawn_from, int(source.get("ReferencedFrameNumber") or 1))
    return _away(found, wanted, f"instance {dataset.InstanceNumber}")


def _derived(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    source = held[dataset.SourceImageSequence[0].ReferencedSOPInstanceUID].header
    if (dataset.Rows, dataset.Columns) != (source.Rows, source.Columns):
        return f"{dataset.Rows} x {dataset.Columns} pixels are not on the grid of {source.Rows} x {source.Columns}"
    return _capture(dataset, held)


def _pages(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    """A multi-frame capture, whose frames have their sources in the order of Source Image Sequence."""
    sources = list(dataset.SourceImageSequence)
    if len(sources) != dataset.NumberOfFrames:
        return f"SourceImageSequence names {len(sources)} images for {dataset.NumberOfFrames} frames"
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        if any(_is_slice(held[source.ReferencedSOPInstanceUID]) for source in sources):
            return "PerFrameFunctionalGroupsSequence is missing, but its source says where it lies"
        return _projection(dataset, held[sources[0].ReferencedSOPInstanceUID])
    if len(groups) != len(sources):
        return f"PerFrameFunctionalGroupsSequence places {len(groups)} of {len(sources)} frames"
    return _frames(dataset, sources, held)


def _frames(dataset: Dataset, sources: Sequence[Dataset], held: Mapping[str, Instance]) -> str | None:
    """Each frame of functional groups on its source; orientation and spacing are shared."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = _numbers(shared.PlaneOrientationSequence[0].ImageOrientationPatient)
    spacing = _numbers(shared.PixelMeasuresSequence[0].PixelSpacing)
    for number, (frame, source) in enumerate(zip(dataset.PerFrameFunctionalGroupsSequence, sources, strict=True), 1):
        position = _numbers(frame.PlanePositionSequence[0].ImagePositionPatient)
        found = corners(position, orientation, spacing, dataset.Rows, dataset.Columns)
        wanted = _source_corners(held[source.ReferencedSOPInstanceUID], int(source.get("ReferencedFrameNumber") or 1))
        if wrong := _away(found, wanted, f"frame {number}"):
            return wrong
    return None


def _is_slice(source: Instance) -> bool:
    placed = "ImagePositionPatient" in source.header or "PerFrameFunctionalGroupsSequence" in source.header
    return placed and str(source.get("Modality")) in _SLICES


def _projection(dataset: Dataset, source: Instance) -> str | None:
    """A picture of a radiograph: all of it, in its shape to a pixel, turned as it is, and as large in millimetres."""
    wanted = (int(source.header.Rows), int(source.header.Columns))
    found = (int(dataset.Rows), int(dataset.Columns))
    # sizes are rounded up: the factor between them lies above `least` and not above `most` along both sides
    least, most = (tuple((a - cut) / b for a, b in zip(found, wanted, strict=True)) for cut in (1, 0))
    if max(least) >= min(most):
        return f"{found[0]} x {found[1]} pixels have not the shape of the source's {wanted[0]} x {wanted[1]}"
    if origin.patient_orientation(dataset) != origin.patient_orientation(source.header):
        return "PatientOrientation is not that of the source"
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if not dataset.get(keyword):
            continue
        if not source.get(keyword):
            return f"{keyword} is there, but the source has none"
        for mine, its, count, whole in zip(
            _numbers(dataset.get(keyword)), _numbers(source.get(keyword)), found, wanted, strict=True
        ):
            if abs(mine * count - its * whole) > mine + TOLERANCE:
                return f"{keyword} makes it {mine * count:.1f} mm where its source has {its * whole:.1f} mm"
    return None


def _regions(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    """Every 2D region inside the image that it refers to."""
    for region in content_items(dataset):
        if region.get("ValueType") != "SCOORD":
            continue
        points = np.asarray(region.GraphicData, dtype=np.float64).reshape(-1, 2)
        for image in region.get("ContentSequence") or ():
            source = held.get(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            if source is None:
                return "a region refers to an image that the study does not hold"
            limits = (int(source.header.Columns), int(source.header.Rows))
            if (points < 0).any() or (points > limits).any():
                return f"a region reaches outside its image of {limits[1]} x {limits[0]}"
    return None


def _graphics(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    """Every drawn outline inside the images that it is drawn on, and on a layer that is there (PS3.3 C.10.5)."""
    layers = {layer.GraphicLayer for layer in dataset.GraphicLayerSequence}
    for annotation in dataset.GraphicAnnotationSequence:
        if annotation.GraphicLayer not in layers:
            return f"GraphicLayer {annotation.GraphicLayer} is not described"
        for graphic in annotation.get("GraphicObjectSequence") or ():
            points = np.asarray(graphic.GraphicData, dtype=np.float64).reshape(-1, 2)
            if len(points) != graphic.NumberOfGraphicPoints:
                return "NumberOfGraphicPoints is not the number of points"
            for image in annotation.ReferencedImageSequence:
                source = held[image.ReferencedSOPInstanceUID]
                limits = (int(source.header.Columns), int(source.header.Rows))
                if (points < 0).any() or (points > limits).any():
                    return f"an outline reaches outside its image of {limits[1]} x {limits[0]}"
    return None


def content_items(item: Dataset) -> Iterator[Dataset]:
    """Every content item below `item`, in the order of the document."""
    for child in item.get("ContentSequence") or ():
        yield child
        yield from content_items(child)
