"""cxr-triage: findings on a frontal chest radiograph with calibrated probabilities as a report, where the model looked
as a heatmap, and whether a person should look soon."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pipelines import features, greys, headers, images, phantom_studies
from pipelines.base import Output, Result, Unsuitable
from pipelines.match import Match, label, number, told
from pipelines.outlines import outline
from pipelines.outputs import codes
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.parts import Certainty, Evaluation, Finding, KeyRegion, Measurement
from pipelines.outputs.report import Report
from pipelines.radiograph import Radiograph
from pipelines.seen import digest
from pipelines.study import Instance, Series, Study

if TYPE_CHECKING:
    from models.radiographs import RadiographModel, Reading
    from models.shelf import Shelf

NAME = "cxr-triage"
VERSION = "1.0.0"
MODEL = "cxr-triage"

ACCEPTS = Match(
    modality=("CR", "DX"),
    sop_classes={
        "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
        "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
        "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
        "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
        "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
        "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
    },
    refused_image_types=("LOCALIZER", "SCREEN SAVE", "DOSE.*"),
    geometry=False,
    refused_views=("LL", "RL", "LAT.*", ".*LATERAL.*", "LLD", "RLD", "LLO", "RLO", "LPO", "RPO", "LAO", "RAO", "CC",
                   "MLO?", "XCC.*"),
    refused_body_parts=(
        "ABDOMEN.*", "PELVIS", "HIP", "SKULL", "HEAD", "BRAIN", "NECK", ".SPINE", "SPINE", "COCCYX", "SACRUM",
        "EXTREMITY", "ARM", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "SHOULDER", "SCAPULA",
        "CLAVICLE", "LEG", "FEMUR", "THIGH", "KNEE", "PATELLA", "ANKLE", "CALCANEUS", "FOOT", "TOE", "BREAST", "JAW.*",
        "MANDIBLE", "MAXILLA", "TEETH", "SINUS.*", "NOSE", "ORBIT", "ZYGOMA",
    ),
    min_pixels=64,
    max_aspect=2.5,
)  # fmt: skip

FRONTAL = 0.5  # probability of a frontal view, in either polarity, from which on an image is taken
FLAT = 0.95  # share of one single value from which on there is nothing to see
HOT = 0.5  # of the peak of a map: what is outlined around it
KINDS = {
    "lateral": "a lateral view",
    "turned": "a chest turned by 90 or 180 degrees",
    "part": "a part of a chest",
    "abdomen": "an abdomen, pelvis or hip",
    "limb": "a limb",
    "skull": "a skull",
    "animal": "an animal",
    "breast": "a breast",
    "other": "no radiograph of a body",
}
TURNED = "the pixels show dense parts dark, other than the header says; they were turned before reading"


@dataclass(frozen=True)
class Look:
    """What the view check makes of one image: the probability of a frontal chest; why it is not taken, or None."""

    frontal: float
    reason: str | None


class CxrTriage:
    """The pipeline, around a loaded model (see `models.radiographs.RadiographModel`)."""

    name = NAME
    version = VERSION
    accepts = ACCEPTS

    def __init__(self, model: RadiographModel) -> None:
        self._model = model
        self._looks: dict[str, Look] = {}
        self._example: tempfile.TemporaryDirectory[str] | None = None

    @property
    def model(self) -> Mapping[str, str]:
        """Name, version and digest of the model."""
        card = self._model.card
        return {"name": card.name, "version": card.version, "digest": card.digest}

    def select(self, study: Study) -> Series:
        """The series with the image that is most surely frontal; raises Unsuitable with every series' reason."""
        best: list[tuple[float, int, str, Series]] = []
        refused: list[tuple[str, str]] = []
        for series in study.series:
            if reasons := self.accepts.explain(series):
                refused.append((label(series), "; ".join(reasons)))
                continue
            looks = [self._look(one) for one in images.taken(self.accepts, series)]
            good = [look.frontal for look in looks if look.reason is None]
            if good:
                best.append((-round(max(good), 2), number(series), series.SeriesInstanceUID, series))
            else:
                reasons = list(dict.fromkeys(look.reason for look in looks if look.reason))
                refused.append((label(series), "; ".join(reasons)))
        if not best:
            raise Unsuitable(told(refused))
        return min(best, key=lambda one: one[:3])[3]

    def run(self, study: Study, series: Series) -> Result:
        """Read the best image of the series, and put the outputs together. Raises Unsuitable."""
        began = time.perf_counter()
        instance = self._best(series)
        radiograph = Radiograph.from_instance(instance)
        loaded = time.perf_counter()
        reading, seen = self._model.classify(radiograph.voxels[0]), digest(radiograph.voxels[0])
        if reading.inverted:
            turned = radiograph.voxels.min() + radiograph.voxels.max() - radiograph.voxels
            radiograph = replace(radiograph, voxels=turned)
        positive = [name for name, p in reading.probability.items() if p >= self._model.card.thresholds[name]]
        maps = {name: self._model.explain(radiograph.voxels[0], name) for name in positive}
        predicted = time.perf_counter()
        urgent = self._urgent(reading)
        said = summary(reading, positive, urgent)
        findings = self._findings(reading, maps)
        report = Report(
            radiograph, findings, self._evaluations(reading, said, urgent), procedure=codes.XR_PROCEDURE,
            limitations=" ".join(self._model.card.limitations),
        )  # fmt: skip
        outputs: list[Output] = [report]
        if maps:
            outputs.append(heatmap(radiograph, maps))
        found = {
            "summary": said,
            "score": rounded(reading.score),
            "probability": rounded(reading.probability),
            "entropy": rounded(reading.entropy),
            "disagreement": rounded(reading.disagreement),
            "positive": positive,
            "distance": round(reading.distance, 3),
            "out_of_distribution": reading.out_of_distribution,
            "polarity": TURNED if reading.inverted else "as the header says",
            "priority": "STAT" if urgent else "",
        }
        measured = time.perf_counter()
        watched = {**headers.of_instance(instance), **greys.of_radiograph(radiograph), **_watched(reading, positive)}
        timings = {"load": loaded - began, "predict": predicted - loaded, "measure": measured - predicted,
                   "features": time.perf_counter() - measured}  # fmt: skip
        return Result(outputs, found, watched, timings, urgent, seen)

    def _evaluations(self, reading: Reading, said: str, urgent: bool) -> list[Evaluation]:
        """What the report says of the whole image."""
        error = self._model.card.metrics.get("expected_calibration_error")
        calibration = f"Calibrated by {self._model.card.calibration.get('method', 'no method')}"
        calibration += "." if error is None else f"; expected calibration error {error:.3f} on phantoms."
        unsure = max(reading.entropy, key=lambda name: reading.entropy[name])
        certainty = Certainty(
            calibration,
            f"Predictive entropy, 0 sure to 1 undecided: highest {reading.entropy[unsure]:.2f} ({unsure}), "
            f"mean {np.mean(list(reading.entropy.values())):.2f}.",
            reading.out_of_distribution,
        )
        priority = [Evaluation(codes.PRIORITY, codes.STAT)] if urgent else []
        return [Evaluation(codes.COMMENT, said), *priority, *certainty.evaluations()]

    def _urgent(self, reading: Reading) -> bool:
        """The card's rule: a probability beyond its own limit, and an image of the kind that the model knows."""
        rule = self._model.card.priority
        return not reading.out_of_distribution and any(reading.probability[name] >= p for name, p in rule.items())

    def _findings(self, reading: Reading, maps: Mapping[str, np.ndarray]) -> list[Finding]:
        made = []
        for one in self._model.card.labels:
            kind = codes.Code(one.code.value, one.code.scheme, one.code.meaning)
            percent = 100 * reading.probability[one.name]
            if one.name not in maps:
                words = f"{one.name}: probability {percent:.1f} %, below the threshold"
                said = (Evaluation(kind, codes.NOT_SEEN), Evaluation(codes.COMMENT, words))
                made.append(Finding(one.name, kind, codes.CHEST, None, None, (), said))
                continue
            measured = (
                Measurement(codes.PROBABILITY, round(percent, 1), codes.PERCENT),
                Measurement(codes.PREDICTIVE_ENTROPY, round(reading.entropy[one.name], 3), codes.NO_UNIT),
            )
            region = KeyRegion(0, outline(hot(maps[one.name])))
            made.append(Finding(one.name, kind, codes.CHEST, None, region, measured))
        return made

    def _best(self, series: Series) -> Instance:
        looks = [(self._look(one), one) for one in images.taken(self.accepts, series)]
        good = [(look.frontal, one) for look, one in looks if look.reason is None]
        if not good:
            raise Unsuitable("; ".join(look.reason for look, _ in looks if look.reason) or "the series has no image")
        return max(good, key=lambda pair: round(pair[0], 2))[1]  # the first of equals: images are in their order

    def _look(self, instance: Instance) -> Look:
        """The view check of an image, kept under the digest of its content."""
        if instance.digest not in self._looks:
            if len(self._looks) > 1000:
                self._looks.clear()
            self._looks[instance.digest] = self._looked(instance)
        return self._looks[instance.digest]

    def _looked(self, instance: Instance) -> Look:
        try:
            image = Radiograph.from_instance(instance).voxels[0]
        except Unsuitable as error:
            return Look(0.0, error.reason)
        values, counts = np.unique(image[:: max(1, image.shape[0] // 512)], return_counts=True)
        if len(values) < 4 or counts.max() > FLAT * counts.sum():
            share = 100 * counts.max() / counts.sum()
            return Look(0.0, f"is empty or saturated: {share:.0f} % of its pixels have one value")
        view = self._model.view(image)
        frontal = view["frontal"] + view["inverted"]
        if frontal >= FRONTAL:
            return Look(frontal, None)
        kind = max(KINDS, key=lambda name: view.get(name, 0.0))
        return Look(frontal, f"is no frontal chest by its pixels: the view check sees {KINDS[kind]} "
                             f"({100 * view[kind]:.0f} %, frontal chest {100 * frontal:.0f} %)")  # fmt: skip

    def example(self) -> Study:
        """A radiograph of a made-up chest with findings, in a temporary folder that lives as long as this pipeline."""
        if self._example is None:
            self._example = tempfile.TemporaryDirectory(prefix="overread-example-")
            phantom_studies.radiograph_study(Path(self._example.name), 3)
        return Study.from_folder(Path(self._example.name))


def open_pipeline(models: Shelf, device: str) -> CxrTriage:
    """The pipeline with its model from a shelf. Raises ModelError."""
    return CxrTriage(models.load(MODEL, device))


def hot(found: np.ndarray) -> np.ndarray:
    """The connected part around the peak of a map (rows, columns) where it reaches half of the peak; bool."""
    peak = np.unravel_index(int(found.argmax()), found.shape)
    parts, _ = ndimage.label(found >= HOT * found[peak])
    return parts == parts[peak]


def heatmap(radiograph: Radiograph, maps: Mapping[str, np.ndarray]) -> Heatmap:
    """The maps over the image, which is shown between percentiles of its own values."""
    low, high = (float(value) for value in np.percentile(radiograph.voxels[0], (0.5, 99.5)))
    layers = {name: found[None] for name, found in maps.items()}
    return Heatmap(
        radiograph, layers, "Grad-CAM", low=0.3, window=((low + high) / 2, max(high - low, 1e-3)), quantity="Grad-CAM"
    )


def summary(reading: Reading, positive: list[str], urgent: bool) -> str:
    """The result in words, for the report and the log."""
    parts = [f"{name} {100 * p:.0f} %" for name, p in reading.probability.items()]
    text = f"{'Positive: ' + ', '.join(positive) if positive else 'No finding above its threshold'}. "
    text += f"Calibrated probabilities: {', '.join(parts)}."
    if urgent:
        text += " Priority STAT by the rule of the model's card."
    if reading.out_of_distribution:
        text += " The image is unlike those that the model was validated on: its probabilities are not to be relied on."
    if reading.inverted:
        text += f" Polarity: {TURNED}."
    return text


def _watched(reading: Reading, positive: Collection[str]) -> features.Features:
    """The features of what the model says."""
    found = features.embedding(reading.embedding)
    for name, p in reading.probability.items():
        found |= features.output(name, p=p, positive=name in positive)
        found[f"uncertainty.entropy.{name}"] = reading.entropy[name]
        found[f"uncertainty.mutual-information.{name}"] = reading.disagreement[name]
    return found | {
        "uncertainty.entropy": float(np.mean(list(reading.entropy.values()))),
        "uncertainty.mutual-information": float(np.mean(list(reading.disagreement.values()))),
        "uncertainty.distance": reading.distance,
        "uncertainty.frontal": reading.view["frontal"] + reading.view["inverted"],
        "completeness.inverted": float(reading.inverted),
    }


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Numbers for the log."""
    return {name: round(value, 4) for name, value in values.items()}
