"""Where and how a model computes: device, precision, threads, memory; and what happens when memory runs out."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from models.card import ModelCard
from models.errors import ModelError, OutOfMemory

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Model(Protocol):
    """What a pipeline sees of a model."""

    card: ModelCard

    def predict(self, volume: np.ndarray, spacing: tuple[float, float, float]) -> Mapping[str, np.ndarray]:
        """``volume`` HU (slices, rows, columns) toward Head, Posterior, Left; ``spacing`` mm; see
        LoadedModel.predict."""
        ...

    def warm_up(self) -> None:
        """Compute once on something small."""
        ...


class Infers(Protocol):
    """What a network family offers: ``infer`` on arrays, working in portions of ``share`` (1.0, 0.5, ...) of its usual
    size."""

    def infer(
        self, volume: np.ndarray, spacing: tuple[float, float, float], runtime: Runtime, share: float
    ) -> dict[str, np.ndarray]:
        """Arrays by name on the grid of ``volume``; may raise MemoryError or torch.OutOfMemoryError."""
        ...


@dataclass(frozen=True)
class Runtime:
    """``memory`` is the budget in bytes for working memory, beyond the input and the result."""

    device: torch.device
    precision: torch.dtype
    memory: int

    def autocast(self) -> torch.autocast:
        """The context in which networks compute in this precision."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)


def choose_runtime(
    device: str = "auto", precision: str = "auto", threads: int | None = None, memory: int | None = None
) -> Runtime:
    """Turn words into a runtime. Raises ModelError for a device or precision that this machine does not have.

    "auto" is the first CUDA GPU where there is one, else the CPU; bfloat16 on a GPU that has it, float32 on a CPU (the
    same numbers on every machine).
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(chosen)
    except RuntimeError:
        raise ModelError(f"device {device!r} is not known; use auto, cpu, cuda or cuda:<number>") from None
    if place.type not in ("cpu", "cuda"):
        raise ModelError(f"device {device!r} is not supported; use auto, cpu, cuda or cuda:<number>")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device {device!r} is not there; this machine has {torch.cuda.device_count()} CUDA device(s); "
            "use cpu or auto"
        )
    if precision == "auto":
        half = place.type == "cuda" and torch.cuda.is_bf16_supported()
        kind = torch.bfloat16 if half else torch.float32
    elif precision in PRECISIONS:
        kind = PRECISIONS[precision]
    else:
        raise ModelError(f"precision {precision!r} is not known; use auto, {', '.join(PRECISIONS)}")
    if threads is not None:
        torch.set_num_threads(threads)
    return Runtime(place, kind, memory if memory is not None else _free_memory(place))


def _free_memory(place: torch.device) -> int:
    if place.type == "cuda":
        return int(torch.cuda.mem_get_info(place)[0] * 0.8)
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 262144
    return max(256 << 20, min(1 << 30, pages * os.sysconf("SC_PAGE_SIZE") // 2))


class LoadedModel:
    """A card, its network and a runtime."""

    def __init__(self, card: ModelCard, net: torch.nn.Module, runtime: Runtime, smallest: float = 1 / 64) -> None:
        self.card, self.runtime, self._smallest = card, runtime, smallest
        self._net: Any = net.to(runtime.device)

    def predict(self, volume: np.ndarray, spacing: tuple[float, float, float]) -> Mapping[str, np.ndarray]:
        """Run the network on a volume.

        ``volume``: HU, int16 or float32, (slices, rows, columns), axis 0 toward the Head, 1 toward Posterior, 2 toward
        the
        patient's Left; ``spacing``: mm in that order. Returns the family's arrays, for ``two-views`` ``probability``
        float16 (labels, slices, rows, columns) on the same grid, channel ``value - 1`` for each label of the card, and
        ``embedding`` float32 (channels): mean activations of a late layer, which monitoring watches.

        Raises ModelError for an unusable array and OutOfMemory when even the smallest portions do not fit.
        """
        check_volume(volume, spacing)
        share = 1.0
        while True:
            try:
                with torch.inference_mode():
                    return self._net.infer(volume, spacing, self.runtime, share)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            if share <= self._smallest:
                raise OutOfMemory(
                    f"{self.card.name}: {self.runtime.device} has too little memory for a volume of "
                    f"{' x '.join(map(str, volume.shape))} even in small portions; free memory or use another device"
                )
            share /= 4
            gc.collect()
            if self.runtime.device.type == "cuda":
                torch.cuda.empty_cache()

    def warm_up(self) -> None:
        """Compute once on air, so that the first patient does not wait for kernels to be chosen."""
        self.predict(np.full((8, 64, 64), -1000, np.int16), (4.0, 4.0, 4.0))


def check_volume(volume: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """Raises ModelError unless ``volume`` is a non-empty numeric 3D array with finite values and positive spacing."""
    if volume.ndim != 3 or volume.size == 0:
        raise ModelError(f"a volume has slices, rows and columns; this array has shape {volume.shape}")
    if volume.dtype.kind not in "iuf":
        raise ModelError(f"a volume holds numbers in HU; this array holds {volume.dtype}")
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ModelError(f"spacing must be three positive numbers in mm (z, y, x), not {tuple(spacing)}")
    if volume.dtype.kind == "f" and not all(np.isfinite(part).all() for part in volume):
        raise ModelError("the volume holds values that are not numbers; replace them with -1000 HU (air)")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this exception says that memory ran out; torch says so on the CPU with a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
