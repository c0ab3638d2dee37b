"""The benchmark of the whole way: its worlds are what it says, and its words are those of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.training.projections import project_patient
from node import audit
from pipelines import registry
from pipelines.base import Unsuitable
from pipelines.headers import of_study
from pipelines.radiograph import Radiograph
from pipelines.study import Study
from tests.bench.bench_stream import WORLDS, rows
from tests.bench.stream.house import ROOT, told
from tests.bench.stream.world import _MARK, FIRST_BODY, USUAL, Change, Radiography, Tomography


def event(number: int, type_: str, **body: Any) -> audit.Event:
    return audit.Event(number, "2026-11-22T06:00:00.000Z", type_, "work", "study/1.2", body, "", "")


def test_the_step_that_each_world_breaks_stands_once_in_the_software_and_compiles_without_it() -> None:
    assert {world.pipeline for world in WORLDS} == set(registry.names())
    for world in WORLDS:
        _, file, old, new, _ = world.step
        text = (ROOT / "pipelines" / file).read_text(encoding="utf-8")
        assert text.count(old) == 1, file
        compile(text.replace(old, new), file, "exec")


def test_what_is_told_is_counted_in_studies_of_the_change() -> None:
    log = [
        event(5, "golden.mismatch", moved=[{"name": "embedding"}]), event(6, "alarm.opened", kind="golden", seq=5, channel="golden"),
        event(7, "job.done"), event(8, "job.skipped"),
        event(9, "notice", what="notice", channel="device.StationName", seq=8),
        event(10, "job.done"), event(11, "alarm.opened", kind="drift", channel="pixels.mean", seq=10, says="mean"),
    ]  # fmt: skip
    assert [(one["word"], one["channel"], one["after"], one["kind"]) for one in told(log)] == [
        ("alarm", "golden set", 0, "golden"), ("notice", "device.StationName", 2, "drift"),
        ("alarm", "pixels.mean", 3, "drift"),
    ]  # fmt: skip
    change = {"studies": 3, "told": told(log)}
    found = {world.pipeline: {"changes": {"nothing": {"studies": 4, "told": []}, "x": change}} for world in WORLDS}
    assert rows(found)[1:3] == [
        ("cxr-triage", "nothing", "4", "-", "-", "-"),
        ("cxr-triage", "x", "3", "device.StationName (2)", "-", "golden set (at the start), pixels.mean (3)"),
    ]


def test_a_ct_of_the_site_is_taken_and_one_that_lost_slices_is_not(tmp_path: Path) -> None:
    site = Tomography(tmp_path)
    site.bodies = {(body, 40): np.full((40, 96, 96), -800, np.int16) for body in range(4)}
    accepts = registry.load("ct-lung", device="cpu").accepts
    whole = Study.from_files(site.study())
    assert of_study(whole, accepts.choose(whole))["acquisition.slices"] == 40
    with pytest.raises(Unsuitable, match="gap: 3 slices seem to be missing"):
        accepts.choose(Study.from_files(site.study(Change(lost=3))))


def test_a_token_lies_in_the_upper_left_corner_whatever_the_polarity(tmp_path: Path) -> None:
    site = Radiography(tmp_path, bodies=[project_patient(FIRST_BODY, lower=False, coarse=1.8)])
    corners, polarities = [], set()
    for _ in range(6):
        [instance] = Study.from_files(site.study(Change(marks=True))).instances
        image = Radiograph.from_instance(instance).voxels[0]
        polarities.add(str(instance.header.PhotometricInterpretation))
        corners.append(int(np.count_nonzero(image[4 : 12 + len(_MARK), 4 : 12 + _MARK.shape[1]] == 4095)))
    assert min(corners) >= _MARK.sum() and polarities == {"MONOCHROME1", "MONOCHROME2"}
    assert Change() == USUAL
