"""Twins of a pipeline's example: the same pixels of the same patient as another device would write them. Whatever reads
them right makes of each what it makes of the example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import get_encoder
from pydicom.pixels.utils import compress
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from pipelines.grid import Grid
from pipelines.radiograph import Radiograph
from pipelines.study import Instance, Series, Study
from pipelines.volume import Volume

ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
_SLICES = 3  # of a stack that are compressed: to be quick
_SMALLEST = 32  # pixels of the shorter side that the encoder of JPEG 2000 halves five times


@dataclass(frozen=True)
class Twin:
    """`name`: how its devices write; `of`: those of the example's instances that have a counterpart in `study`; `runs`:
    there is one for each of them, so that the pipeline can run on it."""

    name: str
    of: Series
    study: Study
    runs: bool


def of(series: Series, placed: bool, folder: Path) -> Iterator[Twin]:
    """Write the twins of an example's series into `folder`, each when it is asked for: of a stack (`placed`) one that
    is turned and numbered the other way, of a radiograph one in MONOCHROME1, and of both some in each lossless
    compression that can be written here. None of what is not plain grey images of one frame."""
    if not all(_is_plain(one) for one in series.instances):
        return
    if placed:
        yield _written("turned and numbered the other way", series, folder / "turned", _turned, runs=True)
        along = [frame.instance for frame in Grid.from_series(series).frames]
        at = max(0, len(along) // 2 - 1)
        some = Series(series.SeriesInstanceUID, tuple(along[at : at + _SLICES]))
    else:
        yield _written("in MONOCHROME1", series, folder / "monochrome1", _monochrome1, runs=True)
        some = series
    for syntax, plugin in ENCODERS.items():
        small = any(min(one.get("Rows"), one.get("Columns")) < _SMALLEST for one in some.instances)
        if plugin in get_encoder(syntax).available_plugins and not (small and syntax == JPEG2000Lossless):
            yield _written(f"in {syntax.name}", some, folder / str(syntax), _compressed(syntax, plugin), runs=False)


def read(series: Series, placed: bool) -> list[np.ndarray]:
    """The values of a series as a model gets them: the slices of a volume on the canonical axes, or radiographs.
    Raises Unsuitable."""
    if placed:
        return list(Volume.from_series(series).canonical())
    images = sorted(series.instances, key=lambda one: one.SOPInstanceUID)
    return [Radiograph.from_instance(one).voxels[0] for one in images]


def _written(
    name: str, of: Series, folder: Path, change: Callable[[Dataset, int], None], runs: bool
) -> Twin:  # fmt: skip
    """`change`: called with each dataset and the number of images."""
    folder.mkdir()
    paths = []
    for number, one in enumerate(of.instances):
        dataset = dcmread(one.path)
        change(dataset, len(of.instances))
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return Twin(name, of, Study.from_files(paths), runs)


def _is_plain(one: Instance) -> bool:
    header = one.header
    syntax = UID(str(header.file_meta.get("TransferSyntaxUID", "")))
    grey = header.get("PhotometricInterpretation") == "MONOCHROME2" and header.get("NumberOfFrames") in (None, 1)
    return grey and syntax.is_transfer_syntax and not syntax.is_compressed


def _compressed(syntax: UID, plugin: str) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, _count: int) -> None:
        compress(dataset, syntax, encoding_plugin=plugin, generate_instance_uid=False)

    return change


def _monochrome1(dataset: Dataset, _count: int) -> None:
    """The lowest value is shown white (PS3.3 C.7.6.3.1.2): what is stored is the complement."""
    stored = dataset.pixel_array
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    turned = (-1 if signed else 2**bits - 1) - stored.astype(np.int64)
    dataset.PixelData = turned.astype(stored.dtype).tobytes() + b"\0" * (stored.nbytes % 2)
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"


def _turned(dataset: Dataset, count: int) -> None:
    """By half a turn around the slice's normal, so that rows run to the other side and columns upwards; the last image
    is the first (PS3.3 C.7.6.2.1.1)."""
    stored = dataset.pixel_array
    along = np.array([float(value) for value in dataset.ImageOrientationPatient]).reshape(2, 3)
    spacing = [float(value) for value in dataset.PixelSpacing]
    rows, columns = stored.shape
    corner = np.array([float(value) for value in dataset.ImagePositionPatient])
    corner += along[0] * spacing[1] * (columns - 1) + along[1] * spacing[0] * (rows - 1)
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in corner]
    dataset.ImageOrientationPatient = [f"{value:.10g}" for value in -along.ravel()]
    dataset.InstanceNumber = count + 1 - int(dataset.InstanceNumber)
    dataset.PixelData = np.ascontiguousarray(stored[::-1, ::-1]).tobytes() + b"\0" * (stored.nbytes % 2)
