"""ct-lung: the aerated left and right lung on CT as a segmentation, their volume and density as a report, and where the
model saw lung as a heatmap."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.embedding import fold
from models.labels import labels_of
from pipelines import features, greys, phantom_studies
from pipelines.base import Output, Result
from pipelines.match import Match, Preference
from pipelines.outlines import outline
from pipelines.outputs import codes, colours
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.parts import Certainty, Evaluation, Finding, KeyRegion, Measurement, Segment
from pipelines.outputs.report import Report
from pipelines.outputs.segmentation import Segmentation
from pipelines.seen import digest
from pipelines.study import Series, Study
from pipelines.volume import Volume

if TYPE_CHECKING:
    from models.runtime import Model
    from models.shelf import Shelf

NAME = "ct-lung"
VERSION = "1.0.0"
MODEL = "ct-lung"

ACCEPTS = Match(
    modality=("CT",),
    sop_classes={
        "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
        "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
        "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
    },
    refused_image_types=(
        "LOCALIZER", "SCOUT", "SCREEN SAVE", "DOSE.*", ".*MIP.*", ".*MINIP.*", "MAX_IP", "MIN_IP", "PROJECTION.*",
        "VRT", "VOLUME_RENDER.*", "PERFUSION.*", "SUBTRACT.*", "MATERIAL.*", "IODINE.*", "EFF_Z.*",
    ),
    rescale_types=("HU", "HU_MOD", "US"),
    plane="axial",
    min_slices=20,
    max_slice_spacing=10.0,
    # Original before reformatted; whole before part; thinner down to 1.5 mm, below which more slices add noise and
    # time; soft before sharp, whose edges overshoot; of equals the one with fewer slices.
    prefer=(
        Preference("derived", "low"),
        Preference("coverage", "high", step=40),
        Preference("slice_spacing", "low", step=0.3, enough=1.5),
        Preference("sharp_kernel", "low"),
        Preference("slice_spacing", "high"),
        Preference("coverage", "high"),
    ),
)  # fmt: skip

NOT_LUNG_ML = 5.0  # below this a lung counts as not found: a report must not measure a few stray voxels
_THREADS = 2
LUNG_WINDOW = (-400.0, 1500.0)  # HU: centre and width of the image below the heatmap
CUT_MM2 = 100.0  # lung area on the first or last slice from which on the lung counts as cut off


@dataclass(frozen=True)
class Side:
    """One lung: `value` in the label map, and how it is named and coded."""

    value: int
    name: str
    laterality: codes.Code
    colour: tuple[float, float, float]

    @property
    def tracking_id(self) -> str:
        """The name under which segmentation and report speak of the same lung."""
        return f"{self.name} lung, aerated"

    def segment(self, number: int) -> Segment:
        """Its segment of the segmentation."""
        return Segment(number, f"{self.name} lung", codes.ANATOMICAL_STRUCTURE, codes.LUNG, self.laterality, codes.LUNG,
                       self.colour, self.tracking_id)  # fmt: skip


SIDES = (Side(1, "Left", codes.LEFT, colours.LEFT_COLOUR), Side(2, "Right", codes.RIGHT, colours.RIGHT_COLOUR))


class CtLung:
    """The pipeline, around a loaded model (see `models.runtime.Model`)."""

    name = NAME
    version = VERSION
    accepts = ACCEPTS

    def __init__(self, model: Model) -> None:
        self._model = model
        self._example: tempfile.TemporaryDirectory[str] | None = None

    @property
    def model(self) -> Mapping[str, str]:
        """Name, version and digest of the model."""
        card = self._model.card
        return {"name": card.name, "version": card.version, "digest": card.digest}

    def select(self, study: Study) -> Series:
        """The best of the study's series that qualify; raises Unsuitable with every series' reason."""
        return self.accepts.choose(study)

    def run(self, study: Study, series: Series) -> Result:
        """Segment, measure, and put the outputs together. Raises Unsuitable."""
        timer = _Timer()
        volume = Volume.from_series(series)
        timer.lap("load")
        given = volume.canonical()
        predicted = self._model.predict(given, volume.canonical_spacing)
        probability = volume.from_canonical(predicted["probability"])
        timer.lap("predict")
        masks = labels_of(probability)  # no HU and no threshold takes part: the likeliest of elsewhere, left and right
        lungs = {side.name: measure(volume, masks, side.value) for side in SIDES}
        certainty = features.certainty(probability, masks)
        for side in SIDES:
            if lungs[side.name] is None:
                masks[masks == side.value] = 0
        cut = cut_off(volume, masks)
        said = (Evaluation(codes.COMMENT, summary(lungs, cut)), *self._certainty(certainty).evaluations())
        outputs = self._outputs(volume, masks, probability, lungs, said)
        findings: dict[str, object] = {"summary": summary(lungs, cut), "cut_off": cut}
        for side in SIDES:
            findings[side.name.lower()] = dict(lungs[side.name] or _NOTHING)
        timer.lap("measure")
        watched: features.Features = {
            **greys.of_volume(volume), **certainty, **features.entropy(probability), **_watched(lungs, masks),
            **features.embedding(fold(predicted["embedding"]) if "embedding" in predicted else ()),
            "completeness.cut-off": cut or "no",
        }  # fmt: skip
        seen = digest(given)
        timer.lap("features")
        return Result(outputs, findings, watched, timer.laps, seen=seen)

    def _outputs(
        self, volume: Volume, masks: np.ndarray, probability: np.ndarray, lungs: Mapping[str, _Lung],
        said: Sequence[Evaluation],
    ) -> list[Output]:  # fmt: skip
        found = [side for side in SIDES if lungs[side.name] is not None]
        numbers = {side.value: number for number, side in enumerate(found, 1)}
        limitations = " ".join(self._model.card.limitations)
        findings = [self._finding(side, volume, masks, lungs[side.name], numbers.get(side.value)) for side in SIDES]
        if not found:
            return [Report(volume, findings, said, limitations=limitations)]
        if list(numbers) != list(numbers.values()):  # segment numbers have no holes: a right lung alone is segment 1
            lookup = np.zeros(256, np.uint8)
            lookup[list(numbers)] = list(numbers.values())
            masks = lookup[masks]
        segmentation = Segmentation(volume, masks, [side.segment(numbers[side.value]) for side in found])
        heat = {f"{side.name} lung": probability[side.value - 1] for side in SIDES}
        report = Report(volume, findings, said, segmentation, limitations=limitations)
        return [segmentation, report, Heatmap(volume, heat, "Softmax probability", window=LUNG_WINDOW)]

    def _certainty(self, features: Mapping[str, float | str | None]) -> Certainty:
        card = self._model.card
        method = str(card.calibration.get("method", "none"))
        error = card.metrics.get("expected_calibration_error")
        calibration = "Probabilities are not calibrated" if method == "none" else f"Calibrated by {method}"
        calibration += "." if error is None else f"; expected calibration error {error:.3f} on phantoms."
        share, mean = features["uncertainty.unsure-share"], features["uncertainty.mean-probability"]
        if not isinstance(share, float) or not isinstance(mean, float):
            return Certainty(calibration, "No voxel was taken for lung.")
        unsure = f"{share:.1%} of the voxels in question were unsure (0.2 to 0.8)."
        return Certainty(calibration, f"Mean probability of the voxels of both lungs {mean:.2f}; {unsure}")

    @staticmethod
    def _finding(side: Side, volume: Volume, masks: np.ndarray, lung: _Lung, number: int | None) -> Finding:
        if lung is None:
            return Finding(side.tracking_id, codes.LUNG, codes.LUNG, side.laterality, None)
        key = int(np.argmax([np.count_nonzero(labels == side.value) for labels in masks]))
        numbers = (
            Measurement(codes.VOLUME, lung["volume_ml"], codes.MILLILITRE),
            Measurement(codes.ATTENUATION, lung["mean_hu"], codes.HOUNSFIELD, codes.MEAN),
            Measurement(codes.ATTENUATION, lung["sd_hu"], codes.HOUNSFIELD, codes.STANDARD_DEVIATION),
        )
        region = KeyRegion(key, outline(masks[key] == side.value))
        return Finding(side.tracking_id, codes.LUNG, codes.LUNG, side.laterality, region, numbers, segment=number)

    def example(self) -> Study:
        """A coarse chest phantom of 40 slices, written to a temporary folder that lives as long as this pipeline."""
        if self._example is None:
            self._example = tempfile.TemporaryDirectory(prefix="overread-example-")
            phantom_studies.chest_study(Path(self._example.name), 3, slices=40, matrix=128)
        return Study.from_folder(Path(self._example.name))


def open_pipeline(models: Shelf, device: str) -> CtLung:
    """The pipeline with its model from a shelf. Raises ModelError."""
    return CtLung(models.load(MODEL, device))


_Lung = Mapping[str, float] | None
_NOTHING: Mapping[str, float | None] = {"volume_ml": 0.0, "mean_hu": None, "sd_hu": None}


def measure(volume: Volume, masks: np.ndarray, label: int) -> _Lung:
    """Volume (ml), mean and standard deviation (HU) of a label on the source grid; None below 5 ml."""

    def one(frame: np.ndarray, labels: np.ndarray) -> tuple[int, float, float]:
        values = frame[labels == label].astype(np.float64)
        return values.size, float(values.sum()), float(values @ values)

    with ThreadPoolExecutor(_THREADS) as threads:  # frame by frame: fast, and in little memory
        count, total, squares = (sum(found) for found in zip(*threads.map(one, volume.voxels, masks), strict=True))
    if count * volume.voxel_ml < NOT_LUNG_ML:
        return None
    mean = total / count
    return {"volume_ml": round(count * volume.voxel_ml, 2), "mean_hu": round(mean, 1),
            "sd_hu": round(max(0.0, squares / count - mean**2) ** 0.5, 1)}  # fmt: skip


def _watched(lungs: Mapping[str, _Lung], masks: np.ndarray) -> features.Features:
    """The features of both lungs."""
    found: features.Features = {}
    parts = features.parts(masks, [side.value for side in SIDES])
    for side in SIDES:
        lung = lungs[side.name]
        numbers = lung or _NOTHING
        found |= features.output(f"{side.name} lung", volume=numbers["volume_ml"], mean=numbers["mean_hu"],
                                 sd=numbers["sd_hu"], count=parts[side.value], empty=lung is None)  # fmt: skip
    return found


def cut_off(volume: Volume, masks: np.ndarray) -> str:
    """Where lung reaches the end of the scan: "", "top", "bottom" or "top and bottom"."""
    area = volume.spacing[1] * volume.spacing[2]
    ends = {"bottom": masks[0], "top": masks[-1]}
    if volume.view.flip[0]:
        ends = {"bottom": masks[-1], "top": masks[0]}
    return " and ".join(end for end in ("top", "bottom") if np.count_nonzero(ends[end]) * area > CUT_MM2)


def summary(lungs: Mapping[str, _Lung], cut: str) -> str:
    """The result in words, for the report and the log."""
    if all(lung is None for lung in lungs.values()):
        return "No aerated lung found in this series: left 0 ml, right 0 ml."
    parts = []
    for name, lung in lungs.items():
        if lung is None:
            parts.append(f"{name} lung: no aerated lung found (0 ml)")
        else:
            parts.append(f"{name} lung {lung['volume_ml']:.0f} ml, mean {lung['mean_hu']:.0f} HU")
    text = "; ".join(parts) + ". Aerated lung only: effusion, consolidation, masses and large airways are not included."
    return f"{text} The scan cuts the lung off at the {cut}: volumes are of the scanned part." if cut else text


class _Timer:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
