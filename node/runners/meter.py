"""What a job cost: seconds of each stage, memory; and why one failed, as one word that monitoring counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from models import memory
from models.errors import BadModel, OutOfMemory
from pipelines.base import InvalidOutput

_PROCESS = Path("/proc/self")  # Linux; elsewhere memory is not known


class Meter:
    """Measures this process from now on."""

    def __init__(self) -> None:
        memory.begin()
        try:
            (_PROCESS / "clear_refs").write_text("5")  # the peak (VmHWM) begins anew: proc(5)
        except OSError:  # a system that does not let us: the peak is that of the whole process
            self._anew = False
        else:
            self._anew = True

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
