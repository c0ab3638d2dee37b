"""Which series of a study a pipeline takes: data, not code. A Match names what is wanted, says of each series in words
why it is not taken, and puts those that are in an order of preference that never depends on chance."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines import pixels
from pipelines.base import Unsuitable, quoted
from pipelines.frames import numbers
from pipelines.grid import Grid, View
from pipelines.outputs.identity import is_ours
from pipelines.study import Series, Study


@dataclass(frozen=True)
class Preference:
    """One rule of preference. `measure`: a name in MEASURES. `order`: "high" or "low" is better. Series within `step`
    of the best stay in the running for the next rule; so do all that are better than `enough`."""

    measure: str
    order: str = "high"
    step: float = 0.0
    enough: float | None = None

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f"no measure {self.measure!r}; there are: {', '.join(MEASURES)}")
        if self.order not in ("high", "low"):
            raise ValueError(f"order of {self.measure!r} is high or low, not {self.order!r}")

    def keep(self, running: list[tuple[Series, Grid]]) -> list[tuple[Series, Grid]]:
        """Those of the series that stay in the running."""
        sign = -1 if self.order == "high" else 1
        values = [sign * MEASURES[self.measure](series, grid) for series, grid in running]
        if self.enough is not None:
            values = [max(value, sign * self.enough) for value in values]
        return [one for one, value in zip(running, values, strict=True) if value <= min(values) + self.step + 1e-6]


@dataclass(frozen=True)
class Match:
    """What a pipeline takes. Empty means: not asked. Patterns are regular expressions without regard to case."""

    modality: tuple[str, ...] = ()
    sop_classes: Mapping[str, str] = field(default_factory=dict)  # SOP Class UID -> its name for people
    refused_image_types: tuple[str, ...] = ()  # patterns that no value of ImageType may match in full
    rescale_types: tuple[str, ...] = ()  # where RescaleType is given, one of these
    plane: str | None = None  # axial, coronal or sagittal: the plane of acquisition, within `plane_within` degrees
    plane_within: float = 30.0
    min_slices: int = 2
    max_slice_spacing: float | None = None  # mm
    min_coverage: float | None = None  # mm between the first and the last slice
    geometry: bool = True  # False: single images without a place in the patient, see `pipelines.images`
    refused_views: tuple[str, ...] = ()  # patterns that ViewPosition may not match in full
    refused_body_parts: tuple[str, ...] = ()  # patterns that BodyPartExamined may not match in full
    min_pixels: int = 1  # rows and columns of a single image, each
    max_aspect: float | None = None  # longer side over shorter side of a single image
    prefer: tuple[Preference, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Match:
        """A Match from plain data, such as a table of TOML. Raises ValueError for an unknown key or a bad pattern."""
        known = {one.name for one in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"a match has no {unknown[0]!r}; it has: {', '.join(sorted(known))}")
        made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        if "prefer" in made:
            made["prefer"] = tuple(Preference(**one) for one in data["prefer"])
        return cls(**made)

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `from_dict` makes an equal Match."""
        data = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else dict(value) if key == "sop_classes" else value
                for key, value in data.items()}  # fmt: skip

    def __post_init__(self) -> None:
        if self.plane not in (None, "axial", "coronal", "sagittal"):
            raise ValueError(f"plane is axial, coronal or sagittal, not {self.plane!r}")
        for pattern in (*self.refused_image_types, *self.refused_views, *self.refused_body_parts):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error

    def explain(self, series: Series) -> list[str]:
        """Why the series is not taken, in words; empty if it is."""
        return self._look(series)[0]

    def choose(self, study: Study) -> Series:
        """The best of the series that are taken. Raises Unsuitable with the reasons of every series in one line."""
        if not self.geometry:
            raise ValueError("single images are chosen by pipelines.images, one by one")
        running: list[tuple[Series, Grid]] = []
        refused: list[tuple[str, str]] = []
        for series in study.series:
            reasons, grid = self._look(series)
            if reasons or grid is None:
                refused.append((label(series), "; ".join(reasons)))
            else:
                running.append((series, grid))
        if not running:
            raise Unsuitable(told(refused))
        for rule in self.prefer:
            running = rule.keep(running)
        return min((series for series, _ in running), key=lambda one: (number(one), one.SeriesInstanceUID))

    def words(self) -> str:
        """What is wanted, for a person."""
        parts = [" or ".join(self.modality) or "any modality"]
        if self.plane:
            parts.append(f"{self.plane} within {self.plane_within:g} degrees")
        if self.geometry:
            parts.append(f"at least {self.min_slices} slices")
        if not self.geometry:
            parts.append(f"single images of at least {self.min_pixels} x {self.min_pixels} pixels")
        if self.max_aspect is not None:
            parts.append(f"at most {self.max_aspect:g} times as long as wide")
        for name, patterns in (("ViewPosition", self.refused_views), ("BodyPartExamined", self.refused_body_parts)):
            if patterns:
                parts.append(f"{name} other than {', '.join(patterns)}")
        if self.max_slice_spacing is not None:
            parts.append(f"at most {self.max_slice_spacing:g} mm apart")
        if self.min_coverage is not None:
            parts.append(f"over at least {self.min_coverage:g} mm")
        if self.refused_image_types:
            parts.append(f"ImageType without {', '.join(self.refused_image_types)}")
        if self.prefer:
            rules = ", then ".join(f"{one.order} {one.measure.replace('_', ' ')}" for one in self.prefer)
            parts.append(f"of several the one with {rules}")
        return "; ".join(parts)

    def _look(self, series: Series) -> tuple[list[str], Grid | None]:
        """The reasons against a series, cheap ones first: geometry only where nothing else speaks against it."""
        if any(is_ours(one.header) for one in series.instances):
            return ["is a result of Overread"], None
        reasons = self._by_attributes(series)
        if reasons:
            return reasons, None
        if not self.geometry:
            from pipelines import images

            return images.against(self, series), None
        for instance in series.instances:
            if (reason := pixels.why_not(instance)) is not None:
                return [reason], None
        try:
            grid = Grid.from_series(series)
        except Unsuitable as error:
            return [error.reason], None
        return self._by_geometry(grid), grid

    def _by_attributes(self, series: Series) -> list[str]:
        if not series.SeriesInstanceUID or not all(one.SOPInstanceUID for one in series.instances):
            return ["has images without SeriesInstanceUID or SOPInstanceUID"]
        modality = str(series.get("Modality", ""))
        if self.modality and modality not in self.modality:
            return [f"Modality is {quoted(modality) or 'missing'}, wanted {' or '.join(self.modality)}"]
        reasons = []
        classes = {one.SOPClassUID for one in series.instances}
        if self.sop_classes and (other := sorted(classes - set(self.sop_classes))):
            reasons.append(f"is {_class_name(other[0])}, wanted {' or '.join(self.sop_classes.values())}")
        if refused := self._refused_type(series):
            reasons.append(f"ImageType says {quoted(refused)}")
        if self.rescale_types and (other_units := series.values("RescaleType") - set(self.rescale_types)):
            reasons.append(f"RescaleType is {quoted(sorted(other_units)[0])}, wanted {' or '.join(self.rescale_types)}")
        if not self.geometry:
            return reasons
        slices = sum(int((numbers(one.header, "NumberOfFrames", 1) or (1,))[0]) for one in series.instances)
        if slices < self.min_slices:
            reasons.append(f"has {slices} slice{'s' if slices > 1 else ''}, at least {self.min_slices} are wanted")
        return reasons

    def _refused_type(self, series: Series) -> str | None:
        for instance in series.instances:
            for one in instance.texts("ImageType"):
                if any(re.fullmatch(pattern, one, re.IGNORECASE) for pattern in self.refused_image_types):
                    return one
        return None

    def _by_geometry(self, grid: Grid) -> list[str]:
        reasons = []
        view = View.of(grid.affine)
        plane = ("axial", "coronal", "sagittal")[view.order.index(0)]
        if self.plane and plane != self.plane:
            reasons.append(f"is {plane}, wanted {self.plane}")
        elif self.plane and view.oblique > self.plane_within:
            reasons.append(f"is {view.oblique:.0f} degrees oblique, at most {self.plane_within:g} are taken")
        spacing = grid.spacing[0]
        if self.max_slice_spacing is not None and spacing > self.max_slice_spacing + 1e-3:
            reasons.append(f"slices are {spacing:.2g} mm apart, at most {self.max_slice_spacing:g} mm are taken")
        coverage = spacing * (len(grid.frames) - 1)
        if self.min_coverage is not None and coverage < self.min_coverage:
            reasons.append(f"covers {coverage:.0f} mm, at least {self.min_coverage:g} mm are wanted")
        return reasons


# Reconstruction kernels that sharpen (and overshoot at edges), by the vendors' own names: Siemens' numbers from 50 up,
# GE's names, Philips' letters, Canon's FC numbers.
_SHARP = re.compile(
    r"[BHITUD][a-z]{0,2}[5-9]\d[a-z]?|BONE.*|LUNG.*|EDGE.*|ULTRA.*|Y[ABCD]|[DEL]|FC[358]\d", re.IGNORECASE
)


def _sharp(series: Series, grid: Grid) -> float:
    first = next(iter(series.instances[0].texts("ConvolutionKernel")), "")
    return float(bool(_SHARP.fullmatch(first.strip())))


def _derived(series: Series, grid: Grid) -> float:
    return float(any("DERIVED" in one.texts("ImageType") for one in series.instances))


MEASURES: dict[str, Callable[[Series, Grid], float]] = {
    "coverage": lambda series, grid: grid.spacing[0] * (len(grid.frames) - 1),  # mm
    "slice_spacing": lambda series, grid: grid.spacing[0],  # mm
    "slices": lambda series, grid: float(len(grid.frames)),
    "sharp_kernel": _sharp,  # 1 or 0
    "derived": _derived,  # 1 or 0
}


def label(series: Series) -> str:
    """How a series is called in reasons."""
    found = series.get("SeriesNumber")
    return "without number" if found is None else quoted(found)


def number(series: Series) -> int:
    """SeriesNumber; one beyond all others where it is missing."""
    found = numbers(series.instances[0].header, "SeriesNumber", 1)
    return 2**31 if found is None else int(found[0])


def _class_name(uid: str) -> str:
    from pydicom.uid import UID

    return quoted(UID(uid).name) if uid else "nothing (no SOP Class UID)"


def told(refused: Iterable[tuple[str, str]]) -> str:
    """One line: series with the same reasons together, in the study's order; long lists are cut."""
    by_reason: dict[str, list[str]] = {}
    for label, reason in refused:
        by_reason.setdefault(reason, []).append(label)
    parts = []
    for reason, labels in list(by_reason.items())[:8]:
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        parts.append(f"series {', '.join(labels[:5])}{more}: {reason}")
    if len(by_reason) > 8:
        parts.append(f"and {len(by_reason) - 8} other reasons")
    return "no series fits: " + (" | ".join(parts) if parts else "the study has none")
