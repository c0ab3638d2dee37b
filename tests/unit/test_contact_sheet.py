from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.contact_sheet import contact_sheet
from pipelines.outputs import reading
from tests.results import Case, case, saved, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("sheet"), PatientName="Secret^Name", PatientID="SECRET"))


def source(one: Case) -> list[Path]:
    return [instance.path for instance in one.study.instances]


def test_it_shows_both_lungs_in_their_recommended_colours_with_the_heatmap_below(one: Case, tmp_path: Path) -> None:
    files = saved(one.made(), tmp_path / "results")
    contact_sheet(source(one), [path for paths in files.values() for path in paths], tmp_path / "new" / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png")).astype(int)
    assert sheet.shape[1] == 1800
    blue = np.argwhere(np.abs(sheet - (72, 160, 255)).max(axis=2) <= 2)
    orange = np.argwhere(np.abs(sheet - (255, 152, 48)).max(axis=2) <= 2)
    assert len(blue) > 1000 and len(orange) > 500
    first = sheet[
        118:490, 32:400
    ]  # the first slice: supine and seen from the feet, so the patient's left is on the right
    where = np.argwhere(np.abs(first - (72, 160, 255)).max(axis=2) <= 2)
    assert where[:, 1].min() > first.shape[1] / 2


def test_it_is_drawn_without_a_segmentation_and_without_a_heatmap(one: Case, tmp_path: Path) -> None:
    nothing = case(one.study, np.zeros_like(one.masks))
    files = saved(nothing.made(), tmp_path / "results")
    contact_sheet(source(one), files["report"], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width == 1800


def test_files_without_a_result_are_refused(one: Case, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name no series of the study"):
        contact_sheet(source(one), source(one)[:2], tmp_path / "sheet.png")


def test_the_report_is_read_as_text_with_volumes_units_and_algorithm_and_no_patient(one: Case, tmp_path: Path) -> None:
    files = saved(one.made(), tmp_path)
    (report,) = reading.stored(files["report"]).reports
    lines = [f"{line.name}: {line.value}" for line in reading.report_lines(report)]
    (left,) = (item for item in one.report.findings if item.segment == 1)
    assert f"Volume: {left.measurements[0].value} ml" in lines
    assert any(line.startswith("Attenuation Coefficient: ") and line.endswith("HU (mean)") for line in lines)
    assert "Measurement Group: Left lung, aerated" in lines and "Finding Site: Lung (left)" in lines
    assert "Algorithm Version: 2.1.0" in lines and any(
        line.startswith("Based on: CT Image: 24 in series") for line in lines
    )
    assert lines[0] == "Imaging Measurement Report: complete, unverified, preliminary"
    assert not any("secret" in line.lower() for line in lines)


def test_stored_results_are_sorted_by_kind_and_number(one: Case, tmp_path: Path) -> None:
    files = saved(one.made(), tmp_path)
    found = reading.stored([*files["heatmap"][::-1], *files["report"], *files["segmentation"], source(one)[0]])
    assert (len(found.segmentations), len(found.reports)) == (1, 1)
    assert [dataset.InstanceNumber for dataset in found.heatmaps] == list(range(1, 19))
