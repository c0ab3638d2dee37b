"""The studies that the viewers are shown, and the results on them for each destination profile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from models.errors import ModelError
from pipelines import phantom_studies
from pipelines.base import execute, maker_of
from pipelines.outputs import reading
from pipelines.outputs.placement import content_items
from pipelines.registry import load
from pipelines.study import Study
from tests.conftest import missing
from tests.peers import real_data

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VOLUME = "118565006"


@dataclass(frozen=True)
class Source:
    """A study to run a pipeline on: `files` gives its files, in a folder of its own where they have to be written."""

    name: str
    pipeline: str
    files: Callable[[Path], Sequence[Path]]


def chest_phantom(folder: Path) -> Sequence[Path]:
    """A coarse chest of 40 slices, as no scanner makes it but quick to look at."""
    return phantom_studies.chest_study(folder / "phantom", 3, slices=40, matrix=128)


def real_chest(folder: Path) -> Sequence[Path]:
    """A real chest CT of 60 slices; skips where the real data is absent."""
    return sorted(real_data("o01-ct-chest-lidc0314").glob("*.dcm"))


SOURCES = (Source("ct-lung on o01", "ct-lung", real_chest), Source("ct-lung on a phantom", "ct-lung", chest_phantom))
PROFILES = ("ohif",)


@dataclass(frozen=True)
class Region:
    """One finding of a report: its outline (n, 2) in Graphic Data on a source image, and the values below it."""

    image: str
    outline: np.ndarray
    values: tuple[str, ...]


@dataclass
class Subject:
    """A study with the results of a run on it; `folder` holds what was written for it."""

    name: str
    study: Study
    folder: Path
    made: dict[str, list[Dataset]] = field(default_factory=dict)

    def objects_for(self, profile: str) -> list[Path]:
        """The files that a destination with this profile gets."""
        folder = self.folder / profile
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        files = []
        for name, datasets in self.made.items():
            for number, dataset in enumerate(datasets):
                files.append(folder / f"{name}-{number:03d}.dcm")
                dataset.save_as(files[-1], enforce_file_format=True)
        return files

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


def run(source: Source, folder: Path) -> Subject:
    """Run the pipeline on the study, as `overread try` does; skips where the study or the model is absent."""
    study = Study.from_files(source.files(folder))
    try:
        pipeline = load(source.pipeline)
    except ModelError as error:
        missing(f"models/bundled/{source.pipeline}", str(error))
    done = execute(pipeline, study, pipeline.select(study), maker_of(pipeline, "0.1.0", MADE))
    made = {one.name: [kept.dataset() for kept in one.kept] for one in done.made}
    return Subject(source.name, study, folder, made)


@dataclass(frozen=True)
class Objects:
    """Results read back from files, as a viewer gets them."""

    stored: reading.Stored

    @classmethod
    def of(cls, files: Sequence[Path]) -> Objects:
        """Read files; fails where one is of a class that no test here looks at."""
        known = {SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage}
        classes = {str(pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID) for path in files}
        assert classes <= known, f"no test looks at {classes - known}"
        return cls(reading.stored(files))

    def regions(self) -> list[Region]:
        """The findings of the report, in its order, with the values as the viewer writes them: two decimals."""
        (report,) = self.stored.reports
        found = []
        for group in content_items(report):
            items = list(group.get("ContentSequence") or ())
            outlines = [one for one in items if one.ValueType == "SCOORD"]
            if not outlines:
                continue
            (outline,) = outlines
            values = tuple(f"{float(one.MeasuredValueSequence[0].NumericValue):.2f}" for one in items if one.ValueType == "NUM")
            image = str(outline.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            found.append(Region(image, np.array(outline.GraphicData, dtype=float).reshape(-1, 2), values))
        return found


def marks_of(header: Dataset) -> dict[str, str]:
    """The letters that belong to the left and upper edge of an image, by its main directions (PS3.3 C.7.6.2.1.1)."""
    cosines = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    letters = {}
    for edge, direction in zip(("left", "top"), cosines, strict=True):
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
