"""What the log must hold of one inference: the list of the specification, looked up in the events of a real study."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from node.telling.story import Story

_SHA256 = re.compile("[0-9a-f]{64}")
Look = Callable[[Mapping[str, Any]], object]


def _digest(text: object) -> bool:
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def _has(*names: str) -> Look:
    return lambda part: all(part.get(name) not in (None, "") for name in names)


def _answers(story: Story, word: str) -> list[Mapping[str, Any]]:
    return [one["body"] for one in story["timeline"] if one["type"] == word]


# Field of the list -> where it stands in the story of a study with one done job of which everything was delivered.
FIELDS: Mapping[str, Callable[[Story, Mapping[str, Any]], object]] = {
    "software build": lambda story, job: _has("overread", "python", "torch", "numpy", "pydicom")(job["record"]["software"]),
    "configuration digest": lambda story, job: _digest(job["record"]["config"]),
    "association, calling and called AE, address": lambda story, job: all(
        _has("association", "calling_ae", "called_ae", "address")(one) for one in story["received"]
    ),
    "study, series, number and root of SOP UIDs": lambda story, job: story["study"] and job["series_uid"]
    and story["revisions"][-1]["instances"] > 0 and _digest(story["revisions"][-1]["root"]),
    "digest of the received instances": lambda story, job: _digest(job["input_digest"]),
    "digest of the pixel array": lambda story, job: _digest(job["record"]["pixels"]),
    "instances read": lambda story, job: job["record"]["instances"] > 0,
    "device and acquisition": lambda story, job: _has("device.Manufacturer", "acquisition.rows", "acquisition.images")(job["acquisition"]),
    "digest of what monitoring watches": lambda story, job: _digest(job["features"]),
    "model and version": lambda story, job: _has("name", "version", "pipeline_version")(job["model"]) and _digest(job["model"]["digest"]),
    "weights digest": lambda story, job: job["record"]["weights"] and all(map(_digest, job["record"]["weights"].values())),
    "digest of what goes before and after the model": lambda story, job: _digest(job["record"]["software"]["code"]),
    "runtime and device": lambda story, job: _has("machine", "device")(job["record"]),
    "precision": lambda story, job: job["record"]["precision"] in ("float32", "bfloat16", "float16"),
    "seed, or that nothing random ran": lambda story, job: (job["record"]["seed"], job["record"]["random"]) == (0, []),
    "thresholds and calibration": lambda story, job: "thresholds" in job["record"] and job["record"]["calibration"]["method"],
    "status": lambda story, job: job["outcome"] == "done",
    "findings: scores, decision, volumes, counts": lambda story, job: job["findings"],
    "outputs: UIDs, classes, digests": lambda story, job: job["outputs"] and all(
        one["sop_class"] and len(one["sop_uids"]) == one["instances"] == len(one["digests"]) and all(map(_digest, one["digests"]))
        for one in job["outputs"].values()
    ),
    "destination and answer of each instance": lambda story, job: all(
        one["peer"] and len(one["answers"]) > 0 and all(_has("sop_uid", "status")(each) or each["status"] == 0 for each in one["answers"])
        for one in _answers(story, "delivery.delivered")
    ) and len(story["deliveries"]) == len(job["outputs"]),
    "timings of every stage": lambda story, job: all(took >= 0 for took in job["timings"].values())
    and {"run", "run.load", "run.predict", "run.measure", "run.features", "features", "write", "all"} <= set(job["timings"]),
    "memory": lambda story, job: job["record"]["memory"] > 1,
    "rule that matched, and why the others did not": lambda story, job: job["routes"] and "matches" in story["revisions"][-1]["routes"].values(),
}  # fmt: skip


def missing(story: Story) -> list[str]:
    """The fields of the list that the story of a study does not tell; its last job is looked at."""
    job = story["jobs"][-1]
    found = []
    for name, look in FIELDS.items():
        try:
            there = bool(look(story, job))
        except (KeyError, IndexError, TypeError):
            there = False
        if not there:
            found.append(name)
    return found
