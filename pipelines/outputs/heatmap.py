"""Heatmap: where the model saw what, as a series of RGB Secondary Captures on the planes of the source (PS3.3 A.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from pipelines.base import Objects
from pipelines.outputs import codes, equipment, origin
from pipelines.outputs.identity import Maker
from pipelines.outputs.overlay import Blend, Captions, Scale, Stamp, magnification, window
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.volume import Volume

# Body Part Examined values (PS3.16 annex L) that have no side; for every other one General Series asks for Laterality.
UNPAIRED = frozenset((
    "ABDOMEN", "ABDOMENPELVIS", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CSPINE", "HEAD", "HEADNECK",
    "HEART", "LIVER", "LSPINE", "NECK", "NECKCHEST", "PELVIS", "SKULL", "SPINE", "TSPINE", "WHOLEBODY",
))  # fmt: skip
WARNING = "AI HEATMAP – NOT FOR DIAGNOSTIC USE"


@dataclass(frozen=True, eq=False)
class Heatmap:
    """A value per class and voxel, drawn over the image.

    `probability`: class label -> array (frames, rows, columns) on the grid of `volume`, floats 0..1 or uint8 0..255;
    the largest class counts. `method`: what the value is, such as "softmax probability". Nothing is drawn below `low`;
    `high` and above have the last colour; `quantity` names the scale. `window`: centre and width of the grey image
    below, in its own units.
    """

    volume: Volume
    probability: Mapping[str, np.ndarray]
    method: str
    low: float = 0.05
    high: float = 1.0
    window: tuple[float, float] = (-400.0, 1500.0)
    quantity: str = "probability"
    name: str = "heatmap"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One single-frame object for each slice with signal, in the volume's order; none when there is no signal."""
        for label, values in self.probability.items():
            if values.shape != self.volume.voxels.shape:
                raise ValueError(f"class {label}: shape {values.shape} on a volume of {self.volume.voxels.shape}")
        planes = origin.planes(self.volume)
        scale = Scale(self.low, self.high)
        shown = [index for index in range(len(planes)) if scale.shows([v[index] for v in self.probability.values()])]
        if not shown:
            return []
        rows, columns = self.volume.voxels.shape[1:]
        times = magnification(rows, columns)
        longest = max((self._last_line(planes[index]) for index in shown), key=len)
        stamp = Stamp(rows * times, columns * times, self._captions(maker), longest)
        one = partial(
            self._slice, times=times, scale=scale, blend=Blend(), stamp=stamp,
            common=self._common(study, maker), grid=cache(partial(self._grid, times)),
        )  # fmt: skip
        return Objects(
            len(shown),
            lambda at: one(at + 1, shown[at], planes[shown[at]], maker.uid(study, self.name, at + 1)),
        )

    def _level(self, index: int, scale: Scale) -> np.ndarray:
        """The colour level of the largest class at each pixel of a frame; 0 where nothing is drawn."""
        return scale([values[index] for values in self.probability.values()])

    def _captions(self, maker: Maker) -> Captions:
        source = str(self.volume.instances[0].get("SeriesInstanceUID", ""))
        classes = ", ".join(self.probability)
        return Captions(
            WARNING,
            (f"Model {maker.model} {maker.model_version} ({maker.serial_number})", f"{self.method} of {classes}",
             f"Source series {source}"),
            self.quantity, self.low, self.high,
        )  # fmt: skip

    def _last_line(self, plane: origin.Plane) -> str:
        frame = f" frame {plane.frame_number}" if origin.is_multi_frame(self.volume) else ""
        return f"Source instance {plane.instance.SOPInstanceUID}{frame}"

    def _slice(
        self,
        number: int,
        index: int,
        plane: origin.Plane,
        uid: str,
        times: int,
        scale: Scale,
        blend: Blend,
        stamp: Stamp,
        common: Dataset,
        grid: Callable[[tuple[str, ...], tuple[str, ...]], Dataset],
    ) -> Dataset:
        grey = window(self.volume.voxels[index], *self.window)
        rgb = blend(grey, self._level(index, scale))
        if times > 1:
            rgb = rgb.repeat(times, axis=0).repeat(times, axis=1)
        stamp.put(rgb, self._last_line(plane))
        made = Dataset({element.tag: element for element in common})  # elements are shared: set none that is there
        made.preamble = common.preamble
        made.file_meta = FileMetaDataset({element.tag: element for element in common.file_meta})
        del made.file_meta.MediaStorageSOPInstanceUID
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        made.InstanceNumber = number
        reference = origin.reference(
            plane.instance.SOPClassUID,
            plane.instance.SOPInstanceUID,
            plane.frame_number if origin.is_multi_frame(self.volume) else None,
        )
        reference.SpatialLocationsPreserved = "YES"
        reference.PurposeOfReferenceCodeSequence = [codes.SOURCE_IMAGE.item()]
        made.SourceImageSequence = [reference]
        made.update(grid(plane.ImageOrientationPatient, plane.PixelSpacing))
        made.ImagePositionPatient = first_position(plane, times)
        made.PixelData = rgb.tobytes() + b"\0" * (rgb.size % 2)
        return made

    def _grid(self, times: int, orientation: tuple[str, ...], spacing: tuple[str, ...]) -> Dataset:
        """What a slice says of its pixels' places but for the first one's: mostly the same for all slices."""
        rows, columns = self.volume.voxels.shape[1:]
        said = Dataset()
        said.PatientOrientation = patient_orientation([float(value) for value in orientation])
        said.Rows, said.Columns = rows * times, columns * times
        said.PixelSpacing = finer_spacing(spacing, times)
        said.NominalScannedPixelSpacing = list(said.PixelSpacing)
        said.ImageOrientationPatient = list(orientation)
        return said

    def _common(self, study: Study, maker: Maker) -> Dataset:
        """What all slices share, made once: with hundreds of slices it would be most of the time."""
        source = self.volume.instances[0].header
        made = Dataset()
        made.SOPClassUID = SecondaryCaptureImageStorage
        made.SOPInstanceUID = maker.uid(study, self.name)
        made.SeriesInstanceUID = maker.uid(study, self.name, "series")
        made.Modality, made.ConversionType = "OT", "WSD"
        made.ImageType = ["DERIVED", "SECONDARY"]
        made.BurnedInAnnotation, made.RecognizableVisualFeatures = "YES", "NO"
        made.DerivationDescription = f"{self.method} laid over the source image. {WARNING.replace('–', '-')}"
        made.LossyImageCompression = "00"
        if source.get("LossyImageCompression") == "01":
            for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
                if source.get(keyword):
                    setattr(made, keyword, source.get(keyword))
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
        origin.take_identity(made, source)
        origin.take_region(made, source)
        if str(made.get("BodyPartExamined", "")) not in UNPAIRED:
            made.Laterality = source.get("Laterality")  # Type 2C: empty where the source does not say it
        equipment.mark(made, study, maker, source, self.name, "heatmap")
        del made.SOPInstanceUID  # each slice has its own
        return made


def finer_spacing(spacing: Sequence[str], times: int) -> list[str]:
    """Pixel Spacing of an image drawn `times` finer."""
    return list(spacing) if times == 1 else [format_number_as_ds(float(value) / times) for value in spacing]


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
