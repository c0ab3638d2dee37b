"""The grid on which a series samples the patient, from headers alone: frames sorted, spacing, affine, canonical view.
What is not one regular grid is refused here, with the place in millimetres."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from pipelines.base import Unsuitable
from pipelines.frames import Frame, frames_of, image
from pipelines.study import Series

SAME_PLACE = 0.01  # mm: frames closer than this along the normal lie at one place
STEP_SHARE, STEP_MM = 0.10, 0.10  # a step may differ from the usual one by this share of it, or by so many mm
TILT = 0.5  # degrees between the stacking direction and the slice normal
SIDEWAYS = 0.5  # mm that a frame may lie beside the straight line through the stack
OBLIQUE = 30.0  # degrees by which the grid's axes may differ from the patient's in the canonical view
LARGEST = 2**30  # voxels


@dataclass(frozen=True, eq=False)
class Grid:
    """`frames` in ascending order along the slice normal; `affine` (4, 4) float64 takes (frame, row, column) indices to
    LPS millimetres."""

    frames: tuple[Frame, ...]
    affine: np.ndarray

    @classmethod
    def from_series(cls, series: Series) -> Grid:
        """Raises Unsuitable where the series is not one regular stack of parallel slices."""
        frames = frames_of(series)
        if len(frames) < 2:
            raise Unsuitable("it has one slice only: no volume")
        first = frames[0]
        _same_form(frames, first)
        if (voxels := len(frames) * first.rows * first.columns) > LARGEST:
            raise Unsuitable(f"it declares {len(frames)} x {first.rows} x {first.columns} voxels ({voxels:.2g}); "
                             f"at most {LARGEST:.2g} are taken")  # fmt: skip
        places = np.array([frame.position for frame in frames]) @ first.normal
        order = np.argsort(places, kind="stable")
        _no_duplicates(places[order])
        _no_gaps(places[order])
        ordered = tuple(frames[index] for index in order)
        _straight(ordered, first.normal)
        return cls(ordered, _affine(ordered))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns)."""
        return len(self.frames), self.frames[0].rows, self.frames[0].columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between frames, rows and columns."""
        return axis_lengths(self.affine)


def axis_lengths(affine: np.ndarray) -> tuple[float, float, float]:
    """Millimetres between neighbours along each index axis of an affine."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


@dataclass(frozen=True)
class View:
    """How index axes become canonical ones: `order[k]` is the source axis that becomes axis k, reversed if `flip[k]`;
    `oblique`: degrees by which the axis that differs most differs."""

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]
    oblique: float

    @classmethod
    def of(cls, affine: np.ndarray) -> View:
        """The view whose axes 0, 1, 2 point nearest to Head, Posterior and Left (LPS +z, +y, +x)."""
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        cosines = directions[[2, 1, 0], :]  # rows: Head, Posterior, Left; columns: source axes
        order = max(itertools.permutations(range(3)), key=lambda one: sum(abs(cosines[k, one[k]]) for k in range(3)))
        chosen = [float(cosines[k, order[k]]) for k in range(3)]
        oblique = max(math.degrees(math.acos(min(1.0, abs(one)))) for one in chosen)
        return cls((order[0], order[1], order[2]), (chosen[0] < 0, chosen[1] < 0, chosen[2] < 0), oblique)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """An array on the source grid (its last three axes) in the canonical view; contiguous."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        return np.ascontiguousarray(self._flipped(turned))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `apply`; a view of `array` where no axis changes its place, for arrays are large."""
        lead = array.ndim - 3
        straight = self._flipped(array)
        if self.order == (0, 1, 2):
            return straight
        back = sorted(range(3), key=lambda axis: self.order[axis])
        return np.ascontiguousarray(straight.transpose(*range(lead), *(lead + axis for axis in back)))

    def _flipped(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, tuple(array.ndim - 3 + axis for axis, flip in enumerate(self.flip) if flip))


def _same_form(frames: list[Frame], first: Frame) -> None:
    for frame in frames:
        who = image(frame.instance)
        if (frame.rows, frame.columns) != (first.rows, first.columns):
            raise Unsuitable(f"mixed geometry: {who} has {frame.rows} x {frame.columns} pixels, others "
                             f"{first.rows} x {first.columns}")  # fmt: skip
        if not np.allclose(frame.spacing, first.spacing, rtol=1e-3):
            raise Unsuitable(f"mixed geometry: PixelSpacing of {who} is {_pair(frame.spacing)} mm, of others "
                             f"{_pair(first.spacing)} mm")  # fmt: skip
        for one, other in ((frame.along_row, first.along_row), (frame.along_column, first.along_column)):
            if (angle := math.degrees(math.acos(float(np.clip(one @ other, -1, 1))))) > 0.2:
                raise Unsuitable(f"mixed geometry: {who} is turned by {angle:.1f} degrees against others")
    # Some de-identified series give each image a frame of reference of its own: that says nothing, the grid decides.
    uids = {str(frame.instance.get("FrameOfReferenceUID", "")) for frame in frames}
    if 1 < len(uids) < len(frames):
        raise Unsuitable(f"mixed geometry: its images are in {len(uids)} frames of reference")


def _no_duplicates(places: np.ndarray) -> None:
    same = np.flatnonzero(np.diff(places) < SAME_PLACE)
    if same.size:
        several = f"{same.size} slices lie" if same.size > 1 else "a slice lies"
        raise Unsuitable(f"duplicates: {several} where another does, first at {places[same[0]]:.1f} mm along the slice "
                         "normal (doubled files, phases or echoes)")  # fmt: skip


def _no_gaps(places: np.ndarray) -> None:
    steps = np.diff(places)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(STEP_MM, STEP_SHARE * usual))
    if not odd.size:
        return
    at = int(odd[0])
    missing = [int(k) for k in odd if steps[k] > 1.5 * usual]
    if missing:
        at, count = missing[0], sum(round(steps[k] / usual) - 1 for k in missing)
        kind = f"gap: {count} slice{'s seem' if count > 1 else ' seems'} to be missing"
    else:
        kind = "uneven: slices lie at different distances"
    raise Unsuitable(f"{kind}, first between {places[at]:.1f} and {places[at + 1]:.1f} mm along the slice normal "
                     f"(a step of {steps[at]:.2f} mm, usually {usual:.2f} mm)")  # fmt: skip


def _straight(frames: tuple[Frame, ...], normal: np.ndarray) -> None:
    positions = np.array([frame.position for frame in frames])
    whole = positions[-1] - positions[0]
    along = float(whole @ normal)
    drift = whole - along * normal
    tilt = math.degrees(math.atan2(float(np.linalg.norm(drift)), along))
    if tilt > TILT and np.linalg.norm(drift) > SIDEWAYS:
        raise Unsuitable(f"sheared: slices are stacked at {tilt:.1f} degrees to their normal (gantry tilt)")
    share = ((positions - positions[0]) @ normal / along)[:, None]
    beside = np.linalg.norm(positions - positions[0] - ((positions - positions[0]) @ normal)[:, None] * normal
                            - share * drift, axis=1)  # fmt: skip
    worst = int(np.argmax(beside))
    if beside[worst] > SIDEWAYS:
        raise Unsuitable(f"mixed geometry: the slice at {positions[worst] @ normal:.1f} mm along the normal lies "
                         f"{beside[worst]:.1f} mm beside the others")  # fmt: skip


def _affine(frames: tuple[Frame, ...]) -> np.ndarray:
    first, last = frames[0], frames[-1]
    affine = np.eye(4)
    affine[:3, 0] = (last.position - first.position) / (len(frames) - 1)
    affine[:3, 1] = first.along_column * first.spacing[0]
    affine[:3, 2] = first.along_row * first.spacing[1]
    affine[:3, 3] = first.position
    return affine


def _pair(values: tuple[float, float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
