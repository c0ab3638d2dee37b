"""Twins of the examples: read and taken like the example itself, and each fault in reading is found in the one that shows
it, while the example alone shows nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from pipelines import apart, golden, golden_run, pixels, registry, twins
from pipelines.base import Pipeline
from pipelines.examples import ct_study, radiograph
from pipelines.golden import Features
from pipelines.grid import Grid, View
from pipelines.study import Series, Study

Held = tuple[Pipeline, Series, Features]
COMPRESSED = {
    "twin in RLE Lossless", "twin in JPEG-LS Lossless Image Compression",
    "twin in JPEG 2000 Image Compression (Lossless Only)",
}  # fmt: skip


@pytest.fixture(scope="module")
def held() -> Callable[[str], Held]:
    """Pipelines with their examples and what they make of them, each made once."""
    made: dict[str, Held] = {}

    def get(name: str) -> Held:
        if name not in made:
            pipeline = registry.load(name, device="cpu")
            series = pipeline.select(study := pipeline.example())
            made[name] = pipeline, series, pipeline.run(study, series).features
        return made[name]

    return get


@pytest.fixture
def lung(held: Callable[[str], Held]) -> Held:
    return held("ct-lung")


@pytest.fixture
def chest(held: Callable[[str], Held]) -> Iterator[Held]:
    yield held("cxr-triage")
    held("cxr-triage")[0]._looks.clear()  # type: ignore[attr-defined]


def found(held: Held) -> set[str]:
    """The names of the twins in which something is wrong."""
    return {one.name.split(",")[0] for one in golden_run.twins_apart(*held)}


def test_nothing_is_wrong_with_the_twins_of_both_examples(lung: Held, chest: Held) -> None:
    assert golden_run.twins_apart(*lung) == golden_run.twins_apart(*chest) == ()


def test_twins_are_other_files_with_the_same_patient_and_images(lung: Held, chest: Held, tmp_path: Path) -> None:
    for number, (pipeline, series, _) in enumerate((lung, chest)):
        (folder := tmp_path / str(number)).mkdir()
        made = list(twins.of(series, pipeline.accepts.geometry, folder))
        assert {f"twin {one.name}" for one in made} > COMPRESSED
        for twin in made:
            assert twin.study.StudyInstanceUID == series.get("StudyInstanceUID")
            assert {one.SOPInstanceUID for one in twin.study.instances} == {
                one.SOPInstanceUID for one in twin.of.instances
            }
            assert not {one.digest for one in twin.study.instances} & {one.digest for one in series.instances}
    syntaxes = {str(dcmread(one, stop_before_pixels=True).file_meta.TransferSyntaxUID) for one in folder.rglob("*.dcm")}
    assert syntaxes == {"1.2.840.10008.1.2.1", *twins.ENCODERS}


def test_a_run_of_the_golden_set_looks_at_them(chest: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = (golden.Moved("twin in MONOCHROME1", "taken", "refused: x"),)
    asked = []
    monkeypatch.setattr(golden_run, "twins_apart", lambda *given: asked.append(given) or wrong)
    run = golden_run.run(chest[0], {"overread": "0.1.0"}, datetime(2026, 1, 2, tzinfo=UTC))
    assert run.twins == wrong and golden.compare(replace(run, twins=()), run) == wrong
    [(pipeline, series, features)] = asked
    assert (pipeline, series.digest) == (chest[0], chest[1].digest) and features.items() <= run.features.items()


def test_monochrome1_that_is_not_turned_is_found(chest: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pixels.values

    def broken(stored: np.ndarray, header: Dataset, *rest: Any) -> np.ndarray:
        header = copy.copy(header)
        header.PhotometricInterpretation = "MONOCHROME2"
        return whole(stored, header, *rest)

    monkeypatch.setattr(pixels, "values", broken)
    assert found(chest) == {"twin in MONOCHROME1"}


def test_a_decoder_that_is_wrong_or_gone_is_found(chest: Held, lung: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = apart.decoder.frames
    monkeypatch.setattr(apart.decoder, "frames", lambda *given: (one + one.dtype.type(1) for one in whole(*given)))
    assert found(chest) == found(lung) == COMPRESSED - {"twin in RLE Lossless"}

    def gone(*_given: object) -> Iterator[np.ndarray]:
        raise apart.DecoderFailed("it ended its decoder (exit code -11)")

    monkeypatch.setattr(apart.decoder, "frames", gone)
    wrong = golden_run.twins_apart(*chest)
    assert {one.name for one in wrong} == COMPRESSED - {"twin in RLE Lossless"}
    assert all("refused: " in one.words() and "exit code -11" in one.words() for one in wrong)


def test_slices_that_are_sorted_by_their_numbers_are_found(lung: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Grid.from_series

    def broken(series: Series) -> Grid:
        grid = whole(series)
        frames = sorted(grid.frames, key=lambda frame: int(frame.instance.header.InstanceNumber))
        return Grid(**{**vars(grid), "frames": tuple(frames)})

    monkeypatch.setattr(Grid, "from_series", broken)
    assert found(lung) == {"twin turned and numbered the other way"}


def test_an_orientation_that_is_taken_for_granted_is_found(lung: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "apply", lambda _self, array: array)
    assert found(lung) == {"twin turned and numbered the other way"}


def test_a_result_that_is_not_turned_back_is_found_by_the_run(lung: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "undo", lambda _self, array: array)
    wrong = golden_run.twins_apart(*lung)
    assert wrong and all(one.name.startswith("twin turned and numbered the other way, output.") for one in wrong)


def test_examples_that_are_no_plain_grey_images_have_no_twins(tmp_path: Path) -> None:
    for name, attributes in (("colour", {"PhotometricInterpretation": "RGB"}), ("frames", {"NumberOfFrames": 2})):
        paths = radiograph(np.zeros((80, 80), np.uint16), tmp_path / name, **attributes)
        [series] = Study.from_files(paths).series
        assert list(twins.of(series, False, tmp_path / name)) == []


def test_a_stack_of_signed_or_unsigned_values_has_twins_that_are_read_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    paths = ct_study(rng.integers(-900, 900, (5, 40, 33)).astype(np.int16), (3.0, 1.0, 2.0), tmp_path / "ct")
    [series] = Study.from_files(paths).series
    (folder := tmp_path / "twins").mkdir()
    for twin in twins.of(series, True, folder):
        before, now = (twins.read(one, True) for one in (twin.of, twin.study.series[0]))
        assert len(before) == len(now) == (5 if twin.runs else 3)
        assert all(map(np.array_equal, before, now)), twin.name
