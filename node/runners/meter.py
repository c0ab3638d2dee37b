"""What a job cost: seconds of each stage, memory; whether anything random ran in it; and why one failed, as one word
that monitoring counts."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import memory
from models.errors import BadModel, OutOfMemory
from models.randomness import SEED, Dice
from pipelines.base import InvalidOutput

_PROCESS = Path("/proc/self")  # Linux; elsewhere memory is not known


class Meter:
    """Measures this process from now on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._dice = Dice()
        memory.begin()
        try:
            (_PROCESS / "clear_refs").write_text("5")  # the peak (VmHWM) begins anew: proc(5)
        except OSError:  # a system that does not let us: the peak is that of the whole process
            self._anew = False
        else:
            self._anew = True

    def seconds(self) -> float:
        """Since it began to measure."""
        return round(time.perf_counter() - self._began, 4)

    def record(self) -> dict[str, Any]:
        """For the audit log: the seed, the shared generators that were drawn from (none: nothing random ran), and the
        memory in MiB, as in `features`."""
        told: dict[str, Any] = {"seed": SEED, "random": self._dice.drawn(), "memory": _peak() if self._anew else None}
        on_device = memory.peak()
        return told if on_device is None else told | {"device_memory": round(on_device / 2**20, 1)}

    def features(self, timings: Mapping[str, float]) -> dict[str, float | str | None]:
        """`timings`: seconds by stage, as a job tells them: "run.predict" is the stage predict."""
        stages = {f"service.stage.{name.removeprefix('run.')}": took for name, took in _stages(timings).items()}
        on_device = memory.peak()
        return {
            **stages,
            "service.memory": _peak() if self._anew else None,
            "service.device-memory": None if on_device is None else round(on_device / 2**20, 1),
        }


def cause_of(error: BaseException) -> str:
    """The kind of a failure: memory, output, model, files, defect."""
    if isinstance(error, OutOfMemory | MemoryError):
        return "memory"
    if isinstance(error, InvalidOutput):
        return "output"
    if isinstance(error, BadModel):
        return "model"
    return "files" if isinstance(error, OSError) else "defect"


def _stages(timings: Mapping[str, float]) -> dict[str, float]:
    """Each stage once: what is computed for monitoring stands in two places."""
    found = {name: took for name, took in timings.items() if name not in ("features", "run.features")}
    if "run.features" in timings or "features" in timings:
        found["features"] = timings.get("features", 0.0) + timings.get("run.features", 0.0)
    return found


def _peak() -> float | None:
    """MiB that this process held at most since the peak began anew."""
    try:
        told = re.search(r"VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text())
    except OSError:
        return None
    return None if told is None else round(int(told[1]) / 1024, 1)
