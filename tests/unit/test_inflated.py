"""Deflated datasets are inflated within bounds, and the memory for it is given back."""

from __future__ import annotations

import gc
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.part10 import file_head
from pipelines import inflated
from pipelines.base import Unsuitable
from pipelines.radiograph import Radiograph
from pipelines.study import NotAStudy, Study, by_study, read_patient
from tests import builders
from tests.fuzz.elements import DEFLATED, Element, encoded
from tests.fuzz.images import CT, file_of, slice_of

MB = 2**20


def deflated(path: Path, **attributes: object) -> Path:
    """Write a file again with a deflated dataset."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def bomb(path: Path, size: int, tag: int) -> Path:
    """A slice with `size` bytes of zeros in an element of this tag, where it belongs among the others."""
    path.write_bytes(
        file_of(sorted([*slice_of(1), Element(tag, b"OB", bytes(size))], key=lambda one: one.tag), DEFLATED)
    )
    return path


def peak(do: Callable[[], object]) -> float:
    """MB that Python takes for a moment, without what it still holds from before."""
    gc.collect()
    gc.disable()  # what only a collection would give back is held
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()
        gc.enable()


BEFORE_IDENTITY, AFTER_IDENTITY, AFTER_PIXELS = 0x00091010, 0x00311010, 0xFFFCFFFC


@pytest.mark.parametrize("tag", [BEFORE_IDENTITY, AFTER_IDENTITY], ids=["before", "after"])
def test_a_deflated_header_of_a_hundred_kilobytes_took_half_a_gigabyte(tag: int, tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.dcm", 120 * MB, tag)
    assert path.stat().st_size < 200_000

    def read() -> None:
        for reader in (lambda: Study.from_files([path]), lambda: read_patient(path)):
            with pytest.raises(NotAStudy, match="its header holds more than 16 MB"):
                reader()
        assert by_study(tmp_path) == ([[path]], 0), "its reader tells"

    assert peak(read) < 60


def test_headers_before_a_hundred_megabytes_are_read_at_their_own_cost_and_each_look_gives_its_memory_back(
    tmp_path: Path,
) -> None:
    path = bomb(tmp_path / "bomb.dcm", 120 * MB, AFTER_PIXELS)
    held: list[Study] = []
    assert peak(lambda: held.extend(Study.from_files([path]) for _ in range(3))) < 60
    (instance,) = held[0].instances
    assert peak(lambda: [Radiograph.from_instance(instance) for _ in range(2)]) < 3 * 128


def test_a_deflated_file_is_inflated_only_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflated, "MOST", 10 * MB)
    path, other, *_ = builders.axial(tmp_path)
    (fits,) = Study.from_files([deflated(path, PixelData=bytes(9 * MB))]).instances
    assert Radiograph.from_instance(fits).voxels.shape == (1, 8, 10)
    assert deflated(other, PixelData=bytes(12 * MB)).stat().st_size < 20_000
    (bursts,) = Study.from_files([other]).instances
    with pytest.raises(Unsuitable, match="deflated, and holds more than 10 MB"):
        Radiograph.from_instance(bursts)


def test_the_headers_of_a_study_are_inflated_only_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflated, "MOST", 10 * MB)
    several = [bomb(tmp_path / f"{number}.dcm", 3 * MB, AFTER_IDENTITY) for number in range(4)]
    assert len(Study.from_files(several[:3]).instances) == 3
    with pytest.raises(NotAStudy, match="deflated headers hold more than 10 MB together"):
        Study.from_files(several)


def test_a_wrong_length_of_the_meta_information_hid_what_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound was looked for where the group length points, and pydicom inflates where the group ends."""
    monkeypatch.setattr(inflated, "MOST_OF_HEADER", MB)
    path = bomb(tmp_path / "bomb.dcm", 3 * MB, AFTER_IDENTITY)
    content = path.read_bytes()
    small = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    decoy = small.compress(encoded(slice_of(1))) + small.flush()
    head = content[: len(file_head(CT, "1.2.3.9.1", DEFLATED, "SENDER"))]
    decoy_element = struct.pack("<HH2s2xL", 2, 0x0102, b"OB", len(decoy)) + decoy
    reach = len(head) + 12 - 144  # where the decoy begins, counted from the end of the group length
    changed = head[:140] + struct.pack("<L", reach) + head[144:] + decoy_element + content[len(head) :]
    path.write_bytes(changed)
    with pytest.raises(NotAStudy, match="its header holds more than 1 MB"):
        Study.from_files([path])


def test_a_deflated_file_is_read_as_it_was_before_it_was_deflated(tmp_path: Path) -> None:
    hu = builders.voxels((1, 700, 900))
    path = builders.axial(tmp_path, hu, PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 192")[0]
    (plain,) = Study.from_files([path]).instances
    (found,) = Study.from_files([deflated(path)]).instances
    assert found.header == plain.header and str(found.get("PatientName")) == "Müller^Änne"
    assert found.header.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert read_patient(path)["PatientName"] == "Müller^Änne"
    assert np.array_equal(Radiograph.from_instance(found).voxels[0], hu[0])


def test_a_deflated_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = deflated(builders.axial(tmp_path)[0])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(NotAStudy, match="cannot be read"):
        Study.from_files([path])
