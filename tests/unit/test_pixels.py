"""Stored pixels -> numbers: compression, padding, inversion; and pixel data that lies about its size."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipelines import pixels
from pipelines.base import Unsuitable
from pipelines.frames import frames_of
from pipelines.study import Study
from pipelines.volume import Volume
from tests import builders
from tests.builders import rewritten


def read(paths: list[Path]) -> Volume:
    return Volume.from_series(builders.series_of(paths))


def refusal(paths: list[Path]) -> str:
    with pytest.raises(Unsuitable) as caught:
        read(paths)
    assert "\n" not in caught.value.reason and str(paths[0].parent) not in caught.value.reason
    return caught.value.reason


LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_losslessly_compressed_pixels_are_the_same_numbers(syntax: str, tmp_path: Path) -> None:
    hu = builders.voxels((4, 64, 60))
    assert np.array_equal(read(builders.compressed(builders.axial(tmp_path, hu), syntax)).voxels, hu)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("several", [False, True], ids=["single-frame", "enhanced"])
def test_plain_pixels_are_read_as_the_library_reads_them(
    syntax: str, several: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hu = builders.voxels((5, 64, 60))
    paths = builders.axial(tmp_path, hu)
    if several:
        paths = [builders.enhanced(paths, tmp_path / "enhanced.dcm", [2, 0, 4, 1, 3])]
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").byteswap().tobytes()
        pydicom.dcmwrite(path, dataset, implicit_vr=syntax == ImplicitVRLittleEndian,
                         little_endian=syntax != ExplicitVRBigEndian)  # fmt: skip
    found = read(paths).voxels
    assert np.array_equal(found, hu)
    monkeypatch.setattr(pixels, "_plain_frames", lambda *_: None)
    assert np.array_equal(read(paths).voxels, found)


def test_deflated_files_are_the_same_numbers(tmp_path: Path) -> None:
    hu = builders.voxels()
    paths = builders.axial(tmp_path, hu)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    assert np.array_equal(read(paths).voxels, hu)


def test_a_compressed_enhanced_object_is_the_same_numbers(tmp_path: Path) -> None:
    hu = builders.voxels((5, 64, 60))
    path = builders.enhanced(builders.axial(tmp_path, hu), tmp_path / "enhanced.dcm", [2, 0, 4, 1, 3])
    assert np.array_equal(read(builders.compressed([path], RLELossless)).voxels, hu)


def test_all_lossless_forms_of_one_real_slice_decode_to_the_same_hu(real_data: Path) -> None:
    decoded: dict[str, np.ndarray] = {}
    for path in sorted((real_data / "o10-transfer-syntaxes").rglob("CTImage*")):
        (series,) = Study.from_files([path]).series
        (instance,) = series.instances
        syntax = instance.header.file_meta.TransferSyntaxUID
        if not syntax.is_compressed or syntax in (*LOSSLESS, DeflatedExplicitVRLittleEndian):
            (frame,) = frames_of(series)
            (stored,) = pixels.stored_frames(instance, [1])
            decoded[syntax.name] = stored * frame.slope + frame.intercept
    assert len(decoded) >= 8
    first = next(iter(decoded.values()))
    assert (first.min(), first.max()) == (-3024, 1378)
    for name, found in decoded.items():
        assert np.array_equal(found, first), name


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.99", "1.2.276.0.7230010.3.99"])
def test_retired_and_unknown_transfer_syntaxes_are_refused_by_name(syntax: str, tmp_path: Path) -> None:
    paths = builders.compressed(builders.axial(tmp_path, builders.voxels((2, 64, 60))), JPEGLSLossless)
    for path in paths:
        builders.relabelled(path, JPEGLSLossless, syntax)
    reason = refusal(paths)
    assert syntax in reason and "cannot be decoded" in reason
    assert ("retired" in reason) == (syntax == "1.2.840.10008.1.2.4.53")


def test_padding_becomes_air_in_ct(tmp_path: Path) -> None:
    hu = np.full((4, 6, 6), 40, np.int16)
    hu[:, 0, 0] = -2000
    hu[:, 1, 1] = 3000
    paths = builders.axial(tmp_path / "one", hu, PixelPaddingValue=-2000)
    volume = read(_signed_padding(paths))
    assert (volume.voxels[:, 0, 0] == -1024).all() and (volume.voxels[:, 1, 1] == 3000).all()


def test_a_range_of_padding_becomes_air_in_ct(tmp_path: Path) -> None:
    hu = np.full((4, 6, 6), 40, np.int16)
    hu[:, 0, :4] = (2900, 2950, 3000, 3001)
    paths = _signed_padding(builders.axial(tmp_path, hu), 2900, 3000)
    row = read(paths).voxels[0, 0, :4]
    assert row.tolist() == [-1024, -1024, -1024, 3001]


def test_padding_is_compared_before_the_rescale(tmp_path: Path) -> None:
    hu = np.full((4, 6, 6), 1064, np.int16)
    hu[:, 0, 0], hu[:, 0, 1] = 0, 24
    paths = _signed_padding(builders.axial(tmp_path, hu, RescaleIntercept="-1000"), 24)
    row = read(paths).voxels[0, 0, :3]
    assert row.tolist() == [-1000, -1024, 64]


def test_values_far_below_air_become_air_in_ct(tmp_path: Path) -> None:
    hu = np.full((4, 6, 6), 40, np.int16)
    hu[:, 0, 0] = -3024
    assert read(builders.axial(tmp_path, hu)).voxels.min() == -1024


def test_padding_becomes_the_lowest_value_in_mr(tmp_path: Path) -> None:
    hu = np.full((4, 6, 6), 500, np.int16)
    hu[:, 0, 0], hu[:, 1, 1] = 4095, 7
    paths = _signed_padding(builders.axial(tmp_path, hu, Modality="MR"), 4095)
    assert read(paths).voxels[:, 0, 0].tolist() == [7] * 4


def test_monochrome1_is_inverted_where_brightness_has_no_unit(tmp_path: Path) -> None:
    hu = builders.voxels()
    paths = builders.monochrome1(builders.axial(tmp_path, hu), "MR")
    assert np.array_equal(read(paths).voxels, hu + 1000)


def test_bits_above_bits_stored_are_not_values(tmp_path: Path) -> None:
    hu = builders.voxels() + 1000
    paths = builders.axial(tmp_path, hu)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0xA000
        rewritten(path, BitsStored=12, HighBit=11, PixelRepresentation=0, PixelData=stored.astype("<u2").tobytes())
    assert np.array_equal(read(paths).voxels, hu)


def test_colour_is_refused(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert "not a grey image" in refusal(paths)


def test_truncated_pixel_data_is_refused_with_both_lengths(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path)
    builders.truncated(paths[2], 40)
    reason = refusal(paths)
    assert "image 3" in reason


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("missing", [50, 500, 3000])
def test_a_file_that_is_cut_off_inside_its_compressed_pixels_is_refused(
    syntax: str, missing: int, tmp_path: Path
) -> None:
    paths = builders.compressed(builders.axial(tmp_path, builders.voxels((4, 64, 60))), syntax)
    builders.truncated(paths[1], missing)
    assert "image 2" in refusal(paths)


def test_pixels_of_another_size_inside_the_codestream_are_refused(tmp_path: Path) -> None:
    for syntax in (JPEGLSLossless, JPEG2000Lossless):
        paths = builders.compressed(builders.axial(tmp_path / syntax, builders.voxels((4, 64, 60))), syntax)
        for path in paths:
            rewritten(path, Rows=32)
        assert "64 x 60 pixels, its header says 32 x 60" in refusal(paths)


def test_no_pixel_data_is_refused(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path)
    rewritten(paths[1], PixelData=None)
    assert "image 2 has no pixel data" in refusal(paths)


@pytest.mark.parametrize(("rows", "frames", "syntax"), [
    (65535, 1, ""), (16000, 1, ""), (16000, 1, RLELossless), (16000, 1, JPEG2000Lossless), (16000, 1, JPEGLSLossless),
])  # fmt: skip
@pytest.mark.parametrize("slope", ["1", "0.5"])
def test_a_kilobyte_that_declares_gigabytes_is_refused_without_memory_for_it(
    rows: int, frames: int, syntax: str, slope: str, tmp_path: Path
) -> None:
    paths = builders.axial(tmp_path, builders.voxels((2, 32, 32)), RescaleSlope=slope)
    for path in paths:
        builders.bomb(path, rows, rows, frames, syntax)
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from pipelines.base import Unsuitable
        from pipelines.study import Study
        from pipelines.volume import Volume
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            Volume.from_series(Study.from_folder(Path(sys.argv[1])).series[0])
        except Unsuitable as error:
            print(error.reason)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < 60, f"{grown} MB more"
    """)
    limits = (2 * 2**30, 2 * 2**30)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limits))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def _signed_padding(paths: list[Path], first: int = -2000, last: int | None = None) -> list[Path]:
    """PixelPaddingValue has the VR of the pixels: signed here (PS3.3 C.7.5.1.1.2)."""
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "SS", first)
        if last is not None:
            dataset.add_new("PixelPaddingRangeLimit", "SS", last)
        dataset.save_as(path)
    return paths
