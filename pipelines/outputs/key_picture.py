"""Key pictures: the image of a key region in grey, with the heatmap's colours, as a page or a screen shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines.frames import numbers
from pipelines.outputs import origin
from pipelines.outputs.capture import patient_orientation
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.overlay import Blend, Scale, window

_MOST = 600  # pixels of the longer side: enough for a picture of 8 cm on paper
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}


@dataclass(frozen=True, eq=False)
class KeyPicture:
    """`picture`: grey, or colour where a heatmap lies over it; `proportion`: width to height in millimetres; `sides`:
    the patient's side at the left and right edge, empty where it is not known."""

    picture: Image.Image
    proportion: float
    sides: tuple[str, str]


def key_picture(
    volume: origin.Source, frame: int, heat: Heatmap | None, grey: tuple[float, float] | None
) -> KeyPicture:
    """One frame of a volume or radiograph. `grey`: centre and width in the voxels' units; None for the frame's own
    range without the outermost hundredths."""
    values = np.asarray(volume.voxels[frame], dtype=np.float32)
    if grey is None:
        low, high = (float(one) for one in np.percentile(values, (1, 99)))
        grey = (low + high) / 2, max(high - low, 1e-6) + 1
    drawn = window(values, *grey)
    if heat is not None:
        level = Scale(heat.low, heat.high)([one[frame] for one in heat.probability.values()])
        drawn = Blend()(drawn, level) if level.any() else drawn
    picture = Image.fromarray(drawn)
    between_rows, between_columns = _spacing(volume, frame)
    proportion = picture.width * between_columns / (picture.height * between_rows)
    times = min(1.0, _MOST / max(picture.size))
    if times < 1:
        size = max(1, round(picture.width * times)), max(1, round(picture.height * times))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return KeyPicture(picture, proportion, _sides(volume, frame))


def _spacing(volume: origin.Source, frame: int) -> tuple[float, float]:
    """Between rows and between columns; of a radiograph only their relation counts."""
    if volume.placed:
        rows, columns = (float(one) for one in origin.planes(volume)[frame].PixelSpacing)
        return rows, columns
    header = volume.instances[frame].header
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        found = numbers(header, keyword, 2)
        if found and min(found) > 0:
            return found[0], found[1]
    return 1.0, 1.0


def _sides(volume: origin.Source, frame: int) -> tuple[str, str]:
    if volume.placed:
        along = patient_orientation([float(one) for one in origin.planes(volume)[frame].ImageOrientationPatient])[0]
    else:
        said = volume.instances[frame].get("PatientOrientation") or ("",)
        along = str(said[0] if not isinstance(said, str) else said)
    right = along[:1]
    return _OPPOSITE.get(right, ""), right if right in _OPPOSITE else ""
