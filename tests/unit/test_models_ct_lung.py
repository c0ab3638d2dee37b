"""The bundled reference model: right on phantoms it has not seen, and on a real chest where one is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.labels import labels_of
from models.runtime import Model
from models.shelf import Shelf
from models.training.evaluate import dice
from models.training.phantoms import chest_phantom
from tests.bench.ct_lung_real import CASES, aerated_lung, judge_case, read_scans, real_data

# Seeds far from those of any training run; see models.training.splits.
HELD_OUT = 987_000_000
SHAPE, SPACING = (80, 320, 320), (4.0, 1.1, 1.1)


@pytest.fixture(scope="module")
def model() -> Model:
    return Shelf().load("ct-lung", device="cpu")


def test_held_out_phantoms_are_outlined_and_the_sides_are_right(model: Model) -> None:
    phantoms = [chest_phantom(HELD_OUT + seed, SHAPE, SPACING) for seed in (1, 2, 3, 4)]
    found = [labels_of(model.predict(p.hu, p.spacing)["probability"]) for p in phantoms]
    overlaps = [dice(f > 0, p.labels > 0) for f, p in zip(found, phantoms, strict=True)]
    # The main airways are neither right nor wrong; leaving them in makes the figures lower, never higher.
    assert np.mean(overlaps) >= 0.97
    assert min(overlaps) >= 0.93
    for f, p in zip(found, phantoms, strict=True):
        both = (f > 0) & (p.labels > 0)
        assert (f != p.labels)[both].mean() < 0.03


@pytest.mark.parametrize(
    "variation",
    [
        {"posture": "prone", "quarter_turn": 0.0},
        {"posture": "left"},
        {"arms": "down"},
        {"blanket_layers": 7},
    ],
    ids=["prone", "on the left side", "arms down", "many blankets"],
)
def test_left_and_right_are_never_swapped(model: Model, variation: dict[str, object]) -> None:
    phantom = chest_phantom(HELD_OUT + 20, (72, 128, 128), (4.0, 3.0, 3.0), **variation)
    found = labels_of(model.predict(phantom.hu, phantom.spacing)["probability"])
    both = (found > 0) & (phantom.labels > 0)
    assert both.sum() > 0.8 * (phantom.labels > 0).sum()
    assert (found != phantom.labels)[both].mean() < 0.02


def test_float_and_integer_volumes_give_the_same_answer(model: Model) -> None:
    phantom = chest_phantom(HELD_OUT + 30, (48, 96, 96), (6.0, 4.0, 4.0))
    a, b = (model.predict(phantom.hu.astype(kind), phantom.spacing)["probability"] for kind in (np.int16, np.float32))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("shape", [(1, 512, 512), (1, 3, 2), (2, 40, 700), (400, 16, 16)])
def test_volumes_of_any_size_run_and_air_is_not_lung(model: Model, shape: tuple[int, int, int]) -> None:
    out = model.predict(np.full(shape, -1000, np.int16), (1.0, 0.8, 0.8))["probability"]
    assert out.shape == (2, *shape) and out.dtype == np.float16
    assert (labels_of(out) > 0).mean() < 0.001


def test_water_is_not_lung(model: Model) -> None:
    y, x = np.ogrid[:128, :128]
    volume = np.where((y - 64) ** 2 + (x - 64) ** 2 < 50**2, 0, -1000)[None].repeat(30, 0).astype(np.int16)
    assert not labels_of(model.predict(volume, (3.0, 2.5, 2.5))["probability"]).any()


def real(case: str) -> Path:
    folder = real_data() / CASES[case]
    if not folder.is_dir():
        pytest.skip(f"real data {folder.name} is not there (OVERREAD_REAL_DATA)")
    return folder


def test_a_real_chest_is_outlined_and_the_sides_are_right(model: Model) -> None:
    scan = read_scans(real("o01"))[0]
    found = labels_of(model.predict(scan.hu, scan.spacing)["probability"])
    assert dice(found > 0, aerated_lung(scan.hu)) >= 0.92
    columns = np.arange(scan.hu.shape[2])
    centres = [float((columns * (found == v).sum((0, 1))).sum() / (found == v).sum()) for v in (1, 2)]
    assert centres[0] > 256 > centres[1]


@pytest.mark.parametrize("case", ["o03", "o04"])
def test_gas_in_a_real_abdomen_is_not_painted(model: Model, case: str) -> None:
    scan = read_scans(real(case))[0]
    figures, _, _ = judge_case(model, case, scan, real_data())
    assert figures["outside_share"] < 0.03 or figures["outside_ml"] < 0.5
