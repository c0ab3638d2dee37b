"""Instance -> Radiograph: the pixels of one projection image. Outputs take it where they take a volume of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines import pixels
from pipelines.base import Unsuitable
from pipelines.frames import image, numbers
from pipelines.study import Instance


@dataclass(frozen=True, eq=False)
class Radiograph:
    """`voxels` float32 (1, rows, columns): modality values, with MONOCHROME1 turned so that bright is high; `instances`
    and `frame_numbers` (from 1): the one image that they come from. A projection has no place in the patient's
    coordinates: `placed` is False, and millimetres are not known."""

    voxels: np.ndarray
    instances: tuple[Instance, ...]
    frame_numbers: tuple[int, ...] = (1,)
    placed: ClassVar[bool] = False

    @classmethod
    def from_instance(cls, instance: Instance) -> Radiograph:
        """Read the pixels of a single-frame grey image. Raises Unsuitable, with the place, for pixel data that cannot
        be decoded or is shorter than its header says."""
        frames = int((numbers(instance.header, "NumberOfFrames", 1) or (1,))[0])
        if frames != 1:
            raise Unsuitable(f"{image(instance)} has {frames} frames, a radiograph has one")
        slope = (numbers(instance.header, "RescaleSlope", 1) or (1.0,))[0] or 1.0
        intercept = (numbers(instance.header, "RescaleIntercept", 1) or (0.0,))[0]
        [stored] = pixels.stored_frames(instance, [1])
        return cls(pixels.values(stored, instance.header, slope, intercept, np.dtype(np.float32))[None], (instance,))
