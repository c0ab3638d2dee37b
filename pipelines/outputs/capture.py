"""What every picture that we draw shares as DICOM: an RGB Secondary Capture on its source image (PS3.3 A.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from pipelines.frames import numbers
from pipelines.outputs import codes, equipment, origin
from pipelines.outputs.identity import Maker
from pipelines.outputs.overlay import averaged, ends_of, magnification, reduction, stretch, window
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.radiograph import Radiograph
    from pipelines.volume import Volume

# Body Part Examined values (PS3.16 annex L) that have no side; for every other one General Series asks for Laterality.
UNPAIRED = frozenset((
    "ABDOMEN", "ABDOMENPELVIS", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CSPINE", "HEAD", "HEADNECK",
    "HEART", "LIVER", "LSPINE", "NECK", "NECKCHEST", "PELVIS", "SKULL", "SPINE", "TSPINE", "WHOLEBODY",
))  # fmt: skip
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, eq=False)
class Canvas:
    """How the frames of a volume are drawn: small ones `times` finer, large radiographs `step` coarser.

    `window`: centre and width of the grey image, in its own units; None: from its 1st to its 99th percentile.
    """

    volume: Volume | Radiograph
    window: tuple[float, float] | None = None

    @cached_property
    def step(self) -> int:
        """How many source pixels along each side become one; 1 for all that has a place in the patient."""
        return 1 if self.volume.placed else reduction(*self.volume.voxels.shape[1:])

    @cached_property
    def times(self) -> int:
        """How many pixels along each side one source pixel becomes."""
        return 1 if self.step > 1 else magnification(*self.volume.voxels.shape[1:])

    @property
    def rows(self) -> int:
        """Rows of the picture; the last one of a coarser one may reach beyond the source by less than a pixel."""
        return -(-self.volume.voxels.shape[1] * self.times // self.step)

    @property
    def columns(self) -> int:
        """Columns of the picture, like `rows`."""
        return -(-self.volume.voxels.shape[2] * self.times // self.step)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return ends_of(self.volume.voxels)

    def grey(self, index: int) -> np.ndarray:
        """A frame in the window, uint8, coarser by `step`, and not yet finer by `times`."""
        frame = averaged(self.volume.voxels[index], self.step)
        return stretch(frame, *self._ends) if self.window is None else window(frame, *self.window)

    def enlarged(self, image: np.ndarray) -> np.ndarray:
        """An array (rows, columns, ...) made finer by `times`."""
        return image if self.times == 1 else image.repeat(self.times, axis=0).repeat(self.times, axis=1)

    def last_line(self, index: int) -> str:
        """The caption that names the source of a frame."""
        frame = f" frame {self.volume.frame_numbers[index]}" if origin.is_multi_frame(self.volume) else ""
        return f"Source instance {self.volume.instances[index].SOPInstanceUID}{frame}"

    def source(self, index: int) -> list[Dataset]:
        """Source Image Sequence for a frame.

        Pixel locations of a slice are in the patient's coordinates and stay; those of a projection are counted in
        pixels, and a projection drawn at another size has lost them (PS3.3 C.12.4).
        """
        item = origin.reference(
            self.volume.instances[index].SOPClassUID,
            self.volume.instances[index].SOPInstanceUID,
            self.volume.frame_numbers[index] if origin.is_multi_frame(self.volume) else None,
        )
        item.SpatialLocationsPreserved = "YES" if self.volume.placed or self.times == self.step == 1 else "NO"
        item.PurposeOfReferenceCodeSequence = [codes.SOURCE_IMAGE.item()]
        return [item]

    def placed(self, plane: origin.Plane) -> Dataset:
        """What a slice says of the places of its pixels but for the first one's: mostly the same for all slices."""
        said = self._size()
        said.PatientOrientation = patient_orientation([float(value) for value in plane.ImageOrientationPatient])
        said.PixelSpacing = spacing_at(plane.PixelSpacing, self.times)
        said.NominalScannedPixelSpacing = list(said.PixelSpacing)
        said.ImageOrientationPatient = list(plane.ImageOrientationPatient)
        return said

    def projected(self) -> Dataset:
        """What a picture of a radiograph says of its pixels: as its source does, and no more.

        Pixel Spacing is there where the source has it, with how it was calibrated; the spacing on the detector keeps
        its own name, for a length measured with it is that on the detector, not in the patient (PS3.3 10.7.1.1).
        """
        header = self.volume.instances[0].header
        said = self._size()
        said.PatientOrientation = origin.patient_orientation(header) or None
        for keyword in _SPACINGS:
            values = numbers(header, keyword, 2)
            if values is not None and min(values) > 0:
                setattr(
                    said, keyword, spacing_at([str(value) for value in header[keyword].value], self.times, self.step)
                )
        copied = ["EstimatedRadiographicMagnificationFactor"] if "ImagerPixelSpacing" in said else []
        copied += (
            ["PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription"] if "PixelSpacing" in said else []
        )
        aspect = numbers(header, "PixelAspectRatio", 2)
        if not any(keyword in said for keyword in _SPACINGS) and aspect is not None and min(aspect) > 0:
            copied.append("PixelAspectRatio")
        for keyword in copied:
            if header.get(keyword):
                setattr(said, keyword, header.get(keyword))
        return said

    def _size(self) -> Dataset:
        said = Dataset()
        said.Rows, said.Columns = self.rows, self.columns
        return said


def common(
    volume: Volume | Radiograph, study: Study, maker: Maker, output: str, what: str,
    sop_class: UID = SecondaryCaptureImageStorage,
) -> Dataset:  # fmt: skip
    """What all pictures of one output share, made once: with hundreds of slices it would be most of the time."""
    source = volume.instances[0].header
    made = Dataset()
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = maker.uid(study, output)
    made.SeriesInstanceUID = maker.uid(study, output, "series")
    made.Modality, made.ConversionType = "OT", "WSD"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation, made.RecognizableVisualFeatures = "YES", "NO"
    take_lossy(made, source)
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    origin.take_identity(made, source)
    origin.take_region(made, source)
    if not volume.placed:
        for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
            made.pop(keyword, None)  # nothing in it says where it lies
    take_side(made, source)
    equipment.mark(made, study, maker, source, output, what)
    del made.SOPInstanceUID  # each picture has its own
    return made


def sharing(common: Dataset, uid: str, number: int) -> Dataset:
    """A new object with the elements of `common`: they are shared, so set none that is there."""
    made = Dataset({element.tag: element for element in common})
    made.preamble = common.preamble
    made.file_meta = FileMetaDataset({element.tag: element for element in common.file_meta})
    made.file_meta.pop("MediaStorageSOPInstanceUID", None)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    made.InstanceNumber = number
    return made


def take_lossy(made: Dataset, source: Dataset) -> None:
    """Say whether the pixels have ever been compressed with loss, as the source says it."""
    made.LossyImageCompression = "00"
    if source.get("LossyImageCompression") == "01":
        for keyword in _LOSSY:
            if source.get(keyword):
                setattr(made, keyword, source.get(keyword))


def plain_text(text: str, most: int = 1024) -> str:
    """Text that every character set can hold, cut to `most` characters: what is not ASCII becomes "?", a dash "-"."""
    return text.replace("–", "-").encode("ascii", "replace").decode("ascii")[:most]


def take_side(made: Dataset, source: Dataset) -> None:
    """Say the side of a body part that may have one, as the source says it of the series or of the image.

    Laterality is of Type 2C (PS3.3 C.7.3.1), and empty where the source does not say it.
    """
    if str(made.get("BodyPartExamined", "")) not in UNPAIRED:
        said = [str(source.get(keyword) or "") for keyword in ("Laterality", "ImageLaterality")]
        made.Laterality = next((side for side in said if side in ("L", "R")), None)


def spacing_at(spacing: Sequence[str], times: int, step: int = 1) -> list[str]:
    """Pixel Spacing of an image drawn `times` finer and `step` coarser."""
    if times == step == 1:
        return [
            value if len(value) <= 16 else format_number_as_ds(float(value)) for value in spacing
        ]  # DS: 16 characters
    return [format_number_as_ds(float(value) * step / times) for value in spacing]


def first_position(plane: origin.Plane, times: int) -> list[str]:
    """Image Position (Patient) of a plane drawn `times` finer.

    The outer edges stay where they are, so the centre of the first pixel moves by (times - 1) / (2 * times) of a source
    pixel toward the corner, along both axes.
    """
    if times == 1:
        return list(plane.ImagePositionPatient)
    between_rows, between_columns = (float(value) for value in plane.PixelSpacing)
    along = np.asarray([float(value) for value in plane.ImageOrientationPatient]).reshape(2, 3)
    back = (times - 1) / (2 * times)
    first = np.asarray([float(value) for value in plane.ImagePositionPatient])
    first = first - back * (between_columns * along[0] + between_rows * along[1])
    return [format_number_as_ds(float(value)) for value in first]


def patient_orientation(orientation: list[float]) -> list[str]:
    """Patient Orientation (PS3.3 C.7.6.1.1.1) from direction cosines: the main direction first, then oblique parts."""
    named = []
    for vector in (orientation[:3], orientation[3:]):
        parts = sorted(zip(vector, ("RL", "AP", "FH"), strict=True), key=lambda part: -abs(part[0]))
        named.append("".join(letters[value > 0] for value, letters in parts if abs(value) > 0.2))
    return named
