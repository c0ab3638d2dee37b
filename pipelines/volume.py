"""Series -> Volume: voxels sorted in space, rescaled, with an affine in LPS millimetres, a canonical view and the way
back. The only place where geometry is converted; what grid.py refuses has no volume."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from pipelines import pixels
from pipelines.base import Unsuitable
from pipelines.frames import Frame, image
from pipelines.grid import OBLIQUE, Grid, View, axis_lengths
from pipelines.study import Instance, Series

_THREADS = 2


@dataclass(frozen=True, eq=False)
class Volume:
    """`voxels` int16 or float32 (frames, rows, columns), frames in ascending order along the slice normal; `affine`
    (4, 4) float64 takes (frame, row, column) indices to LPS mm; `instances` and `frame_numbers` (from 1): where each
    frame stands in the source; `spacing` mm between frames, rows and columns."""

    voxels: np.ndarray
    affine: np.ndarray
    instances: tuple[Instance, ...]
    frame_numbers: tuple[int, ...]
    spacing: tuple[float, float, float]
    placed: ClassVar[bool] = True  # what a radiograph is not

    @classmethod
    def from_series(cls, series: Series) -> Volume:
        """Read the pixels of a series. Raises Unsuitable, with the place, for gaps, duplicates, mixed or tilted
        geometry, and pixel data that cannot be decoded or is shorter than its header says."""
        held = _ahead.pop() if _ahead else None  # whoever asks for another series needs the memory
        if held is not None and held[0] is series:
            return held[1]
        return cls.from_grid(Grid.from_series(series))

    @classmethod
    def read_ahead(cls, series: Series) -> None:
        """Read the pixels of a series now, for the `from_series` that comes next if it asks for the same object. Raises
        Unsuitable."""
        cls.forget_ahead()
        _ahead.append((series, cls.from_series(series)))

    @staticmethod
    def forget_ahead() -> None:
        """Give back the memory of what `read_ahead` read, if nobody asked for it."""
        _ahead.clear()

    @classmethod
    def from_grid(cls, grid: Grid) -> Volume:
        """Read the pixels of a grid's frames, each where it belongs."""
        for instance in {id(frame.instance): frame.instance for frame in grid.frames}.values():
            if (reason := pixels.why_not(instance)) is not None:
                raise Unsuitable(f"{image(instance)}: {reason}")
        kind = pixels.kind_of(grid.frames)
        by_instance: dict[int, list[tuple[int, Frame]]] = {}
        for index, frame in enumerate(grid.frames):
            by_instance.setdefault(id(frame.instance), []).append((index, frame))
        first, *others = (sorted(places, key=lambda place: place[1].number) for places in by_instance.values())
        voxels: np.ndarray = np.empty(0, kind)

        def read(places: list[tuple[int, Frame]]) -> None:
            nonlocal voxels
            stored = pixels.stored_frames(places[0][1].instance, [frame.number for _, frame in places])
            for (index, frame), array in zip(places, stored, strict=True):
                if array.shape != grid.shape[1:]:
                    raise Unsuitable(f"the pixel data decodes to {array.shape}, its header says {grid.shape[1:]}")
                if not voxels.size:  # memory is taken when the first frame has proved to be as large as its header says
                    voxels = np.empty(grid.shape, kind)
                voxels[index] = pixels.values(array, frame.instance.header, frame.slope, frame.intercept, kind)

        read(first)
        # Decoders of compressed images were not all written for several threads.
        plain = all(pixels.is_plain(frame.instance) for frame in grid.frames)
        with ThreadPoolExecutor(_THREADS if plain else 1) as threads:
            for _ in threads.map(read, others):
                pass
        return cls(voxels, grid.affine, tuple(frame.instance for frame in grid.frames),
                   tuple(frame.number for frame in grid.frames), grid.spacing)  # fmt: skip

    @cached_property
    def view(self) -> View:
        """The turn to the canonical axes (Head, Posterior, Left). Raises Unsuitable beyond 30 degrees of tilt."""
        view = View.of(self.affine)
        if view.oblique > OBLIQUE:
            raise Unsuitable(f"oblique: its axes differ by {view.oblique:.0f} degrees from the patient's, "
                             f"at most {OBLIQUE:.0f} are taken")  # fmt: skip
        return view

    def canonical(self, array: np.ndarray | None = None) -> np.ndarray:
        """`array` (its last three axes on the source grid; the voxels by default) with axis 0 toward the Head, 1 toward
        Posterior, 2 toward the patient's Left. Axes are permuted and reversed, never resampled. Raises Unsuitable."""
        return self.view.apply(self.voxels if array is None else array)

    def from_canonical(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `canonical`, for arrays of any number of leading axes: back on the source grid."""
        return self.view.undo(array)

    @property
    def canonical_spacing(self) -> tuple[float, float, float]:
        """Millimetres between neighbours along the canonical axes."""
        lengths = axis_lengths(self.affine)
        order = self.view.order
        return lengths[order[0]], lengths[order[1]], lengths[order[2]]

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000


_ahead: list[tuple[Series, Volume]] = []  # at most one
