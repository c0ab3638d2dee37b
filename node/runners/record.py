"""What a result was made with, for the audit log: the software, its code, the machine, and what it took."""

from __future__ import annotations

import hashlib
import platform
import resource
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import models
import pipelines
from node import __version__

_LIBRARIES = ("torch", "monai", "numpy", "scipy", "pydicom", "highdicom", "SimpleITK", "pylibjpeg-openjpeg", "pyjpegls",
              "python-gdcm", "pillow")  # fmt: skip


@cache
def software() -> dict[str, str]:
    """The versions of Overread, Python and the libraries that touch a pixel or a result, and the digest of the code of
    pipelines and models: what goes before and after the network is in there."""
    found = {"overread": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _LIBRARIES} | {"code": code_digest()}


@cache
def code_digest() -> str:
    """SHA-256 over names and content of all Python files of the packages pipelines and models. Hex."""
    hashed = hashlib.sha256()
    for package in (pipelines, models):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            name = f"{root.name}/{file.relative_to(root).as_posix()}"
            hashed.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


def record(instances: int) -> dict[str, Any]:
    """The record of one job of this process. `instances`: of the series that was read. Memory is what this process, and
    its GPU where it uses one, took at most so far, in bytes."""
    found: dict[str, Any] = {
        "software": software(), "instances": instances, "device": platform.machine(),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip
    torch = sys.modules.get("torch")  # where a model has loaded it; only `models` imports it
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        found |= {"device": torch.cuda.get_device_name(), "peak_memory_gpu": torch.cuda.max_memory_allocated()}
    return found
