from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.outputs import codes, origin, page
from pipelines.outputs.document import Document
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.key_picture import key_picture
from pipelines.outputs.page import HEIGHT, MARGIN, WIDTH, Pages
from pipelines.outputs.parts import Finding, KeyRegion, Measurement
from pipelines.outputs.report import Report
from pipelines.study import Study
from tests import documents
from tests.documents import NAMES, SPOKEN, released
from tests.results import MAKER, Case, case, enhanced, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("document")))


class Shown(list[tuple[float, float, str]]):
    """What was written on the pages: where, and what."""

    @property
    def text(self) -> str:
        return "\n".join(text for _, _, text in self)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Fills as pages are written; fails what would run off the page."""
    written_down, put = Shown(), Pages.put

    def record(self: Pages, x: float, y: float, text: str, size: float, *others: object, **named: object) -> None:
        assert 0 < y < HEIGHT and x >= 10 and x + page.width_of(text, size) < WIDTH - 10, text
        written_down.append((x, y, text))
        put(self, x, y, text, size, *others, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Pages, "put", record)
    return written_down


def test_it_is_an_encapsulated_pdf_on_the_source_images(one: Case) -> None:
    (made,) = released(Document(one.report), one.study)
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1" and made.Modality == "DOC"
    assert made.MIMETypeOfEncapsulatedDocument == "application/pdf" and made.BurnedInAnnotation == "YES"
    assert made.DocumentTitle == "AI report: ct-lung 2.1.0" and made.VerificationFlag == "UNVERIFIED"
    assert made.ConceptNameCodeSequence[0].CodeValue == "18748-4"
    assert made.AcquisitionDateTime == "20260102090000"
    pdf = made.EncapsulatedDocument[: made.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-1.") and pdf.rstrip().endswith(b"%%EOF")
    assert b"D:20260304050607Z" in pdf  # the time of the job, not of the attempt
    named = [item.ReferencedSOPInstanceUID for item in made.SourceInstanceSequence]
    assert sorted(named) == sorted(each.SOPInstanceUID for each in one.study.instances)


def test_a_rerun_in_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import hashlib, sys; from pathlib import Path; from tests.results import MAKER, case, written\n"
        "from pipelines.outputs.document import Document\n"
        "one = case(written(Path(sys.argv[1]), shape=(8, 16, 16)))\n"
        "print(hashlib.sha256(Document(one.report, 'x', one.heatmap).pdf(one.study, MAKER)).hexdigest())"
    )
    found = case(written(tmp_path / "here", shape=(8, 16, 16)))
    mine = hashlib.sha256(Document(found.report, "x", found.heatmap).pdf(found.study, MAKER)).hexdigest()
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == mine


def test_the_pages_say_whose_they_are_what_was_found_and_what_cannot_be(one: Case, shown: Shown) -> None:
    Document(documents.spoken(one.report), "Not tested on children.").pdf(one.study, MAKER)
    for text in ("AI result, not for primary diagnosis. Not verified by a person.", "Phantom Chest", "PHANTOM-results", "PHANTOM",
                 "other", "ct-lung 2.1.0", "ct-lung 1.0.0", "Overread 0.1.0", "2026-03-04 05:06:07 UTC", "Left lung, aerated", "Left Lung",
                 "Volume", f"{one.report.findings[0].measurements[0].value} ml", "Attenuation Coefficient (Mean)",
                 f"{one.report.findings[1].measurements[1].value} HU", "Finding: Present", "Not tested on children."):  # fmt: skip
        assert text in shown.text.split("\n"), text
    assert MAKER.model_digest in shown.text.replace("\n", "")
    assert one.study.StudyInstanceUID in shown.text


def test_a_negative_result_is_said(one: Case, shown: Shown) -> None:
    nothing = case(one.study, np.zeros_like(one.masks)).report
    assert len(released(Document(nothing), one.study)) == 1
    assert shown.text.split("\n").count("not seen") >= 2 and "Key images" not in shown.text


def test_many_findings_go_on_to_a_second_page_that_names_the_patient(one: Case, shown: Shown) -> None:
    square = np.array([(2, 2), (9, 2), (9, 9), (2, 9)])
    many = [Finding(f"Nodule {number} " + "with a long name " * 4, codes.FINDING, codes.LUNG, codes.LEFT, KeyRegion(number % 24, square),
                    (Measurement(codes.VOLUME, number, codes.MILLILITRE),)) for number in range(30)]  # fmt: skip
    Document(Report(one.volume, many)).pdf(one.study, MAKER)
    pages = [text for _, _, text in shown if text.startswith("Page ")]
    assert len(pages) >= 2
    for each in (
        "AI result, not for primary diagnosis. Not verified by a person.",
        "Phantom Chest, Patient ID PHANTOM-results",
    ):
        assert shown.text.split("\n").count(each) == len(pages)
    assert "16 more key images are not shown here." in shown.text


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_any_script_survives_and_can_be_read_on_the_page(tmp_path: Path, shown: Shown, kind: str) -> None:
    found = case(documents.named(tmp_path, kind))
    (made,) = released(Document(documents.spoken(found.report)), found.study)
    documents.assert_of_its_patient(made, found.study)
    name = NAMES[kind][0].replace("^", " ").replace("=", " / ")
    told = "".join(shown.text.split())
    assert "".join(name.split()) in told
    assert "".join(SPOKEN.split()) in told  # a page is not bound to a character set


@pytest.mark.parametrize(("text", "wanted"), [
    ("Jörg Łuk Ελένη Иван", [("NotoSans", "Jörg Łuk Ελένη Иван")]),
    ("Yamada 山田 やまだ", [("NotoSans", "Yamada "), (page.JAPANESE, "山田"), ("NotoSans", " "), (page.JAPANESE, "やまだ")]),
    ("홍길동", [(page.KOREAN, "홍길동")]),
    ("p ≥ 3, ﷺ", [("NotoSans", "p >= 3, ?")]),
    ("e\u0301", [("NotoSans", "é")]),
])  # fmt: skip
def test_every_character_has_a_font_that_holds_it(text: str, wanted: list[tuple[str, str]]) -> None:
    assert page.runs(text) == wanted


def test_han_characters_are_in_the_font_of_their_language(tmp_path: Path) -> None:
    assert page.runs("山", page.CHINESE) == [("STSong-Light", "山")]
    for kind, font in (
        ("Japanese", b"/HeiseiKakuGo-W5"),
        ("Korean", b"/HYGothic-Medium"),
        ("German", b"/AAAAAA+NotoSans-Regular"),
    ):
        found = case(documents.named(tmp_path / kind, kind))
        assert font in Document(found.report).pdf(found.study, MAKER)
    chinese = written(
        tmp_path / "zh", shape=(8, 16, 16), PatientName="Wang^XiaoDong=王^小东", SpecificCharacterSet="GB18030"
    )
    assert b"/STSong-Light" in Document(case(chinese).report).pdf(chinese, MAKER)


def test_lines_break_inside_their_width() -> None:
    for text in ("word " * 60, "x" * 300, "a\n\nb", "山" * 200):
        lines = page.wrapped(text, 9, 120)
        assert all(page.width_of(line, 9) <= 120 for line in lines)
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_key_picture_has_the_image_the_heat_and_the_sides(one: Case) -> None:
    key = one.report.findings[0].key
    assert key is not None
    plain = key_picture(one.volume, key.frame, None, (0.0, 200.0))
    assert plain.picture.mode == "L" and plain.picture.size == (56, 48) and plain.sides == ("R", "L")
    assert plain.proportion == pytest.approx(56 * 1.25 / (48 * 1.5))
    values = one.volume.voxels[key.frame]
    assert np.corrcoef(np.asarray(plain.picture).ravel(), np.clip(values, -100, 100).ravel())[0, 1] > 0.999
    heated = np.asarray(key_picture(one.volume, key.frame, one.heatmap, (0.0, 200.0)).picture).astype(int)
    coloured = np.ptp(heated, axis=2) > 8
    assert (coloured == (one.masks[key.frame] > 0)).all()


def test_a_key_picture_without_heat_in_its_frame_is_grey(one: Case) -> None:
    assert not one.masks[0].any()
    assert key_picture(one.volume, 0, one.heatmap, None).picture.mode == "L"
    nowhere = Heatmap(one.volume, {"a": np.zeros(one.volume.voxels.shape, np.float16)}, "m")
    assert key_picture(one.volume, 5, nowhere, None).picture.mode == "L"


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    found = case(written(tmp_path, shape=(2, 700, 1400)))
    assert key_picture(found.volume, 0, None, None).picture.size == (600, 300)


@pytest.mark.parametrize(("photometric", "bright"), [("MONOCHROME2", True), ("MONOCHROME1", False)])
def test_a_radiograph_is_shown_as_it_is_read(tmp_path: Path, shown: Shown, photometric: str, bright: bool) -> None:
    study = documents.radiograph_study(tmp_path, photometric, ImagerPixelSpacing=["0.4", "0.2"])
    report = documents.radiograph_report(study)
    each = key_picture(report.volume, 0, None, None)
    grey = np.asarray(each.picture)
    assert (grey[20, 15] > grey[50, 30]) == bright
    assert each.sides == ("R", "L") and each.proportion == pytest.approx(40 * 0.2 / (60 * 0.4))
    (made,) = released(Document(report), study)
    assert made.AcquisitionDateTime == "20260102090000"
    assert {"Opacity", "Effusion", "0.9", "not seen", "Absent"} <= set(shown.text.split("\n"))


def test_frames_of_an_enhanced_image_are_named(tmp_path: Path, shown: Shown) -> None:
    found = case(enhanced(tmp_path, tuple(reversed(range(24)))))
    (made,) = released(Document(found.report, "", found.heatmap), found.study)
    assert len(made.SourceInstanceSequence) == 1
    key = found.report.findings[0].key
    assert key is not None and f"frame {24 - key.frame}: " in shown.text


def test_what_the_source_lacks_is_empty_and_said_to_be_missing(tmp_path: Path, shown: Shown) -> None:
    def take_away(dataset, index: int) -> None:
        for keyword in (*origin.TYPE_2, "SpecificCharacterSet", "StudyDescription", "SeriesDescription", "InstanceNumber",
                        "AcquisitionDate", "AcquisitionTime"):  # fmt: skip
            dataset.pop(keyword, None)

    found = case(written(tmp_path, shape=(8, 16, 16), change=take_away))
    (made,) = released(Document(found.report), found.study)
    assert all(keyword in made and not made.get(keyword) for keyword in origin.TYPE_2)
    assert "AcquisitionDateTime" in made and not made.AcquisitionDateTime
    assert shown.text.count("not stated") >= 7


def test_a_later_revision_says_so(one: Case, shown: Shown) -> None:
    later = Study(one.study.StudyInstanceUID, one.study.series, 3)
    Document(one.report).pdf(later, MAKER)
    assert "revision 3 of the study" in shown.text.replace("\n", " ")
    assert min(x for x, _, _ in shown) >= MARGIN
