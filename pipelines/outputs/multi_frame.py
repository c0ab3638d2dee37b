"""MultiFrameHeatmap: a heatmap as one Multi-frame True Color Secondary Capture, not many (PS3.3 A.8.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from pipelines.base import Objects
from pipelines.outputs import capture, origin
from pipelines.outputs.heatmap import Drawing, Heatmap
from pipelines.outputs.identity import Maker
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.volume import Volume


@dataclass(frozen=True, eq=False)
class MultiFrameHeatmap:
    """The same pictures as those of `heatmap`, in the same order, as the frames of one object.

    Each frame's plane stands in functional groups, its source in the item of Source Image Sequence at its place.
    `most_bytes`: pixel data beyond which a further object of the same series is begun, for all pixels of an object are
    in memory at once.
    """

    heatmap: Heatmap
    name: str = "heatmap-multi-frame"
    most_bytes: int = 2**28

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One object, or as many as `most_bytes` asks for; none when there is no signal, or when slices have no frame
        of reference, without which this IOD has no planes. Raises InvalidOutput for a slice that has no place."""
        volume = self.heatmap.volume
        if volume.placed and not volume.instances[0].get("FrameOfReferenceUID"):
            return []
        drawing = Drawing(self.heatmap, maker)
        canvas = drawing.canvas
        together = max(1, self.most_bytes // (canvas.rows * canvas.columns * 3))
        parts = [range(len(drawing.shown))[at : at + together] for at in range(0, len(drawing.shown), together)]
        if not parts:
            return []
        common = capture.common(
            volume, study, maker, self.name, "heatmap", MultiFrameTrueColorSecondaryCaptureImageStorage
        )
        common.DerivationDescription = drawing.description(tuple(self.heatmap.probability))

        def make(at: int) -> Dataset:
            made = capture.sharing(common, maker.uid(study, self.name, at + 1), at + 1)
            made.NumberOfFrames = len(parts[at])
            if len(parts[at]) > 1:  # of one frame there is no order to tell (PS3.3 C.7.6.6)
                made.FrameIncrementPointer = tag_for_keyword("PageNumberVector")  # pages: they are no sequence in time
                made.PageNumberVector = list(range(1, len(parts[at]) + 1))
            made.SourceImageSequence = [item for one in parts[at] for item in canvas.source(drawing.shown[one][1])]
            if drawing.planes:
                _place(made, drawing, parts[at])
            else:
                made.update(canvas.projected())
            made.PixelData = _pixels(drawing, parts[at])
            return made

        return Objects(len(parts), make)


def _place(made: Dataset, drawing: Drawing, frames: range) -> None:
    """Pixel Measures, Plane Orientation and Plane Position for each frame, as PS3.3 A.8.5.5 has them."""
    canvas = drawing.canvas
    shown = [drawing.planes[drawing.shown[one][1]] for one in frames]
    first = canvas.placed(shown[0])
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    made.Rows, made.Columns, made.PatientOrientation = first.Rows, first.Columns, first.PatientOrientation
    measures.PixelSpacing = first.PixelSpacing
    measures.SliceThickness = origin.thickness(cast("Volume", canvas.volume))
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for plane in shown:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = capture.first_position(plane, canvas.times)
        frame.PlanePositionSequence = [position]
        made.PerFrameFunctionalGroupsSequence.append(frame)


def _pixels(drawing: Drawing, frames: range) -> bytes:
    """The frames one after another, each in memory once: the buffer that they are drawn into becomes the value."""
    buffer = BytesIO()
    for one in frames:
        buffer.write(drawing(one).data)
    if buffer.tell() % 2:
        buffer.write(b"\0")
    return buffer.getvalue()
