"""Synthetic studies: arrays written as the DICOM files of a scanner or a detector. For demonstrations, warm-up and
tests; no image of a person is in them, and they say so."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from pipelines.outputs.identity import IMPLEMENTATION_CLASS_UID, derived_uid

AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))  # to the next frame: Head; row: Posterior; column: Left
Change = Callable[[Dataset, int], None]


def ct_study(
    hu: np.ndarray,
    spacing: tuple[float, float, float],
    folder: Path,
    seed: str = "example",
    change: Change | None = None,
    SeriesNumber: int = 2,
    **attributes: object,
) -> list[Path]:
    """Write an axial CT series of a supine patient, head first; the paths in ascending order.

    `hu`: integers (slices, rows, columns), axis 0 toward the Head, 1 toward Posterior, 2 toward the patient's Left;
    `spacing`: mm in that order. The same `seed` gives the same UIDs: the patient, study and frame of reference hang on
    `seed`, the series on its number too. `attributes`: DICOM keywords to set in every instance; `change`: called with
    each dataset and its index before it is written. Raises ValueError for values beyond 16 bits.
    """
    extent = [(count - 1) * step for count, step in zip(hu.shape, spacing, strict=True)]
    origin = (-extent[2] / 2, -extent[1] / 2, -extent[0])
    steps = [step * np.array(axis) for step, axis in zip(spacing, AXIAL, strict=True)]
    return write_stack(hu, steps, origin, folder, seed, change, SeriesNumber, **attributes)


def write_stack(
    hu: np.ndarray,
    steps: Sequence[np.ndarray],
    origin: Sequence[float],
    folder: Path,
    seed: str,
    change: Change | None,
    SeriesNumber: int,
    **attributes: object,
) -> list[Path]:
    """Write a stack of parallel CT slices in any direction: `steps` are the vectors (LPS mm) from one frame, row and
    column to the next, `origin` the centre of voxel (0, 0, 0). Raises ValueError for values beyond 16 bits."""
    if hu.min() < -(2**15) or hu.max() >= 2**15:
        raise ValueError("HU values beyond the 16 bits of a CT image")
    folder.mkdir(parents=True, exist_ok=True)
    common = _common(hu.shape, steps, seed, SeriesNumber)
    for keyword, value in attributes.items():
        setattr(common, keyword, value)
    paths = []
    for index, frame in enumerate(hu):
        one = copy.copy(common)
        position = np.asarray(origin, dtype=float) + index * np.asarray(steps[0])
        one.SOPInstanceUID = derived_uid(seed, "instance", str(SeriesNumber), str(index))
        one.InstanceNumber = index + 1
        one.ImagePositionPatient = [f"{value:.6g}" for value in position]
        one.SliceLocation = f"{position[2]:.6g}"
        one.PixelData = frame.astype("<i2").tobytes()
        one.file_meta = _meta(one)
        if change is not None:
            change(one, index)
        path = folder / f"{SeriesNumber:03d}-{index + 1:05d}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def radiograph(
    image: np.ndarray,
    folder: Path,
    seed: str = "radiograph",
    SeriesNumber: int = 1,
    InstanceNumber: int = 1,
    **attributes: object,
) -> list[Path]:
    """Write a chest radiograph (PS3.3 A.26, Digital X-Ray Image IOD) from the front. `image`: uint8 or uint16 (rows,
    columns), bright = dense, of which as many bits are stored as its largest value needs, at least eight. Patient and
    study hang on `seed`, the series on its number too. `attributes`: DICOM keywords to set, also to other values."""
    folder.mkdir(parents=True, exist_ok=True)
    one = _person(seed, SeriesNumber)
    one.ImageType = ["ORIGINAL", "PRIMARY", ""]
    one.SOPClassUID = DigitalXRayImageStorageForPresentation
    one.SOPInstanceUID = derived_uid(seed, "instance", str(SeriesNumber), str(InstanceNumber))
    one.InstanceNumber, one.Modality = InstanceNumber, "DX"
    one.StudyDescription = "Chest, synthetic phantom"
    one.SeriesDescription = "Frontal, synthetic phantom"
    one.PresentationIntentType = "FOR PRESENTATION"
    one.ViewPosition, one.ImageLaterality, one.PatientOrientation = "PA", "U", ["L", "F"]
    one.PixelIntensityRelationship, one.PixelIntensityRelationshipSign = "LOG", -1
    one.BurnedInAnnotation, one.LossyImageCompression, one.PresentationLUTShape = "NO", "00", "IDENTITY"
    bits = max(8, int(image.max()).bit_length())
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows, one.Columns = image.shape
    one.ImagerPixelSpacing = ["0.8", "0.8"]
    one.BitsAllocated = 8 * image.itemsize
    one.BitsStored, one.HighBit, one.PixelRepresentation = bits, bits - 1, 0
    one.WindowCenter, one.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    one.RescaleIntercept, one.RescaleSlope, one.RescaleType = "0", "1", "US"
    one.PixelData = image.astype(image.dtype.newbyteorder("<")).tobytes() + b"\0" * (image.nbytes % 2)
    for keyword, value in attributes.items():
        setattr(one, keyword, value)
    one["PixelData"].VR = "OB" if one.BitsAllocated == 8 else "OW"
    one.file_meta = _meta(one)
    path = folder / f"{SeriesNumber:03d}-{InstanceNumber:05d}.dcm"
    one.save_as(path, enforce_file_format=True)
    return [path]


def _common(shape: tuple[int, ...], steps: Sequence[np.ndarray], seed: str, number: int) -> Dataset:
    """What all instances of a series share (PS3.3 A.3, CT Image IOD)."""
    lengths = [float(np.linalg.norm(step)) for step in steps]
    one = _person(seed, number)
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.SOPClassUID = CTImageStorage
    one.Modality = "CT"
    one.StudyDescription = "CT chest, synthetic phantom"
    one.SeriesDescription = "Axial, synthetic phantom"
    one.SliceThickness = f"{lengths[0]:.6g}"
    one.ConvolutionKernel = "STANDARD"
    one.PatientPosition = "HFS"
    along = [np.asarray(steps[axis]) / lengths[axis] for axis in (2, 1)]
    one.ImageOrientationPatient = [f"{value:.6g}" for direction in along for value in direction]
    one.FrameOfReferenceUID = derived_uid(seed, "frame of reference")
    one.PositionReferenceIndicator = ""
    one.SamplesPerPixel = 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.Rows, one.Columns = shape[1:]
    one.PixelSpacing = [f"{lengths[1]:.6g}", f"{lengths[2]:.6g}"]
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.WindowCenter, one.WindowWidth = "40", "400"
    one.RescaleIntercept, one.RescaleSlope, one.RescaleType = "0", "1", "HU"
    return one


def _person(seed: str, number: int) -> Dataset:
    """Patient, study, series and equipment, the same for every modality."""
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = "20260102"
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = "090000"
    one.AccessionNumber = "PHANTOM"
    one.Manufacturer = "Overread"
    one.ManufacturerModelName = "Phantom"
    one.DeviceSerialNumber = "0"
    one.SoftwareVersions = "1"
    one.ReferringPhysicianName = ""
    one.PatientName = "Phantom^Chest"
    # Orthanc 1.10 finds no identifier with a blank over QIDO-RS
    one.PatientID = f"PHANTOM-{seed}".replace(" ", "-")[:64]
    one.PatientBirthDate = ""
    one.PatientSex = "O"
    one.BodyPartExamined = "CHEST"
    one.KVP = "120"
    one.StudyInstanceUID = derived_uid(seed, "study")
    one.SeriesInstanceUID = derived_uid(seed, "series", str(number))
    one.StudyID = "1"
    one.SeriesNumber = number
    one.AcquisitionNumber = 1
    return one


def _meta(one: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    return meta
