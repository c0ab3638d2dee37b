"""What the card of ``cxr-triage`` says of itself in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.training.fit import Progress

VERSION = "1.0.0"
# Codes as DICOM's own context groups use them (PS3.16).
CODES = {
    "Pneumothorax": ("36118008", "SCT", "Pneumothorax"),
    "Effusion": ("60046008", "SCT", "Pleural effusion"),
    "Opacity": ("112001", "DCM", "Opacity"),
    "Cardiomegaly": ("287272002", "SCT", "Cardiomegaly"),
    "Nodule": ("27925004", "SCT", "Nodule"),
}


def card_data(
    network: Mapping[str, Any],
    seed: int,
    minutes: float,
    patients: Mapping[str, int],
    shots: Mapping[str, int],
    share: float,
    progress: Mapping[str, Progress],
) -> dict[str, Any]:
    """The card of a training run, all but weights, thresholds and what was measured."""
    return {
        "name": "cxr-triage",
        "version": VERSION,
        "format": "native",
        "licence": "Apache-2.0",
        "intended_use": "Reference model that shows how Overread works with radiographs: findings on frontal chest "
        "images with calibrated probabilities, their uncertainty, and where the model looked. For demonstration, tests "
        "and as a pattern for other models. Not for diagnosis, and not for triage of patients.",
        "limitations": [
            "It knows phantoms only: ray sums through computer-made patients. No image of a person was used, it has "
            "had no clinical validation, and what it says of a real radiograph means nothing for the patient.",
            "Real radiographs mostly lie beyond the limit of distance; that is said with the result, and no priority "
            "is given then.",
            "The probabilities hold for a group in which each finding has about the share given under training; "
            "where findings are rarer they are too high.",
            "Frontal chests only, upright or nearly so, PA or AP. The view check was trained on phantoms and on "
            "drawings of other views; it can be wrong both ways.",
            "Pneumothorax under 35 mm at the apex, under tension, or with fluid; infants; hearts between normal and "
            "clearly enlarged; and nodules under 24 mm were not part of the training.",
        ],
        "network": {"name": "xray-triage", "arguments": dict(network)},
        "inputs": {
            "modality": "CR or DX",
            "view": "frontal chest; another one is refused",
            "units": "any: values between two quantiles of the image are used",
            "polarity": "either: it is told from the pixels",
            "pixel_spacing": "not needed",
        },
        "labels": [
            {"name": name, "value": k + 1, "code": dict(zip(("value", "scheme", "meaning"), CODES[name], strict=True))}
            for k, name in enumerate(network["findings"])
        ],
        "training": {
            "command": f"overread train cxr-triage --out FOLDER --seed {seed} --minutes {minutes:g}",
            "seed": seed,
            "minutes": minutes,
            "data": "projection phantoms made by models.training.projections and models.training.exposure",
            "patients": dict(patients),
            "images_per_patient": dict(shots),
            "share_of_each_finding": share,
            "steps": {name: one.steps for name, one in progress.items()},
            "stopped": {name: one.stopped for name, one in progress.items()},
            "validation": {name: round(one.best, 4) for name, one in progress.items()},
        },
        "metrics": {},
        "references": [
            "Huang et al., Densely Connected Convolutional Networks, CVPR 2017",
            "Lakshminarayanan et al., Deep Ensembles, NeurIPS 2017",
            "Guo et al., On Calibration of Modern Neural Networks, ICML 2017",
            "Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018",
            "Selvaraju et al., Grad-CAM, ICCV 2017",
            "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018",
        ],
    }
