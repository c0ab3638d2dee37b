"""What a model computes with: versions of the libraries, and the device."""

from __future__ import annotations

import platform
import sys

import numpy as np


def software(device: str = "auto") -> dict[str, str]:
    """Versions by name, and what `device` stands for. Without torch (a process that loaded no model) less is known.
    Raises ModelError for a device that is not there."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    torch = sys.modules.get("torch")
    if torch is None:
        return found
    from models.runtime import choose_runtime

    runtime = choose_runtime(device)
    found |= {"torch": torch.__version__, "device": "cpu", "precision": str(runtime.precision).removeprefix("torch.")}
    if runtime.device.type == "cuda":
        found |= {"device": torch.cuda.get_device_name(runtime.device), "cuda": str(torch.version.cuda)}
    return found
