"""The runtime: devices, precision, bad volumes, and memory that runs out."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from models.card import ModelCard, card_from
from models.errors import ModelError, OutOfMemory
from models.labels import labels_of
from models.nets.looking import settle_sides
from models.nets.two_views import TwoViews
from models.runtime import LoadedModel, Runtime, choose_runtime
from models.windows import averaging, linear, pad_to, shrink, slide, spans
from tests.unit.test_models_card import card_data


class Hungry(torch.nn.Module):
    """A network that runs out of memory above a certain share."""

    def __init__(self, fits: float, error: Exception) -> None:
        super().__init__()
        self.fits, self.error, self.shares = fits, error, list[float]()

    def infer(
        self, volume: np.ndarray, spacing: tuple[float, float, float], runtime: Runtime, share: float
    ) -> dict[str, np.ndarray]:
        self.shares.append(share)
        if share > self.fits:
            raise self.error
        return {"probability": np.zeros((2, *volume.shape), np.float16)}


def card() -> ModelCard:
    return card_from(card_data(), "test")


def model(net: torch.nn.Module) -> LoadedModel:
    return LoadedModel(card(), net, choose_runtime("cpu"))


AIR = np.full((4, 16, 16), -1000, np.int16)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_when_memory_runs_out_smaller_portions_are_tried(error: Exception) -> None:
    net = Hungry(0.1, error)
    assert model(net).predict(AIR, (4.0, 4.0, 4.0))["probability"].shape == (2, 4, 16, 16)
    assert net.shares == [1.0, 0.25, 0.0625]


def test_when_nothing_fits_it_says_out_of_memory_in_one_line() -> None:
    with pytest.raises(OutOfMemory, match="4 x 16 x 16") as caught:
        model(Hungry(0.0, MemoryError())).predict(AIR, (4.0, 4.0, 4.0))
    assert "\n" not in str(caught.value)


def test_another_error_of_the_network_is_not_taken_for_memory() -> None:
    net = Hungry(0.0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        model(net).predict(AIR, (4.0, 4.0, 4.0))
    assert net.shares == [1.0]


@pytest.mark.parametrize(
    ("volume", "spacing", "words"),
    [
        (AIR[0], (1, 1, 1), "shape"),
        (AIR[:0], (1, 1, 1), "shape"),
        (AIR, (1, 0, 1), "positive"),
        (AIR, (1, float("nan"), 1), "positive"),
        (AIR.astype(str), (1, 1, 1), "numbers"),
        (np.full((2, 4, 4), np.nan, np.float32), (1, 1, 1), "not numbers"),
    ],
)
def test_an_unusable_volume_is_refused(volume: np.ndarray, spacing: tuple[float, float, float], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        model(Hungry(1.0, MemoryError())).predict(volume, spacing)


def test_devices_and_precisions_that_are_not_there_are_refused_with_what_there_is() -> None:
    with pytest.raises(ModelError, match="auto, cpu, cuda"):
        choose_runtime("abacus")
    with pytest.raises(ModelError, match="device"):
        choose_runtime(f"cuda:{torch.cuda.device_count() + 3}")
    with pytest.raises(ModelError, match="float32"):
        choose_runtime("cpu", "float7")
    assert choose_runtime("cpu").precision == torch.float32
    assert choose_runtime("cpu", "bfloat16").precision == torch.bfloat16


def test_small_portions_give_the_same_answer_as_large_ones() -> None:
    torch.manual_seed(3)
    net = TwoViews(whole=(8, 8, 8, 8), detail=(8, 8, 8, 8)).eval()
    rng = np.random.default_rng(0)
    volume = rng.integers(-1000, 400, (12, 96, 80)).astype(np.int16)
    with torch.inference_mode():
        runtime = choose_runtime("cpu")
        whole = net.infer(volume, (4.0, 2.0, 2.0), runtime, 1.0)["probability"].astype(float)
        parts = net.infer(volume, (4.0, 2.0, 2.0), runtime, 1 / 16)["probability"].astype(float)
    assert whole.max() > 0
    assert np.abs(whole - parts).max() < 0.02


@pytest.mark.parametrize("shape", [(1, 5, 7), (1, 512, 512), (3, 38, 23), (200, 33, 31)])
@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (10.0, 3.0, 0.4)])
def test_any_grid_runs(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    net = TwoViews(whole=(8, 8, 8, 8), detail=(8, 8, 8, 8)).eval()
    out = model(net).predict(np.zeros(shape, np.float32), spacing)["probability"]
    assert out.shape == (2, *shape) and out.dtype == np.float16
    assert np.isfinite(out).all()


def test_averaging_keeps_the_mean_and_interpolation_keeps_lines() -> None:
    weights = averaging(100, 0.7, 4.0)
    assert weights.shape == (18, 100) and np.allclose(weights.sum(1), 1, atol=1e-5)
    assert np.allclose((weights @ np.arange(100.0)).mean(), 49.5, atol=0.01)
    assert np.allclose(averaging(5, 10.0, 4.0).sum(1), 1)
    assert np.allclose(linear(4, np.array([-1, 0.25, 3, 9])) @ np.array([0.0, 1, 2, 3]), [0, 0.25, 3, 3])


def test_shrinking_clips_padding_to_air_before_it_averages() -> None:
    volume = np.full((4, 8, 8), -3024, np.int16)
    assert np.allclose(shrink(volume, (1, 1, 1), 4.0), -1024)


def test_windows_cover_everything_and_overlap() -> None:
    for length in (1, 30, 48, 49, 100, 333):
        parts = list(spans(length, 48, 16))
        assert parts[0][0] == 0 and parts[-1][1] == length
        assert all(b[0] <= a[1] - 16 for a, b in itertools.pairwise(parts))


def test_sliding_windows_give_back_what_each_window_agrees_on() -> None:
    volume = np.random.default_rng(1).random((50, 3, 3)).astype(np.float32)
    assert np.allclose(slide(volume, 16, 8, lambda part: np.stack([part, -part]))[0], volume, atol=1e-6)


def test_padding_can_be_taken_off_again() -> None:
    volume = np.random.default_rng(1).random((5, 7, 33)).astype(np.float32)
    padded, where = pad_to(volume, 16)
    assert padded.shape == (16, 32, 48) and np.array_equal(padded[where], volume)


def test_a_voxel_is_what_is_likeliest_and_elsewhere_counts() -> None:
    probability = np.array([[0.4, 0.2, 0.6, 0.34, 0.0], [0.1, 0.7, 0.3, 0.33, 0.0]], np.float16).reshape(2, 1, 1, 5)
    assert labels_of(probability).ravel().tolist() == [0, 2, 1, 1, 0]


def test_an_island_of_one_lung_inside_the_other_is_given_back_and_nothing_else_changes() -> None:
    hints = np.zeros((3, 12, 20, 40), np.float32)
    hints[0, :, 4:16, 22:38] = 0.9
    hints[1, :, 4:16, 2:18] = 0.9
    settled = settle_sides(hints)
    assert np.array_equal(settled, hints)
    mistaken = hints.copy()
    mistaken[:2, 5:7, 8:11, 28:31] = mistaken[1::-1, 5:7, 8:11, 28:31]
    assert np.array_equal(settle_sides(mistaken), hints)
    assert np.array_equal(settle_sides(np.zeros((3, 2, 2, 2), np.float32)), np.zeros((3, 2, 2, 2)))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save

    from models.errors import BadModel
    from models.formats.native import load
    from models.shelf import Package
    from models.training.writer import write_package

    data = card_data(
        network={"name": "two-views", "arguments": {"whole": [8, 8, 8, 8], "detail": [8, 8, 8, 8]}}, weights=None
    )
    other = TwoViews(whole=(8, 8, 8, 16), detail=(8, 8, 8, 8)).state_dict()
    written = write_package(
        tmp_path / "tiny", data, {"w.safetensors": save({k: v.contiguous() for k, v in other.items()})}
    )
    with pytest.raises(BadModel, match="do not fit the network"):
        load(Package(written, tmp_path / "tiny"), "cpu")
