"""Small synthetic series for tests: any orientation, and the ways in which a series can be wrong."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from pipelines.examples import Change, ct_study, write_stack
from pipelines.study import Series, Study

SPACING = (2.5, 0.75, 0.5)  # mm along Head, Posterior, Left: three different ones, so that no mix-up goes unseen
TOWARD = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # canonical axes (Head, Posterior, Left) in LPS

Axes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # for frame, row, column: (canonical axis, +1 or -1)


def voxels(shape: tuple[int, int, int] = (6, 8, 10), seed: int = 1) -> np.ndarray:
    """int16 HU without any symmetry, from -1000 to 3000."""
    return np.random.default_rng(seed).integers(-1000, 3000, shape, dtype=np.int16)


def series_of(paths: Sequence[Path]) -> Series:
    """The one series of some files."""
    (series,) = Study.from_files(paths).series
    return series


def axial(folder: Path, hu: np.ndarray | None = None, change: Change | None = None, **attributes: object) -> list[Path]:
    """An axial series in ascending order; `change` spoils each dataset before it is written."""
    array = voxels() if hu is None else hu
    return ct_study(array, SPACING, folder, "test", change, **attributes)  # type: ignore[arg-type]


def orientations() -> Iterator[Axes]:
    """All 48 ways in which frame, row and column axes can lie along the patient's, in either direction."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield tuple(zip(order, signs, strict=True))  # type: ignore[misc]


def oriented(folder: Path, hu: np.ndarray, axes: Axes, origin: Sequence[float] = (-31.0, 17.0, 240.0)) -> list[Path]:
    """Write the canonical array `hu` as a scanner would that acquires along `axes`. Canonical voxel (0, 0, 0) lies at
    `origin` (LPS mm) whatever the axes: see `place`."""
    source = hu.transpose([axis for axis, _ in axes])[tuple(slice(None, None, sign) for _, sign in axes)]
    steps = [sign * SPACING[axis] * TOWARD[axis] for axis, sign in axes]
    first = [0, 0, 0]
    for axis, sign in axes:
        first[axis] = 0 if sign > 0 else hu.shape[axis] - 1
    return write_stack(source, steps, place(first, origin), folder, "oriented", None, 1)


def place(index: Sequence[int], origin: Sequence[float] = (-31.0, 17.0, 240.0)) -> np.ndarray:
    """Where a canonical voxel of an `oriented` series lies, LPS mm."""
    return np.asarray(origin) + (np.asarray(index) * np.asarray(SPACING)) @ TOWARD


def turned(folder: Path, degrees: float, shape: tuple[int, int, int] = (8, 10, 12)) -> list[Path]:
    """A right-angled axial stack, turned as a whole by `degrees` about the patient's left-right axis (oblique)."""
    angle = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    steps = [turn @ (SPACING[axis] * TOWARD[axis]) for axis in range(3)]
    return write_stack(voxels(shape), steps, (0, 0, 0), folder, "turned", None, 1)


def tilted(folder: Path, degrees: float) -> list[Path]:
    """Gantry tilt: slices that are axial but stacked aslant."""
    steps = [SPACING[axis] * TOWARD[axis] for axis in range(3)]
    steps[0] = steps[0] + np.array([0, SPACING[0] * np.tan(np.radians(degrees)), 0])
    return write_stack(voxels((24, 8, 10)), steps, (0, 0, 0), folder, "tilted", None, 1)


def shuffled(paths: Sequence[Path], seed: int = 5) -> list[Path]:
    """The paths in another order."""
    order = list(paths)
    random.Random(seed).shuffle(order)
    assert order != list(paths)
    return order


def rewritten(path: Path, **attributes: object) -> Path:
    """Set attributes of a file in place; an attribute given as None is deleted."""
    dataset = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def duplicated(path: Path) -> Path:
    """A second image at the place of `path`, with a UID of its own."""
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID[:60]}.9"
    copy = path.with_name(f"{path.stem}-again.dcm")
    dataset.save_as(copy)
    return copy


def truncated(path: Path, missing: int) -> Path:
    """Cut `missing` bytes off the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-missing])
    return path


def compressed(paths: Sequence[Path], transfer_syntax: str) -> list[Path]:
    """Compress single-frame files in place, losslessly: RLE and JPEG-LS by pydicom's encoders, the others by GDCM's."""
    for path in paths:
        if transfer_syntax in (RLELossless, JPEGLSLossless):
            dataset = pydicom.dcmread(path)
            dataset.compress(transfer_syntax, generate_instance_uid=False)
            dataset.save_as(path)
        else:
            _compress_by_gdcm(path, transfer_syntax)
    return list(paths)


def _compress_by_gdcm(path: Path, transfer_syntax: str) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(transfer_syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def relabelled(path: Path, old: str, new: str) -> Path:
    """Overwrite a transfer syntax UID in a file's bytes, which no library would write. Both are of the same length."""
    content = path.read_bytes()
    assert len(old) == len(new) and content.count(old.encode()) == 1
    path.write_bytes(content.replace(old.encode(), new.encode()))
    return path


def monochrome1(paths: Sequence[Path], modality: str) -> list[Path]:
    """Declare files as MONOCHROME1 images of a modality: unsigned 12 bits, inverted so that they show the same."""
    for path in paths:
        dataset = pydicom.dcmread(path)
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(np.int32)
        dataset.Modality, dataset.PhotometricInterpretation = modality, "MONOCHROME1"
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        dataset.RescaleIntercept = "0"
        dataset.PixelData = (4095 - (stored + 1000)).astype("<u2").tobytes()
        dataset.save_as(path)
    return list(paths)


def enhanced(paths: Sequence[Path], target: Path, order: Sequence[int] | None = None) -> Path:
    """One Enhanced CT object from single-frame files: geometry and rescale in functional groups (PS3.3 A.38), frames in
    `order` (indices of `paths`)."""
    singles = [pydicom.dcmread(paths[index]) for index in (order or range(len(paths)))]
    made = deepcopy(singles[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SliceLocation",
                    "RescaleSlope", "RescaleIntercept", "RescaleType"):  # fmt: skip
        delattr(made, keyword)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.NumberOfFrames = len(singles)
    first = singles[0]
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=first.ImageOrientationPatient)
    shared.PixelMeasuresSequence = _item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    made.SharedFunctionalGroupsSequence = Items([shared])
    groups = []
    for one in singles:
        group = Dataset()
        group.PlanePositionSequence = _item(ImagePositionPatient=one.ImagePositionPatient)
        group.PixelValueTransformationSequence = _item(
            RescaleSlope=one.RescaleSlope, RescaleIntercept=one.RescaleIntercept, RescaleType="HU"
        )
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = Items(groups)
    made.PixelData = b"".join(one.PixelData for one in singles)
    made.save_as(target)
    return target


def bomb(path: Path, rows: int = 65535, columns: int = 65535, frames: int = 1, transfer_syntax: str = "") -> Path:
    """Shrink a file to about a kilobyte of pixel data that declares rows x columns x frames."""
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns = rows, columns
    if frames > 1:
        dataset.NumberOfFrames = frames
    if transfer_syntax:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData[:1000]] * frames)
        dataset["PixelData"].VR = "OB"
    else:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = dataset.PixelData[:160]
    dataset.save_as(path)
    return path


def bare(size: int = 1000, fill: int = 0) -> bytes:
    """A DICOM file of `size` bytes that a reader of headers takes: file meta information and bytes for pixels."""
    meta = b"".join(
        struct.pack("<HH2sH", 2, element, b"UI", len(uid)) + uid
        for element, uid in ((2, b"1.2.840.10008.5.1.4.1.1.2\0"), (3, b"1.2.3.45"), (0x10, b"1.2.840.10008.1.2.1\0"))
    )
    head = b"\0" * 128 + b"DICM" + meta + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0)
    pixels = size - len(head)
    return head[:-4] + struct.pack("<I", pixels) + bytes([fill]) * pixels


def _item(**attributes: object) -> Items:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return Items([item])
