from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pipelines.outputs.identity import derived_uid, is_ours
from pipelines.outputs.placement import content_items
from tests.results import MAKER, Case, case, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("identity")))


def test_a_derived_uid_is_a_valid_version_8_uuid_under_2_25() -> None:
    uid = derived_uid("a", "b")
    assert re.fullmatch(r"2\.25\.[1-9]\d*", uid) and len(uid) <= 64
    number = int(uid.removeprefix("2.25."))
    assert (number >> 76) & 0xF == 8 and (number >> 62) & 3 == 2


def test_parts_are_kept_apart_in_a_derived_uid() -> None:
    assert derived_uid("ab", "c") != derived_uid("a", "bc")


@pytest.mark.parametrize("change", [{"pipeline": "other"}, {"pipeline_version": "9"}, {"model_digest": "aa" * 32}])
def test_another_pipeline_version_or_model_gives_other_uids(one: Case, change: dict[str, str]) -> None:
    assert replace(MAKER, **change).uid(one.study, "report") != MAKER.uid(one.study, "report")


def test_another_instance_in_the_study_gives_other_uids(one: Case, tmp_path: Path) -> None:
    fewer = written(tmp_path, shape=(23, 48, 56))
    assert fewer.StudyInstanceUID == one.study.StudyInstanceUID
    assert MAKER.uid(fewer, "report") != MAKER.uid(one.study, "report")


def test_the_same_study_read_from_another_folder_in_another_order_gives_the_same_uids(
    one: Case, tmp_path: Path
) -> None:
    again = written(tmp_path)
    turned = type(again).from_files([instance.path for instance in reversed(again.instances)])
    assert MAKER.uid(turned, "report") == MAKER.uid(one.study, "report")


def test_our_results_are_recognised_and_their_source_is_not(one: Case) -> None:
    assert all(is_ours(dataset) for datasets in one.made().values() for dataset in datasets)
    assert not any(is_ours(instance.header) for instance in one.study.instances)


def test_equipment_of_our_name_that_did_not_process_is_not_taken_for_a_result_of_ours() -> None:
    header, item, purpose = Dataset(), Dataset(), Dataset()
    purpose.CodeValue = "109101"  # acquisition equipment
    item.Manufacturer, item.PurposeOfReferenceCodeSequence = "Overread", [purpose]
    header.ContributingEquipmentSequence = [item]
    assert not is_ours(header)


def test_one_identity_record_stands_in_contributing_equipment_report_and_segmentation(one: Case) -> None:
    made = one.made()
    for dataset in (made["segmentation"][0], made["report"][0], made["heatmap"][0]):
        (item,) = dataset.ContributingEquipmentSequence
        assert (item.Manufacturer, item.ManufacturerModelName, tuple(item.SoftwareVersions), item.DeviceUID) == (
            "Overread", MAKER.model, MAKER.software_versions, MAKER.device_uid)  # fmt: skip
        assert (dataset.Manufacturer, dataset.ManufacturerModelName, tuple(dataset.SoftwareVersions)) == (
            item.Manufacturer, item.ManufacturerModelName, tuple(item.SoftwareVersions))  # fmt: skip
    for segment in made["segmentation"][0].SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion, algorithm.AlgorithmSource) == (
            MAKER.model, MAKER.model_version, "Overread")  # fmt: skip
    said: dict[str, set[str]] = {}
    for item in content_items(made["report"][0]):
        if item.ValueType in ("TEXT", "UIDREF"):
            said.setdefault(item.ConceptNameCodeSequence[0].CodeValue, set()).add(
                item.get("TextValue") or item.get("UID")
            )
    assert said["121012"] == {MAKER.device_uid}  # Device Observer UID
    assert said["121014"] == {"Overread"} and said["121015"] == {MAKER.model}
    assert said["111001"] == {MAKER.model} and said["111003"] == {MAKER.model_version}  # TID 4019
    assert said["111002"] == set(MAKER.software_versions)
