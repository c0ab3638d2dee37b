"""Heatmap: where the model saw what, as a series of RGB Secondary Captures on the planes of the source (PS3.3 A.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
from pydicom.dataset import Dataset

from pipelines.base import Objects
from pipelines.outputs import capture, origin
from pipelines.outputs.capture import Canvas
from pipelines.outputs.identity import Maker
from pipelines.outputs.overlay import Blend, Captions, Scale, Stamp, highest
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.radiograph import Radiograph
    from pipelines.volume import Volume

WARNING = "AI HEATMAP – NOT FOR DIAGNOSTIC USE"


@dataclass(frozen=True, eq=False)
class Heatmap:
    """A value per class and voxel, drawn over the image.

    `probability`: class label -> array (frames, rows, columns) on the grid of `volume`, floats 0..1 or uint8 0..255.
    `each`: a picture of its own for each class with signal, so that none hides another, instead of one in which the
    largest class counts; None: on radiographs only. `method`: what the value is, such as "softmax probability". Nothing
    is drawn below `low`; `high` and above have the last colour; `quantity` names the scale. `window`: centre and width
    of the grey image below, in its own units; None: from its 1st to its 99th percentile.
    """

    volume: Volume | Radiograph
    probability: Mapping[str, np.ndarray]
    method: str
    low: float = 0.05
    high: float = 1.0
    window: tuple[float, float] | None = None
    quantity: str = "probability"
    name: str = "heatmap"
    each: bool | None = None

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One single-frame object for each slice with signal, in the volume's order, class by class where each has its
        own; none when there is no signal. Raises InvalidOutput where a slice does not say where it lies."""
        drawing = Drawing(self, maker)
        if not drawing.shown:
            return []
        common = capture.common(self.volume, study, maker, self.name, "heatmap")

        @cache
        def grid(orientation: tuple[str, ...], spacing: tuple[str, ...]) -> Dataset:
            return drawing.canvas.placed(next(p for p in drawing.planes if p.ImageOrientationPatient == orientation
                                              and p.PixelSpacing == spacing))  # fmt: skip

        @cache
        def described(classes: tuple[str, ...]) -> Dataset:
            said = Dataset()
            said.DerivationDescription = drawing.description(classes)
            return said

        def make(at: int) -> Dataset:
            classes, index = drawing.shown[at]
            made = capture.sharing(common, maker.uid(study, self.name, at + 1), at + 1)
            made.SourceImageSequence = drawing.canvas.source(index)
            made.update(described(classes))
            if drawing.planes:
                plane = drawing.planes[index]
                made.update(grid(plane.ImageOrientationPatient, plane.PixelSpacing))
                made.ImagePositionPatient = capture.first_position(plane, drawing.canvas.times)
            else:
                made.update(drawing.canvas.projected())
            rgb = drawing(at)
            made.PixelData = rgb.tobytes() + b"\0" * (rgb.size % 2)
            return made

        return Objects(len(drawing.shown), make)


class Drawing:
    """The pictures of a heatmap, drawn one by one, whatever objects they go into.

    `shown`: the classes and the frame of each picture; `planes`: of all frames of the volume, none for a radiograph.
    """

    def __init__(self, heatmap: Heatmap, maker: Maker) -> None:
        """Raises ValueError for values on another grid, InvalidOutput where a slice does not say where it lies."""
        self._heatmap, self._maker = heatmap, maker
        volume, maps = heatmap.volume, heatmap.probability
        for label, values in maps.items():
            if values.shape != volume.voxels.shape:
                raise ValueError(f"class {label}: shape {values.shape} on a volume of {volume.voxels.shape}")
        self.canvas = Canvas(volume, heatmap.window)
        self.planes = origin.planes(cast("Volume", volume)) if volume.placed else ()
        self._scale, self._blend = Scale(heatmap.low, heatmap.high), Blend()
        self._apart = not volume.placed if heatmap.each is None else heatmap.each
        groups = [(label,) for label in maps] if self._apart else [tuple(maps)]
        self.shown = [
            (classes, index) for classes in groups for index in range(len(volume.voxels))
            if self._scale.shows([maps[label][index] for label in classes])
        ]  # fmt: skip
        self._stamps: dict[tuple[str, ...], Stamp] = {}

    def description(self, classes: tuple[str, ...]) -> str:
        """Derivation Description of a picture."""
        what = f"{self._heatmap.method} of {', '.join(classes)}" if self._apart else self._heatmap.method
        return capture.plain_text(f"{what} laid over the source image. {WARNING}")

    def __call__(self, at: int) -> np.ndarray:
        """Picture `at` (from 0), RGB uint8 (rows, columns, 3)."""
        classes, index = self.shown[at]
        step = self.canvas.step
        level = self._scale([highest(self._heatmap.probability[label][index], step) for label in classes])
        rgb = self.canvas.enlarged(self._blend(self.canvas.grey(index), level))
        self._stamp(classes).put(rgb, self.canvas.last_line(index))
        return rgb

    def _stamp(self, classes: tuple[str, ...]) -> Stamp:
        if classes not in self._stamps:
            longest = max((self.canvas.last_line(index) for _, index in self.shown), key=len)
            self._stamps[classes] = Stamp(self.canvas.rows, self.canvas.columns, self._captions(classes), longest)
        return self._stamps[classes]

    def _captions(self, classes: tuple[str, ...]) -> Captions:
        one, maker = self._heatmap, self._maker
        what = f"{one.method} of {', '.join(classes)}"
        source = str(one.volume.instances[0].get("SeriesInstanceUID", ""))
        return Captions(
            WARNING,
            (f"Model {maker.model} {maker.model_version} ({maker.serial_number})", what,
             f"Source series {source}"),
            one.quantity, one.low, one.high,
        )  # fmt: skip
