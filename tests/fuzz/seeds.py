"""Sound files to begin with: small synthetic series in many encodings, and small real files where they are at hand."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests import builders
from tests.fuzz.target import MARKER

Case = tuple[bytes, ...]
"""The files of one series."""
_LARGEST = 160 * 1024  # bytes of a real file
_ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def synthetic() -> tuple[Case, ...]:
    """Three slices each: plain, big endian, implicit, deflated, compressed in four ways, enhanced, MONOCHROME1."""
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as folder:
        return tuple(_made(Path(folder)))


@functools.cache
def real() -> tuple[Case, ...]:
    """Small files of OVERREAD_REAL_DATA, each with up to two neighbours; none where there is no such folder."""
    folder = Path(os.environ.get("OVERREAD_REAL_DATA", _ROOT.parent / "shared" / "data"))
    if not (folder / "INDEX.md").is_file():
        return ()
    found: list[Case] = []
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        files = [path for path in sorted(place.iterdir()) if path.is_file() and path.stat().st_size <= _LARGEST]
        dicom = [path.read_bytes() for path in files if path.suffix not in (".md", ".csv", ".json", ".gz", ".txt")][:40]
        found += [tuple(dicom[at : at + 3]) for at in range(0, len(dicom), 3)]
    return tuple(found)


def _made(folder: Path) -> Iterator[Case]:
    def plain(name: str, shape: tuple[int, int, int] = (3, 12, 14)) -> list[Path]:
        hu = builders.voxels(shape) // 2
        return builders.axial(folder / name, hu, PatientName=f"{MARKER}^Ada", PatientBirthDate="19700101")

    yield _read(plain("explicit"))
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        yield _read([_as(path, syntax) for path in plain(syntax)])
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1):
        yield _read(builders.compressed(plain(syntax, (3, 32, 32)), syntax))
    yield (builders.enhanced(plain("enhanced"), folder / "enhanced.dcm").read_bytes(),)
    yield _read(builders.monochrome1(plain("cr"), "CR"))


def _as(path: Path, syntax: str) -> Path:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").byteswap().tobytes()
    pydicom.dcmwrite(path, dataset, implicit_vr=syntax == ImplicitVRLittleEndian,
                     little_endian=syntax != ExplicitVRBigEndian)  # fmt: skip
    return path


def _read(paths: list[Path]) -> Case:
    return tuple(path.read_bytes() for path in paths)
