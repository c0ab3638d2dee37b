"""The studies that the viewers are shown, and the results on them for each destination profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from models.errors import ModelError
from pipelines import phantom_studies
from pipelines.base import Made, Released, execute, maker_of
from pipelines.outputs.placement import content_items
from pipelines.outputs.profiles import PROFILES, Profile, forms_for
from pipelines.registry import load
from pipelines.study import Study
from tests.conftest import missing
from tests.peers import real_data

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


SUPINE = {"left": "R", "top": "A"}  # axial slices seen from the feet
PROJECTION = {
    "left": "",
    "top": "",
}  # OHIF writes letters by Image Orientation (Patient) alone, which a radiograph lacks


@dataclass(frozen=True)
class Source:
    """A study to run a pipeline on: `files` gives its files, in a folder of its own where they have to be written;
    `marks`: the letters that belong to the edges of its images."""

    name: str
    pipeline: str
    files: Callable[[Path], Sequence[Path]]
    marks: Literal["axial", "projection"] = "axial"

    @property
    def letters(self) -> dict[str, str]:
        """The letters that belong to the left and upper edge."""
        return SUPINE if self.marks == "axial" else PROJECTION


def chest_phantom(folder: Path) -> Sequence[Path]:
    """A coarse chest of 40 slices, as no scanner makes it but quick to look at."""
    return phantom_studies.chest_study(folder / "phantom", 3, slices=40, matrix=128)


def real_chest(folder: Path) -> Sequence[Path]:
    """A real chest CT of 60 slices; skips where the real data is absent."""
    return sorted(real_data("o01-ct-chest-lidc0314").glob("*.dcm"))


def radiograph_phantom(folder: Path) -> Sequence[Path]:
    """A made-up frontal chest radiograph with findings."""
    return phantom_studies.radiograph_study(folder / "radiograph", 3)


O01 = Source("ct-lung on o01", "ct-lung", real_chest)
PHANTOM = Source("ct-lung on a phantom", "ct-lung", chest_phantom)
RADIOGRAPH = Source("cxr-triage on a phantom", "cxr-triage", radiograph_phantom, "projection")
# What is run, and for which profile it is looked at; the last one is made by hand in the node's configuration.
LOOKED_AT = {**PROFILES, "multi-frame": Profile("none", report=(), heatmap="multi-frame")}
CASES = ((O01, "ohif"), (O01, "images-only"), (PHANTOM, "ohif"), (PHANTOM, "multi-frame"), (RADIOGRAPH, "ohif"))


@dataclass(frozen=True)
class Region:
    """One finding of a report: its outline (n, 2) in Graphic Data on a source image, and the values below it."""

    image: str
    outline: np.ndarray
    values: tuple[str, ...]


@dataclass
class Subject:
    """A study with the results of a run on it, in all forms that the profiles here want, written to files in `folder`."""

    source: Source
    study: Study
    made: tuple[Made, ...]  # what was kept of each object is its file

    def objects_for(self, profile: str) -> Objects:
        """What a destination with this profile gets."""
        return Objects(tuple(one for one in self.made if LOOKED_AT[profile].takes(one.form)))

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return str(self.study.StudyInstanceUID)

    @cached_property
    def headers(self) -> dict[int, Dataset]:
        """Instance Number -> header, of the source; the numbers must be unique to tell slices apart on the screen."""
        found = {int(one.header.InstanceNumber): one.header for one in self.study.instances}
        assert len(found) == len(self.study.instances), "Instance Numbers of the source are not unique"
        return found

    def neighbour(self, header: Dataset) -> str:
        """The SOP Instance UID of a slice next to this one."""
        heights = {str(one.SOPInstanceUID): float(one.ImagePositionPatient[2]) for one in self.headers.values()}
        here = heights.pop(str(header.SOPInstanceUID))
        return min(heights, key=lambda uid: abs(heights[uid] - here))


def run(source: Source, folder: Path) -> Subject:
    """Run the pipeline on the study, as `overread try` does; skips where the study or the model is absent."""
    study = Study.from_files(source.files(folder))
    try:
        pipeline = load(source.pipeline)
    except ModelError as error:
        missing(f"models/bundled/{source.pipeline}", str(error))

    def write(released: Released) -> Path:
        path = folder / f"{released.output}-{released.number:03d}.dcm"
        path.write_bytes(released.content)
        return path

    forms = forms_for(LOOKED_AT[profile] for one, profile in CASES if one == source)
    done = execute(pipeline, study, pipeline.select(study), maker_of(pipeline, "0.1.0", MADE), write, forms=forms)
    return Subject(source, study, done.made)


@dataclass(frozen=True)
class Objects:
    """The results that a viewer gets, read back from their files."""

    made: tuple[Made, ...]

    @property
    def files(self) -> list[Path]:
        """All of their files."""
        return [path for one in self.made for path in one.kept]

    @cached_property
    def datasets(self) -> dict[str, list[Dataset]]:
        """Form, as the log writes it (`report=tid1500`) -> its objects."""
        return {str(one.form): [pydicom.dcmread(path) for path in one.kept] for one in self.made}

    def of(self, form: str) -> list[Dataset]:
        """The objects of a form; skips where the pipeline makes none."""
        if form not in self.datasets:
            pytest.skip(f"the pipeline makes no {form}")
        return self.datasets[form]


def regions(report: Dataset) -> list[Region]:
    """The findings of a report, in its order."""
    found = []
    for group in content_items(report):
        items = list(group.get("ContentSequence") or ())
        outlines = [one for one in items if one.ValueType == "SCOORD"]
        if not outlines:
            continue
        (outline,) = outlines
        image = str(outline.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        found.append(Region(image, np.array(outline.GraphicData, dtype=float).reshape(-1, 2), values(items)))
    return found


def values(items: Iterable[Dataset]) -> tuple[str, ...]:
    """The measured values among content items, as OHIF writes them: with two decimals."""
    return tuple(f"{float(one.MeasuredValueSequence[0].NumericValue):.2f}" for one in items if one.ValueType == "NUM")


@dataclass(frozen=True, eq=False)
class Picture:
    """One image or frame as a viewer gets it: pixels (rows, columns, 3), and what its geometry says."""

    pixels: np.ndarray
    spacing: tuple[float, float]
    letters: dict[str, str]


def pictures(datasets: Sequence[Dataset]) -> dict[tuple[int, int], Picture]:
    """Instance Number and frame number (from 1) -> each frame of these objects."""
    found = {}
    for dataset in datasets:
        frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns, 3)
        for number, pixels in enumerate(frames, 1):
            found[int(dataset.InstanceNumber), number] = Picture(pixels, spacing_of(dataset), letters_of(dataset))
    return found


def spacing_of(header: Dataset) -> tuple[float, float]:
    """Millimetres between rows and between columns; 1 and 1 for an image that does not say them."""
    shared = header.get("SharedFunctionalGroupsSequence")
    told = shared[0].PixelMeasuresSequence[0] if shared else header
    down, right = told.get("PixelSpacing") or told.get("ImagerPixelSpacing") or (1, 1)
    return float(down), float(right)


def letters_of(header: Dataset) -> dict[str, str]:
    """The letters that belong to the left and upper edge of an image, by its main directions (PS3.3 C.7.6.2.1.1)."""
    shared = header.get("SharedFunctionalGroupsSequence")
    orientation = (shared[0].PlaneOrientationSequence[0] if shared else header).get("ImageOrientationPatient")
    if not orientation:
        return PROJECTION
    letters = {}
    for edge, direction in zip(("left", "top"), np.array(orientation, dtype=float).reshape(2, 3), strict=True):
        axis = int(np.abs(direction).argmax())
        letters[edge] = ("RL", "AP", "FH")[axis][int(direction[axis] < 0)]
    return letters


def laterality(segmentation: Dataset) -> dict[str, str]:
    """Segment label -> "Left" or "Right", by the coded modifier of its type."""
    return {
        str(one.SegmentLabel): str(modifiers[0].CodeMeaning)
        for one in segmentation.SegmentSequence
        if (modifiers := one.SegmentedPropertyTypeCodeSequence[0].get("SegmentedPropertyTypeModifierCodeSequence"))
    }
