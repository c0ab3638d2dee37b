"""Files that the fuzzer found to hurt: what each did is its test's name, and none of them may again."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from node.config import Config
from node.errors import GiveUp
from node.plans import read_header
from node.routes import Routes
from node.runners.base import Request
from node.runners.child import answer
from node.runners.ready import Ready
from node.sections import Route
from pipelines import ct_lung
from pipelines.base import LONGEST_REASON, Unsuitable, one_line
from pipelines.pixels import LARGEST_FRAME, is_plain
from pipelines.radiograph import Radiograph
from pipelines.study import NotAStudy, Series, Study
from pipelines.volume import Volume
from tests import builders
from tests.fuzz.elements import BIG_ENDIAN, EXPLICIT, IMPLICIT, Element, deep, encoded, number, text
from tests.fuzz.images import CT, J2K, _codestream, _encapsulated, file_head, file_of, slice_of
from tests.fuzz.target import MARKER

KEYWORDS = ("Modality", "SeriesDescription", "Rows", "ImageType", "SliceThickness")


def written(folder: Path, content: bytes, name: str = "0.dcm") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def slices(folder: Path, changes: dict[int, Element], count: int = 3) -> list[Path]:
    """A stack of which every slice has these elements in place of its own."""
    made = []
    for index in range(count):
        elements = [changes.get(one.tag, one) for one in slice_of(index)]
        made.append(written(folder, file_of(elements), f"{index}.dcm"))
    return made


def refusals(paths: list[Path]) -> list[str]:
    """Why neither a volume nor a radiograph comes of them."""
    study = Study.from_files(paths)
    told = []
    for series in study.series:
        with pytest.raises(Unsuitable) as caught:
            Volume.from_series(series)
        told.append(caught.value.reason)
        for instance in series.instances:
            with pytest.raises(Unsuitable) as caught:
                Radiograph.from_instance(instance)
            told.append(caught.value.reason)
    return told


# -- headers, as the routes read them ---------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_routes_see_the_values_of_a_sound_header(syntax: str, tmp_path: Path) -> None:
    elements = sorted([*slice_of(1), text(0x0008103E, "LO", "Thorax müde")], key=lambda one: one.tag)
    assert read_header(written(tmp_path, file_of(elements, syntax)), KEYWORDS) == {
        "Modality": ("CT",), "SeriesDescription": ("Thorax müde",), "Rows": ("8",), "SliceThickness": ("2.5",),
        "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
    }  # fmt: skip


def test_a_character_set_with_a_null_byte_did_not_let_the_study_be_closed(tmp_path: Path) -> None:
    elements = [text(0x00080005, "CS", b"utf\x00x"), *slice_of(1)[1:]]
    assert read_header(written(tmp_path, file_of(elements)), KEYWORDS)["Modality"] == ("CT",)


def test_a_number_of_the_wrong_length_counts_as_absent_and_the_others_do_not(tmp_path: Path) -> None:
    elements = [Element(0x00280010, b"US", b"abc") if one.tag == 0x00280010 else one for one in slice_of(1)]
    found = read_header(written(tmp_path, file_of(elements)), KEYWORDS)
    assert "Rows" not in found and found["Modality"] == ("CT",)


def test_nested_sequences_took_the_close_loop_to_the_recursion_limit(tmp_path: Path) -> None:
    head = file_head(CT, "1.2.3.9.1", EXPLICIT, "SENDER")
    with pytest.raises(GiveUp, match="nested more than"):
        read_header(written(tmp_path, head + deep(2000)), KEYWORDS)
    shallow = head + deep(20)
    with pytest.raises(GiveUp, match="ends inside"):
        read_header(written(tmp_path, shallow), KEYWORDS)


def test_a_million_elements_do_not_hold_up_the_close_loop(tmp_path: Path) -> None:
    flood = struct.pack("<HH2sH", 0x0008, 0x0001, b"LO", 0) * 1_000_000
    begun = time.process_time()
    with pytest.raises(GiveUp, match="more than"):
        read_header(written(tmp_path, file_head(CT, "1.2.3.9.1", EXPLICIT, "SENDER") + flood), KEYWORDS)
    assert time.process_time() - begun < 3


def test_a_reason_that_quoted_a_header_brought_control_characters_into_log_and_database(tmp_path: Path) -> None:
    hostile = "a\x00b\x1b[2Jc\nd\ud800"
    assert one_line(hostile) == "a?b?[2Jc d?"
    assert Unsuitable(hostile).reason == str(NotAStudy(hostile)) == "a?b?[2Jc d?"
    assert len(one_line("x" * 10**6)) == LONGEST_REASON
    paths = slices(tmp_path, {0x00280004: text(0x00280004, "CS", b"\x1b[31mRGB\0\n<b>")})
    assert all(reason.isprintable() and "unreadable" in reason for reason in refusals(paths))


def test_a_length_that_reaches_over_the_name_put_the_name_into_the_reason(tmp_path: Path) -> None:
    """A wrong length makes a value of whatever stands behind it, and reasons quoted values."""
    quoting = (0x00080008, 0x00080016, 0x00080060)  # ImageType, SOPClassUID, Modality: all before PatientName
    for tag in quoting:
        plain = slice_of(1)
        name = next(index for index, one in enumerate(plain) if one.tag == 0x00100020)
        at = next(index for index, one in enumerate(plain) if one.tag == tag)
        over = len(encoded(plain[at:name])) - 8
        elements = [replace(one, says=over) if index == at else one for index, one in enumerate(plain)]
        path = written(tmp_path, file_of(elements))
        assert MARKER not in str(ct_lung.ACCEPTS.explain(Study.from_files([path]).series[0]))
        header = read_header(path, ("Modality", "ImageType"))
        for keyword in ("Modality", "ImageType"):
            why = Routes(config_with({keyword: "MR"}), ["ct-lung"]).plan([header], ["modality"]).answers[0].reason
            assert MARKER not in why and why.isprintable()


def config_with(match: dict[str, str]) -> Config:
    return Config(route=(Route(name="r", match=match, pipelines=("ct-lung",)),))


# -- images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [struct.pack("<HH", 8, 8), b"", struct.pack("<H", 0)], ids=["two", "none", "zero"])
def test_rows_that_are_not_one_number_broke_the_reading_of_a_radiograph(value: bytes, tmp_path: Path) -> None:
    assert any(
        "Rows" in reason for reason in refusals(slices(tmp_path, {0x00280010: Element(0x00280010, b"US", value)}))
    )


@pytest.mark.parametrize("tag", [0x00281053, 0x00281052], ids=["slope", "intercept"])
@pytest.mark.parametrize("value", ["1e20", "99999999999999999999", "-1e300"])
def test_a_rescale_beyond_all_numbers_broke_the_reading_of_pixels(tag: int, value: str, tmp_path: Path) -> None:
    study = Study.from_files(slices(tmp_path, {tag: text(tag, "DS", value)}))
    with pytest.raises(Unsuitable, match="no scanner's"):
        Volume.from_series(study.series[0])


def test_whole_hounsfield_units_of_a_steep_slope_do_not_wrap(tmp_path: Path) -> None:
    study = Study.from_files(slices(tmp_path, {0x00281053: text(0x00281053, "DS", "40000")}))
    assert Volume.from_series(study.series[0]).voxels.dtype == "float32"


def test_a_place_beyond_all_numbers_broke_the_geometry(tmp_path: Path) -> None:
    study = Study.from_files(slices(tmp_path, {0x00200032: text(0x00200032, "DS", "0\\0\\1e300")}))
    with pytest.raises(Unsuitable, match="farther away than any patient"):
        Volume.from_series(study.series[0])


def test_sixty_thousand_stored_bits_broke_the_choice_of_a_number_type(tmp_path: Path) -> None:
    assert all(
        "BitsStored 60000" in reason for reason in refusals(slices(tmp_path, {0x00280101: number(0x00280101, 60000)}))
    )


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "JPEG 2000"])
def test_a_kilobyte_that_declares_65535_rows_and_columns_is_refused_before_it_is_decoded(
    compressed: bool, tmp_path: Path
) -> None:
    rows = columns = 65535
    assert rows * columns > LARGEST_FRAME
    pixels = _encapsulated([_codestream(J2K, rows, columns)]) if compressed else bytes(1000)
    elements = slice_of(1, rows, columns, pixels)[:-1]
    elements.append(
        Element(0x7FE00010, b"OB" if compressed else b"OW", pixels, says=0xFFFFFFFF if compressed else None)
    )
    path = written(tmp_path, file_of(elements, J2K if compressed else EXPLICIT))
    assert path.stat().st_size < 3000
    (series,) = Study.from_files([path]).series
    with pytest.raises(Unsuitable, match="65535 x 65535 pixels"):
        Radiograph.from_instance(series.instances[0])


@pytest.mark.parametrize("element", [Element(0x00080008, b"IS", b"12"), Element(0x00080008, b"IS", b"1\\2 "),
                                     Element(0x00181210, b"IS", b"70"), Element(0x00200011, b"IS", b"1\\2 ")],
                         ids=["ImageType is a number", "ImageType is numbers", "ConvolutionKernel is a number",
                              "SeriesNumber is two"])  # fmt: skip
def test_an_attribute_of_another_kind_broke_the_choice_of_a_series(element: Element, tmp_path: Path) -> None:
    study = Study.from_files(slices(tmp_path, {element.tag: element}, count=24))
    assert ct_lung.ACCEPTS.choose(study) is study.series[0]


def test_one_slice_of_an_unknown_transfer_syntax_among_others_broke_the_reading_of_a_volume(tmp_path: Path) -> None:
    paths = slices(tmp_path, {})
    builders.relabelled(paths[1], EXPLICIT, "1.2.840.10008.9.9.9")
    with pytest.raises(Unsuitable, match="cannot be decoded"):
        Volume.from_series(Study.from_files(paths).series[0])


@pytest.mark.parametrize("uid", [CT, "1.2.3", "1.2.840.10008.1.2.1.x", "2.25.1\\1.2.840.10008.1.2.1"])
def test_a_uid_that_is_no_transfer_syntax_broke_the_reading_of_pixels(uid: str, tmp_path: Path) -> None:
    paths = [written(tmp_path, file_of(slice_of(index), uid), f"{index}.dcm") for index in range(3)]
    assert all("cannot be decoded" in reason for reason in refusals(paths))
    (series,) = Study.from_files(paths).series
    assert not any(is_plain(one) for one in series.instances)


def test_frames_without_number_broke_the_decoding_of_pixels(tmp_path: Path) -> None:
    elements = [text(0x00280008, "IS", "1e999") if one.tag == 0x00280008 else one for one in slice_of(1)]
    elements[-1] = Element(0x7FE00010, b"OB", _encapsulated([b"\0" * 100]), says=0xFFFFFFFF)
    (series,) = Study.from_files([written(tmp_path, file_of(elements, "1.2.840.10008.1.2.5"))]).series
    with pytest.raises(Unsuitable, match="cannot be decoded"):
        Radiograph.from_instance(series.instances[0])


def test_jpeg_ls_that_lost_its_end_kept_its_decoder_busy_for_eight_seconds(tmp_path: Path) -> None:
    path = builders.compressed(builders.axial(tmp_path, builders.voxels((3, 32, 32)) // 2), JPEGLSLossless)[2]
    content = path.read_bytes()
    at = content.rindex(b"\xff\xd8\xff\xf7") + 211
    assert content.rindex(b"\xff\xd9") > at
    # two bytes more in the scan, the marker at its end overwritten
    path.write_bytes((content[:at] + b"\xb2\xb2" + content[at:]).replace(b"\xff\xd9", b"", 1))
    (series,) = Study.from_files([path]).series
    begun = time.monotonic()
    with pytest.raises(Unsuitable, match="JPEG-LS pixel data has no end"):
        Radiograph.from_instance(series.instances[0])
    assert time.monotonic() - begun < 5


def test_a_large_radiograph_is_taken(tmp_path: Path) -> None:
    path = builders.axial(tmp_path, builders.voxels((1, 5900, 4700)) // 2)[0]
    (series,) = Study.from_files([path]).series
    assert Radiograph.from_instance(series.instances[0]).voxels.shape == (1, 5900, 4700)


def test_an_unreadable_name_is_not_told(tmp_path: Path) -> None:
    content = builders.axial(tmp_path, PatientName=f"{MARKER}^Ada")[0].read_bytes()
    for at in range(132, 700, 7):
        path = written(tmp_path, content[:at] + b"\xff\xff\xff" + content[at + 3 :], "damaged.dcm")
        try:
            Study.from_files([path])
        except NotAStudy as error:
            assert MARKER not in str(error)


def test_files_that_name_another_study_than_they_came_under_are_not_run(tmp_path: Path) -> None:
    """A StudyInstanceUID that stands twice is read one way at the door and another way by the library."""
    path = builders.axial(tmp_path)[0]
    uid = str(pydicom.dcmread(path).StudyInstanceUID)
    for asked, reason in ((uid, "seen by the pipeline"), ("1.2.3", "do not name the study under which they came")):
        request = Request(asked, 1, "none", 0.0, {str(path): "0" * 64}, tmp_path)
        outcome = answer(TakesNothing(), request, Ready(), {})  # type: ignore[arg-type]
        assert outcome.word == "skipped" and reason in outcome.reason


class TakesNothing:
    """A pipeline that is reached, and says no."""

    name, version, accepts = "none", "1", ct_lung.ACCEPTS
    model = MappingProxyType({"name": "m", "version": "1", "digest": "d"})

    def select(self, study: Study) -> Series:
        raise Unsuitable("seen by the pipeline")


def test_a_compressed_image_of_a_sound_size_is_still_decoded(tmp_path: Path) -> None:
    hu = builders.voxels((3, 64, 60))
    paths = builders.compressed(builders.axial(tmp_path, hu), JPEG2000Lossless)
    assert (Volume.from_series(builders.series_of(paths)).voxels == hu).all()


def test_encoded_elements_are_what_pydicom_reads(tmp_path: Path) -> None:
    """The fuzzer's own writer, without which none of its files would mean anything."""
    for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN):
        path = written(tmp_path, file_of(slice_of(2), syntax))
        dataset = pydicom.dcmread(path)
        assert (dataset.Rows, dataset.InstanceNumber, str(dataset.PatientName)) == (8, 2, f"{MARKER}^Ada")
        assert len(encoded(slice_of(2), syntax)) == path.stat().st_size - len(
            file_head(CT, "1.2.3.9.1", syntax, "SENDER")
        )
