"""Statistics of pixels, and the marks among them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import greys
from pipelines.examples import ct_study
from pipelines.marks import CORNERS
from pipelines.radiograph import Radiograph
from pipelines.study import Study
from pipelines.volume import Volume


def chest(rows: int = 600) -> np.ndarray:
    """Dark lungs in a bright body with soft edges, and a little noise; 0 to 3000."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : rows * 1j]
    body = 2600 / (1 + np.exp(30 * (np.hypot(x, y) - 0.9)))
    lungs = sum(1700 / (1 + np.exp(25 * (np.hypot((x - side) / 0.6, y) - 0.55))) for side in (-0.42, 0.42))
    noise = np.random.default_rng(1).normal(0, 20, body.shape)
    return np.clip(body - lungs + noise, 0, 3000).astype(np.float32)


def letter(image: np.ndarray, at: int = 60, size: int = 36) -> np.ndarray:
    """An L of metal in the upper corner, as wide as a tenth of its height."""
    marked = image.copy()
    marked[at : at + size, at : at + size // 6] = 4095
    marked[at + size - size // 6 : at + size, at : at + size // 2] = 4095
    return marked


def of(image: np.ndarray) -> dict[str, float | str | None]:
    return greys.of_radiograph(Radiograph(image[None], ()))


def test_a_metal_token_is_seen_at_its_size_and_a_chest_without_one_has_none() -> None:
    assert of(chest())["pixels.markers"] == 0.0
    image = letter(chest())
    assert of(image)["pixels.markers"] == pytest.approx(float((image == 4095).mean()), rel=0.3)


@pytest.mark.parametrize("rows", [300, 1200, 2400])
def test_a_token_is_seen_at_any_size_of_the_image(rows: int) -> None:
    image = letter(chest(rows), rows // 10, rows // 16)
    assert of(image)["pixels.markers"] == pytest.approx(float((image == 4095).mean()), rel=0.6)


def test_a_mark_need_not_be_the_brightest_of_the_image_and_may_be_dark() -> None:
    image = chest()
    found = float((letter(image) == 4095).mean())
    for brightness in (1400.0, -1500.0):  # on air (0), dimmer than the body; and where someone wrote in black on white
        marked = image.copy() if brightness > 0 else 3000 - image
        marked[letter(image) == 4095] = abs(brightness)
        assert of(marked)["pixels.markers"] == pytest.approx(found, rel=0.3)
        assert of(marked)["pixels.markers.top-left"] == 1.0


def test_a_token_is_told_in_its_corner_and_in_no_other() -> None:
    for turns, corner in enumerate(("top-left", "bottom-left", "bottom-right", "top-right")):
        told = of(np.ascontiguousarray(np.rot90(letter(chest()), turns)))
        assert [one for one in CORNERS if told[f"pixels.markers.{one}"]] == [corner]


def test_a_token_that_touches_the_edge_of_a_shutter_is_found_and_the_shutter_is_none() -> None:
    image = chest() + 400
    image[:80], image[:, :70] = 0, 0
    assert of(image)["pixels.markers"] == 0.0
    told = of(letter(image))
    assert told["pixels.markers.top-left"] == 1.0
    assert told["pixels.markers"] == pytest.approx(float((letter(image) == 4095).mean()), rel=0.5)


def test_soft_round_parts_lines_and_single_bad_pixels_are_no_marks() -> None:
    image = chest()
    y, x = np.mgrid[:600, :600]
    image += 2500 * np.exp(-(((x - 90) / 24) ** 2 + ((y - 90) / 24) ** 2))  # small, but soft
    image[:, 30:33] = 4095  # a grid line
    image[300, 300] = 4095
    assert of(image.astype(np.float32))["pixels.markers"] == 0.0


def test_letters_on_radiographs_of_people_are_found(real_data: Path) -> None:
    marked = {"rsna-cxr-pa": "top-right", "nih-cxr-nofinding": "top-right", "wg04-thorax-RG1_J2KI": "top-left"}
    for name, corner in marked.items():
        [instance] = Study.from_files([real_data / "o08-cr-dx" / f"{name}.dcm"]).instances
        told = greys.of_radiograph(Radiograph.from_instance(instance))
        assert told[f"pixels.markers.{corner}"] == 1.0, name
        assert 1e-4 < float(told["pixels.markers"] or 0) < 0.01, "and anatomy is not taken for one"


def test_large_saturated_parts_and_their_noisy_edges_are_no_marks() -> None:
    image = np.minimum(chest() * 1.4, 3000)  # an overexposed body
    assert float((image == 3000).mean()) > 0.2
    assert of(image)["pixels.markers"] < 2e-4


def test_statistics_of_a_radiograph_do_not_depend_on_its_unit() -> None:
    image = chest()
    one, other = of(image), of(image * 4 + 100)
    scaled = {"pixels.p1", "pixels.p50", "pixels.p99"}
    for name in set(one) - scaled:
        assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-3), name
    assert other["pixels.p99"] == pytest.approx(4 * float(one["pixels.p99"] or 0) + 100, rel=1e-4)  # type: ignore[arg-type]


def test_a_sharper_image_is_sharper_and_a_darker_one_has_more_air() -> None:
    image = chest()
    noisy = np.clip(image + np.random.default_rng(2).normal(0, 120, image.shape), 0, 4095).astype(np.float32)
    assert float(of(noisy)["pixels.sharpness"]) > 2 * float(of(image)["pixels.sharpness"])  # type: ignore[arg-type]
    dark = image.copy()
    dark[:, :300] = 0
    assert float(of(dark)["pixels.air"]) > float(of(image)["pixels.air"]) + 0.2  # type: ignore[arg-type]


def volume(folder: Path, hu: np.ndarray) -> Volume:
    return Volume.from_series(Study.from_files(ct_study(hu, (5.0, 2.0, 2.0), folder)).series[0])


def test_shares_of_a_volume_are_those_that_were_put_in(tmp_path: Path) -> None:
    hu = np.full((24, 64, 64), -1000, np.int16)
    hu[:, :32] = 40  # half of it tissue
    hu[:, :, :16] = 700  # a quarter bone
    told = greys.of_volume(volume(tmp_path, hu))
    assert told["pixels.air"] == pytest.approx(0.375, abs=0.01)
    assert told["pixels.tissue"] == pytest.approx(0.375, abs=0.01)
    assert (told["pixels.saturated"], told["pixels.markers"]) == (0.0, 0.0)
    assert told["pixels.entropy"] == pytest.approx(1.56, abs=0.02)
    assert (told["pixels.p1"], told["pixels.p99"]) == (-1000, 700)


def test_text_that_is_burnt_into_slices_is_seen(tmp_path: Path) -> None:
    hu = np.full((24, 128, 128), 0, np.int16)
    hu[:, 40:90, 40:90] = 1200  # bone has sharp edges too
    hu[:, 4:7, 4:14] = 3071  # 30 of 16384 pixels
    assert greys.of_volume(volume(tmp_path, hu))["pixels.markers"] == pytest.approx(30 / 16384)


def test_every_column_is_looked_at_whatever_the_size() -> None:
    voxels = np.zeros((40, 512, 512), np.int16)
    voxels[:, :, 1::2] = 100  # every second column; a step of 2, 4, ... would meet only one kind
    told = greys.of_volume(SimpleNamespace(voxels=voxels))  # type: ignore[arg-type]
    assert told["pixels.mean"] == pytest.approx(50, abs=0.5)
