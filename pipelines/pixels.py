"""Pixel data to numbers: decodes one instance's frames, checks sizes before it allocates, applies padding, rescale and
MONOCHROME1. The transfer syntaxes are those that pydicom decodes with openjpeg, pyjpegls, Pillow and gdcm."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipelines import apart, inflated
from pipelines.base import Unsuitable, quoted
from pipelines.codestreams import fault
from pipelines.frames import Frame, image, numbers
from pipelines.study import Instance

LARGEST_FRAME = 2**26  # pixels: a decoder takes memory for as many as a header of a few bytes declares
AIR = -1024  # HU: what padding, and all that lies below it, becomes in CT
_UNREADABLE = (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError, EOFError, NotImplementedError,
               OverflowError, struct.error, zlib.error, BytesLengthException, InvalidDicomError)  # fmt: skip
_PREFERRED = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")  # every plugin that pydicom has


def why_not(instance: Instance) -> str | None:
    """Why an instance's pixel data cannot become numbers, as far as its header tells; None if it can."""
    header = instance.header
    syntax = _transfer_syntax(header)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        retired = " (retired)" if syntax.is_retired else ""
        return f"transfer syntax {quoted(syntax.name)}{retired} ({quoted(syntax)}) cannot be decoded"
    if not decoder.is_available:
        return f"transfer syntax {syntax.name} ({syntax}) has no decoder on this machine"
    colours = header.get("PhotometricInterpretation")
    if header.get("SamplesPerPixel") != 1 or colours not in ("MONOCHROME1", "MONOCHROME2"):
        return f"PhotometricInterpretation {quoted(colours)}: it is not a grey image"
    allocated, stored = header.get("BitsAllocated"), header.get("BitsStored")
    if allocated not in (8, 16, 32) or not isinstance(stored, int) or not 1 <= stored <= allocated:
        return f"BitsAllocated {quoted(allocated)}, BitsStored {quoted(stored)}: no integer pixel data"
    rows, columns = header.get("Rows"), header.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int) or rows < 1 or columns < 1:
        return "it has no Rows or Columns: it is not an image"
    if rows * columns > LARGEST_FRAME:
        return f"it declares {rows} x {columns} pixels, at most {LARGEST_FRAME} are taken"
    return None


def stored_frames(instance: Instance, wanted: list[int]) -> Iterator[np.ndarray]:
    """The stored values (rows, columns) of the frames `wanted` (numbers from 1), one after another, decoded late.

    Raises Unsuitable where the pixel data does not hold what the header declares, before memory is taken for it.
    """
    if (reason := why_not(instance)) is not None:
        raise Unsuitable(f"{image(instance)}: {reason}")
    syntax = _transfer_syntax(instance.header)
    if (plain := _plain_frames(instance, syntax, wanted)) is not None:
        yield from plain
        return
    try:
        with instance.path.open("rb") as file:
            dataset = inflated.read(file, header_only=False).dataset
        content = dataset.get("PixelData")
        if not content:
            raise Unsuitable(f"{image(instance)} has no pixel data")
        frames = int((numbers(dataset, "NumberOfFrames", 1) or (1,))[0])
        if syntax.is_encapsulated:
            _check_codestreams(instance, dataset, content, frames)
        else:
            _check_length(instance, dataset, len(content), frames)
        indices, plugin = [number - 1 for number in wanted], _plugin(syntax)
        if plugin not in ("", "pydicom"):  # all others are written in C
            size = dataset.Rows * dataset.Columns
            yield from apart.decoder.frames(instance.path, str(syntax), plugin, indices, size)
            return
        if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
            dataset.ensure_file_meta()
            dataset.file_meta.TransferSyntaxUID = syntax
        for array, _ in get_decoder(syntax).iter_array(dataset, raw=True, indices=indices, decoding_plugin=plugin):
            yield array
    except inflated.TooLarge as error:
        raise Unsuitable(f"{image(instance)}: {error}") from error
    except _UNREADABLE as error:
        raise Unsuitable(f"{image(instance)}: its pixel data cannot be decoded ({_told(error)})") from error


def _plain_frames(instance: Instance, syntax: UID, wanted: list[int]) -> list[np.ndarray] | None:
    """The frames as they lie in the file, for whole bytes in little endian that are not compressed; None for all else.

    Most CT is such. Read through a dataset, its pixels would wait in memory for the garbage collector.
    """
    header = instance.header
    if syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) or not instance.header_end:
        return None
    rows, columns, each = header.Rows, header.Columns, int(header.BitsAllocated) // 8  # which `why_not` has looked at
    size = rows * columns * each
    kind = np.dtype(f"<{'i' if header.get('PixelRepresentation') == 1 else 'u'}{each}")
    with instance.path.open("rb") as file:
        file.seek(instance.header_end)
        start = file.read(12)
        implicit = syntax == ImplicitVRLittleEndian
        length = int.from_bytes(start[4:8] if implicit else start[8:12], "little")
        whole = start[:4] == b"\xe0\x7f\x10\x00" and (implicit or start[4:6] in (b"OW", b"OB"))
        if not whole or length == 0xFFFFFFFF or max(wanted) * size > length:
            return None  # what is wrong is told by the way that all others go
        first = instance.header_end + (8 if implicit else 12)
        found = []
        for number in wanted:
            file.seek(first + (number - 1) * size)
            content = file.read(size)
            if len(content) < size:
                return None
            found.append(np.frombuffer(content, kind).reshape(rows, columns))
    return found


def values(stored: np.ndarray, header: Dataset, slope: float, intercept: float, kind: np.dtype) -> np.ndarray:
    """Stored values as HU (CT) or as the modality's own numbers, of dtype `kind`; value = stored * slope + intercept.

    Padding (PixelPaddingValue, PixelPaddingRangeLimit; PS3.3 C.7.5.1.1.2) becomes air in CT and the frame's lowest
    value elsewhere. CT values under -1024 HU are padding that its scanner does not declare. MONOCHROME1 says how CT is
    shown, not what its numbers mean; other modalities are turned, so that bright is high.
    """
    is_ct = header.get("Modality") == "CT"
    padding = _padding(stored, header)
    clean = _stored_bits(stored, header)
    result = clean.astype(np.float32) if kind == np.float32 else clean.astype(np.int32)
    if header.get("PhotometricInterpretation") == "MONOCHROME1" and not is_ct:
        lowest, highest = _range(header)
        result = lowest + highest - result
    if kind == np.float32:
        result = result * np.float32(slope) + np.float32(intercept)
    else:
        if slope != 1:
            result *= int(slope)
        if intercept:
            result += int(intercept)
    if is_ct:
        np.maximum(result, AIR, out=result)
    if padding is not None:
        result[padding] = AIR if is_ct or padding.all() else result[~padding].min()
    if kind != np.float32:
        np.minimum(result, 2**15 - 1, out=result)
        np.maximum(result, -(2**15), out=result)
    return result.astype(kind, copy=False)


def is_plain(instance: Instance) -> bool:
    """True where the pixels of an instance are not compressed, so that nothing but numpy reads them."""
    syntax = _transfer_syntax(instance.header)
    return syntax.is_transfer_syntax and not syntax.is_encapsulated


def kind_of(frames: tuple[Frame, ...]) -> np.dtype:
    """int16 where that holds every value that the frames can have, and for every CT of whole HU; else float32."""
    whole = all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames)
    header = frames[0].instance.header
    small = all(abs(frame.slope) < 2**15 and abs(frame.intercept) < 2**30 for frame in frames)
    if whole and small and header.get("Modality") == "CT" and (header.get("BitsStored") or 16) <= 16:
        return np.dtype(np.int16)
    ends = [one * frame.slope + frame.intercept for frame in frames for one in _range(header)]
    return np.dtype(np.int16 if whole and min(ends) >= -(2**15) and max(ends) < 2**15 else np.float32)


def _range(header: Dataset) -> tuple[int, int]:
    """The lowest and highest stored value that BitsStored and PixelRepresentation allow."""
    bits = header.get("BitsStored") or 16
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.get("PixelRepresentation") == 1 else (0, 2**bits - 1)


def _padding(stored: np.ndarray, header: Dataset) -> np.ndarray | None:
    first = numbers(header, "PixelPaddingValue", 1)
    if first is None:
        return None
    last = numbers(header, "PixelPaddingRangeLimit", 1) or first
    # some writers give 63536 where the pixels are signed and -2000 is meant: compare in the pixels' own form
    ends = sorted(int(np.array(int(one) & 2 ** (8 * stored.itemsize) - 1, f"u{stored.itemsize}").view(stored.dtype))
                  for one in (first[0], last[0]))  # fmt: skip
    found = (stored >= ends[0]) & (stored <= ends[1])
    return found if found.any() else None


def _stored_bits(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """The low BitsStored bits: above them, old images keep overlay planes (PS3.5 8.1.1)."""
    bits = int(header.BitsStored)
    spare = 8 * stored.itemsize - bits
    if spare <= 0 or header.get("HighBit", bits - 1) != bits - 1:
        return stored
    low, high = _range(header)
    if stored.min() >= low and stored.max() <= high:
        return stored
    if header.get("PixelRepresentation") == 1:
        return np.right_shift(np.left_shift(stored, spare), spare)
    return stored & np.array(high, stored.dtype)


def _check_length(instance: Instance, dataset: Dataset, length: int, frames: int) -> None:
    rows, columns = dataset.Rows, dataset.Columns
    wanted = rows * columns * frames * ((dataset.get("BitsAllocated") or 0) // 8)
    if length < wanted:
        raise Unsuitable(f"{image(instance)}: its pixel data holds {length} bytes where {frames} x {rows} x {columns} "
                         f"pixels need {wanted}")  # fmt: skip


def _check_codestreams(instance: Instance, dataset: Dataset, content: bytes, frames: int) -> None:
    count = 0
    for codestream in generate_frames(content, number_of_frames=frames):
        count += 1
        if (reason := fault(codestream, dataset.Rows, dataset.Columns)) is not None:
            raise Unsuitable(f"{image(instance)}: {reason}")
    if count < frames:
        raise Unsuitable(f"{image(instance)}: its pixel data holds {count} of {frames} frames")


def _transfer_syntax(header: Dataset) -> UID:
    meta = getattr(header, "file_meta", None) or Dataset()
    if uid := str(meta.get("TransferSyntaxUID") or ""):
        return UID(uid)
    implicit, little = header.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _plugin(syntax: UID) -> str:
    """The decoder to use: gdcm, which ends the process on some damaged images, only where there is no other."""
    known = syntax.is_transfer_syntax and syntax.is_encapsulated
    plugins = get_decoder(syntax).available_plugins if known else ()
    return min(plugins, key=_PREFERRED.index, default="")


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, apart.DecoderFailed) else apart.brief(error)
