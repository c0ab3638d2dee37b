from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.base import Unsuitable, decline, make
from pipelines.outputs import codes
from pipelines.outputs.forms import shaped
from pipelines.outputs.placement import content_items
from pipelines.outputs.profiles import PROFILES, STANDARD, Profile, forms_for, with_changes
from tests.results import MAKER, Case, case, enhanced, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("forms")))


def made_of(one: Case, profile: Profile) -> dict[str, list[Dataset]]:
    outputs = (one.segmentation, one.report, one.heatmap)
    made, _ = make(outputs, one.study, MAKER, forms=profile.forms)
    return {output.name: [released.dataset() for released in output.kept] for output in made}


def groups(report: Dataset) -> list[Dataset]:
    return [item for item in content_items(report) if item.get("ValueType") == "CONTAINER"
            and item.ConceptNameCodeSequence[0].CodeValue == "125007"]  # fmt: skip


def named_by(report: Dataset) -> set[str]:
    return {str(one.ReferencedSOPInstanceUID) for study in report.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence}  # fmt: skip


def test_two_destinations_share_the_forms_that_both_want() -> None:
    text_as_well = with_changes(STANDARD, {"report": ("tid1500", "tid1500-text")})
    assert forms_for([STANDARD, text_as_well]) == text_as_well.forms
    assert forms_for([]) == STANDARD.forms
    assert [len(profile.forms) for profile in (STANDARD, text_as_well)] == [3, 4]


def test_every_form_of_every_profile_has_a_name_of_its_own() -> None:
    forms = forms_for(PROFILES.values())
    assert len({(form.kind, form.name("x")) for form in forms}) == len(forms)
    assert {form.name(form.kind) for form in STANDARD.forms} == {"segmentation", "report", "heatmap"}


def test_what_has_no_forms_goes_to_everybody(one: Case) -> None:
    class Other:
        name = "other"

        def to_dicom(self, *_: object) -> list[Dataset]:
            return []

    found = shaped([Other(), one.heatmap], PROFILES["text-report"].forms)
    assert [(each.output.name, each.form) for each in found] == [("other", None)]
    assert all(profile.takes(None) for profile in PROFILES.values())


def test_the_text_report_names_segments_and_the_other_outlines(one: Case) -> None:
    made = made_of(one, PROFILES["ohif"])
    [text], [usual], [segmentation] = made["report-tid1500-text"], made["report"], made["segmentation"]
    assert text.ConceptNameCodeSequence[0].CodeValue == "126001"
    assert usual.ConceptNameCodeSequence[0].CodeValue == "126000"
    for group in groups(text):
        kinds = {item.ValueType for item in content_items(group)}
        assert "SCOORD" not in kinds
        [segment] = [item for item in content_items(group) if item.ValueType == "IMAGE"]
        assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    assert all("SCOORD" in {item.ValueType for item in content_items(group)} for group in groups(usual))
    numbers = [[item.MeasuredValueSequence[0].NumericValue for item in content_items(report) if item.ValueType == "NUM"]
               for report in (text, usual)]  # fmt: skip
    assert numbers[0] == numbers[1] and len(numbers[0]) == 4


def test_an_editable_report_has_outlines_under_its_measurements_and_ohifs_own_names(one: Case) -> None:
    [report] = made_of(one, Profile(report=("ohif-editable",)))["report-ohif-editable"]
    for group in groups(report):
        assert [item.ValueType for item in group.ContentSequence].count("SCOORD") == 0
        tracking = next(item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "112039")
        assert tracking.TextValue.startswith("Cornerstone3DTools@^0.1.0:")
        for number in (item for item in group.ContentSequence if item.ValueType == "NUM"):
            [outline] = [item for item in number.ContentSequence if item.ValueType == "SCOORD"]
            assert outline.RelationshipType == "INFERRED FROM"
            assert outline.ContentSequence[0].RelationshipType == "SELECTED FROM"


def test_a_report_names_no_segmentation_that_its_destination_lacks(one: Case) -> None:
    made = made_of(one, Profile(segmentation="none"))
    assert set(made) == {"report-alone", "heatmap"}
    held = {instance.SOPInstanceUID for instance in one.study.instances}
    assert named_by(made["report-alone"][0]) == held
    both = made_of(one, STANDARD)
    assert named_by(both["report"][0]) == held | {both["segmentation"][0].SOPInstanceUID}


@pytest.mark.parametrize("how", ["labelmap", "labelmap-without-background"])
def test_a_label_map_holds_the_masks_and_the_report_names_it(one: Case, how: str) -> None:
    made = made_of(one, Profile(segmentation=how))  # type: ignore[arg-type]
    [segmentation] = made[f"segmentation-{how}"]
    assert segmentation.SegmentationType == "LABELMAP"
    assert [item.SegmentNumber for item in segmentation.SegmentSequence] == ([0, 1, 2] if how == "labelmap" else [1, 2])
    shown = [index for index, mask in enumerate(one.masks) if mask.any()]
    assert np.array_equal(segmentation.pixel_array, one.masks[shown])
    [report] = made[f"report-on-{how}"]
    assert segmentation.SOPInstanceUID in named_by(report)


def test_a_segmentation_of_too_many_frames_is_parted_by_segments(one: Case) -> None:
    frames = [int((one.masks == number).any(axis=(1, 2)).sum()) for number in (1, 2)]
    parted = made_of(one, Profile(max_frames=max(frames)))["segmentation-" + str(max(frames))]
    assert [len(each.PerFrameFunctionalGroupsSequence) for each in parted] == frames
    assert [each.SegmentSequence[0].SegmentLabel for each in parted] == ["Left lung", "Right lung"]
    assert [int(each.InstanceNumber) for each in parted] == [1, 2]
    [whole] = made_of(one, Profile(max_frames=sum(frames)))["segmentation-" + str(sum(frames))]
    assert len(whole.SegmentSequence) == 2


def test_empty_frames_are_kept_where_they_are_wanted(one: Case) -> None:
    [segmentation] = made_of(one, Profile(keep_empty_frames=True))["segmentation-whole"]
    assert len(segmentation.PerFrameFunctionalGroupsSequence) == 2 * len(one.masks)


def test_a_comprehensive_report_is_of_that_class(one: Case) -> None:
    [report] = made_of(one, Profile(report=("comprehensive-2d",)))["report-comprehensive-2d"]
    assert report.SOPClassUID.name == "Comprehensive SR Storage"
    assert len(groups(report)) == 2


def test_an_enhanced_source_has_all_forms_of_report(tmp_path: Path) -> None:
    one = case(enhanced(tmp_path, tuple(range(24))))
    made = made_of(one, Profile(report=("tid1500", "tid1500-text", "ohif-editable", "comprehensive-2d")))
    assert len([name for name in made if name.startswith("report")]) == 4


def test_a_study_that_is_not_suitable_gets_a_report_that_says_so(one: Case) -> None:
    [made] = decline(one.study, MAKER, Unsuitable("series 1: is sagittal, wanted axial"))
    [released] = made.kept
    report = released.dataset()
    told = [item.TextValue for item in content_items(report) if item.ValueType == "TEXT"]
    assert any("Not suitable for ct-lung 1.0.0: series 1: is sagittal" in text for text in told)
    coded = [item.ConceptCodeSequence[0].CodeValue for item in content_items(report) if item.ValueType == "CODE"]
    assert codes.NOT_ATTEMPTED.value in coded
    assert named_by(report) == {one.study.series[0].instances[0].SOPInstanceUID}


def test_a_root_lists_what_its_own_destination_gets_and_nothing_else(one: Case) -> None:
    with_root = with_changes(STANDARD, {"root": True})
    text = with_changes(PROFILES["text-report"], {"root": True})
    outputs = (one.segmentation, one.report, one.heatmap)
    made, _ = make(outputs, one.study, MAKER, forms=forms_for([with_root, text]))
    by_form = {str(output.form): [released.dataset() for released in output.kept] for output in made}
    roots = {name: found for name, found in by_form.items() if name.startswith("root=")}
    assert len(roots) == 2
    source = {instance.SOPInstanceUID for instance in one.study.instances}
    for profile in (with_root, text):
        [root] = [form for form in profile.forms if form.kind == "root"]
        gets = {str(each.SOPInstanceUID) for form in profile.forms - {root} for each in by_form[str(form)]}
        [document] = by_form[str(root)]
        assert named_by(document) == source | gets


def test_every_profile_can_be_made_from_a_volume(one: Case) -> None:
    made, _ = make((one.segmentation, one.report, one.heatmap), one.study, MAKER, forms=forms_for(PROFILES.values()))
    assert {output.form for output in made} == forms_for(PROFILES.values())
