"""Destination profiles: in which form a peer gets each kind of result. Data alone, so that the node may read it."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Segmentation = Literal["binary", "labelmap", "labelmap-without-background", "none"]
Report = Literal["tid1500", "tid1500-text", "ohif-editable", "comprehensive-2d", "flat-text"]
Heatmap = Literal["series", "multi-frame", "none"]


@dataclass(frozen=True)
class Form:
    """One form of one kind of result, as the log writes it: `report=tid1500-text`, `key-objects`.

    `refers`: the form of segmentation to which it may refer, or "none": a peer never gets a report that names a
    segmentation which that peer does not hold. `most_frames`: a segmentation with more is parted by segments.
    """

    kind: str
    how: str = ""
    refers: str = "binary"
    empty_frames: bool = False
    most_frames: int = 0

    def __str__(self) -> str:
        text = f"{self.kind}={self.how}" if self.how else self.kind
        extras = (self.refers != "binary" and f"refers to {self.refers}", self.empty_frames and "with empty frames",
                  self.most_frames and f"at most {self.most_frames} frames")  # fmt: skip
        return ", ".join([text, *(one for one in extras if one)])

    def name(self, output: str) -> str:
        """What an output is called in this form; in the standard forms it keeps its name."""
        if self.kind == "root":
            return f"{output}-{zlib.crc32(self.how.encode()):08x}"
        if not self.how:  # made of an output of another kind
            return self.kind if output in ("segmentation", "report", "heatmap") else f"{output}-{self.kind}"
        parts = [output, *([] if self.how in _USUAL else [self.how])]
        if self.refers != "binary":
            parts.append("alone" if self.refers == "none" else f"on-{self.refers}")
        parts += ["whole"] * self.empty_frames + [str(self.most_frames)] * bool(self.most_frames)
        return "-".join(parts)


@dataclass(frozen=True)
class Profile:
    """What one destination gets. Switches that are off leave a kind out; `says`: in words, for whom it is meant."""

    segmentation: Segmentation = "binary"
    keep_empty_frames: bool = False
    max_frames: int = 0  # of one segmentation; 0: any number
    report: tuple[Report, ...] = ("tid1500",)
    heatmap: Heatmap = "series"
    burn_contours: bool = False
    parametric_map: bool = False
    key_objects: bool = False
    presentation_state: bool = False
    pdf: bool = False
    root: bool = False
    says: str = ""

    @cached_property
    def forms(self) -> frozenset[Form]:
        """The forms that go to this destination."""
        found = []
        if self.segmentation != "none":
            found.append(Form("segmentation", self.segmentation, "binary", self.keep_empty_frames, self.max_frames))
        found += [Form("report", how, self._refers(how)) for how in self.report]
        if self.heatmap != "none":
            found.append(Form("heatmap", self.heatmap))
        found += [Form(kind) for kind in SWITCHES if kind != "root" and getattr(self, kind.replace("-", "_"))]
        if self.root and found:  # what it lists is what its destination gets
            found.append(Form("root", " + ".join(sorted(map(str, found)))))
        return frozenset(found)

    def _refers(self, report: str) -> str:
        """Which segmentation a report of this destination may name."""
        if report == "flat-text":
            return "binary"  # names none: one form for all
        usual = not self.keep_empty_frames and not self.max_frames
        return self.segmentation if usual or self.segmentation == "none" else "none"

    def takes(self, form: Form | None) -> bool:
        """Whether a result in this form goes there. None: a kind of result that has no forms goes to everybody."""
        return form is None or form in self.forms

    def words(self) -> list[str]:
        """Each kind of result that goes there, in words."""
        found = []
        if self.segmentation != "none":
            frames = " with empty frames" if self.keep_empty_frames else ""
            frames += f" of at most {self.max_frames} frames each" if self.max_frames else ""
            found.append(_WORDS[self.segmentation] + frames)
        found += [_WORDS[how] for how in self.report]
        found += [_WORDS[self.heatmap]] if self.heatmap != "none" else []
        return found + [_WORDS[kind] for kind in SWITCHES if getattr(self, kind.replace("-", "_"))]


_USUAL = ("binary", "tid1500", "series")
SWITCHES = ("burn-contours", "parametric-map", "key-objects", "presentation-state", "pdf", "root")
_WORDS = {
    "binary": "segmentation (SEG, binary)",
    "labelmap": "segmentation (Label Map SEG)",
    "labelmap-without-background": "segmentation (Label Map SEG, background not described)",
    "tid1500": "report (SR, TID 1500)",
    "tid1500-text": "report (SR, TID 1500, shown as text)",
    "ohif-editable": "report (SR, TID 1500, editable in OHIF)",
    "comprehensive-2d": "report (SR, TID 1500 as Comprehensive SR)",
    "flat-text": "report (SR, flat text)",
    "series": "heatmap (series of secondary captures)",
    "multi-frame": "heatmap (one multi-frame secondary capture)",
    "burn-contours": "contours burned into secondary captures",
    "parametric-map": "parametric map",
    "key-objects": "key object selection",
    "presentation-state": "presentation state",
    "pdf": "report as PDF",
    "root": "root report that lists all of these",
}

# What viewers really show, as tried: see docs/viewers.md.
PROFILES: Mapping[str, Profile] = {
    "standard": Profile(says="any PACS and viewer: what most of them show"),
    "ohif": Profile(report=("tid1500", "tid1500-text"), says="OHIF 3.11 or later, over any DICOMweb server"),
    "orthanc": Profile(key_objects=True, pdf=True, says="Orthanc, which keeps and previews them"),
    "weasis": Profile(key_objects=True, presentation_state=True, pdf=True, says="Weasis 4.7 or later"),
    "weasis-4.6": Profile(max_frames=400, key_objects=True, presentation_state=True, says="Weasis before 4.7"),
    "slicer": Profile(parametric_map=True, says="3D Slicer with its quantitative reporting extensions"),
    "images-only": Profile("none", report=(), burn_contours=True, says="a PACS that shows nothing but images"),
    "text-report": Profile("none", report=("flat-text",), heatmap="none", says="a reporting system for plain SR"),
}  # fmt: skip
STANDARD = PROFILES["standard"]


def forms_for(profiles: Iterable[Profile]) -> frozenset[Form]:
    """All forms that some of these destinations get; the standard ones where there is no destination."""
    wanted = list(profiles) or [STANDARD]
    return frozenset(form for profile in wanted for form in profile.forms)


def with_changes(base: Profile, changes: Mapping[str, object]) -> Profile:
    """A ready-made profile with some of its fields changed (by field name)."""
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # checked by the configuration
