"""docs/conformance.md says what the objects are that we make, in which codes, and how TLS is done: each table of its
annexes is held against objects that are made here, and against the code."""

from __future__ import annotations

import re
import ssl
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from node import tls
from node.sections import Node
from pipelines.base import make
from pipelines.outputs import codes, derived, forms, origin, profiles
from pipelines.outputs.identity import IMPLEMENTATION_CLASS_UID
from pipelines.outputs.profiles import SWITCHES, Profile, forms_for
from tests import certificates, statement
from tests.peers import node_config
from tests.results import MAKER, case, written

STATEMENT = statement.read()
TABLES = STATEMENT.tables
# An attribute by which a module shows that it is there (PS3.3); of each pair of modules one marks what the other lacks.
MODULES = {
    "Frame of Reference": "FrameOfReferenceUID", "General Image": "ImageType", "Image Pixel": "PixelData",
    "Floating Point Image Pixel": "FloatPixelData", "Segmentation Image": "SegmentSequence",
    "Multi-frame Functional Groups": "PerFrameFunctionalGroupsSequence", "Multi-frame Dimension": "DimensionIndexSequence",
    "General Reference": "SourceImageSequence", "SR Document General": "CompletionFlag",
    "SR Document Content": "ContentSequence", "SC Equipment": "ConversionType", "Image Plane": "ImagePositionPatient",
    "Multi-frame": "FrameIncrementPointer", "SC Multi-frame Image": "PageNumberVector",
    "Parametric Map Image": "ContentQualification", "Acquisition Context": "AcquisitionContextSequence",
    "Presentation State Identification": "PresentationCreationDate", "Displayed Area": "DisplayedAreaSelectionSequence",
    "Graphic Annotation": "GraphicAnnotationSequence", "Graphic Layer": "GraphicLayerSequence",
    "Softcopy VOI LUT": "SoftcopyVOILUTSequence", "Encapsulated Document": "EncapsulatedDocument",
    "CT Image": "KVP", "VOI LUT": "WindowCenter",
}  # fmt: skip
# What several IODs have in modules of different names: name -> (attribute, in objects of these modalities)
SHARED = {
    "SC Image": ("NominalScannedPixelSpacing", ("OT",)),
    "Common Instance Reference": ("ReferencedSeriesSequence", ("SEG", "OT")),
    "Presentation State Relationship": ("ReferencedSeriesSequence", ("PR",)),
    "Modality LUT": ("RescaleSlope", ("PR",)),
    "Softcopy Presentation LUT": ("PresentationLUTShape", ("PR",)),
    "Key Object Document": ("CurrentRequestedProcedureEvidenceSequence", ("KO",)),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """The first object of each output, by its name in the statement, in every form that there is."""
    one = case(written(tmp_path_factory.mktemp("annexes"), shape=(8, 24, 28)))
    wanted = [Profile(segmentation=how) for how in typing.get_args(profiles.Segmentation)]
    wanted += [Profile(heatmap=how) for how in typing.get_args(profiles.Heatmap)]
    switches: dict[str, Any] = {kind.replace("-", "_"): True for kind in SWITCHES}
    wanted.append(Profile(report=typing.get_args(profiles.Report), **switches))
    outputs = (one.segmentation, one.report, one.heatmap, derived.DerivedSeries(one.volume, one.volume.voxels, "same"))
    found, _ = make(outputs, one.study, MAKER, forms=forms_for(wanted))
    assert {form.kind for form in forms_for(wanted)} == {*forms._MAKERS, "root"}
    objects = {re.sub("^root-.*", "root-...", each.name): each.kept[0].dataset() for each in found}
    return {name: one for name, one in objects.items() if not re.match("report-(on-|alone)", name)}


def walk(dataset: Dataset) -> Iterator[Dataset]:
    """The dataset and every item in it."""
    yield dataset
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            yield from walk(item)


def test_every_output_is_there_with_its_class_and_modality(made: dict[str, Dataset]) -> None:
    told = {(row["output"], row["UID"], row["Modality"]) for row in TABLES["A-2"]}
    given = {(name, str(one.SOPClassUID), one.Modality) for name, one in made.items()}
    assert told == given | {("derived", str(uid), modality) for modality, uid in derived._CLASSES.items()}
    created = {row["UID"] for row in TABLES["1-1"] if row["created"] == "yes"}
    assert created == {uid for _, uid, _ in told} == {row["UID"] for row in TABLES["1-1"] if row["sent"] == "yes"}
    names = {row["UID"]: row["SOP class"] for row in TABLES["1-1"]}
    assert all(names[row["UID"]] == f"{row['SOP class']} Storage" for row in TABLES["A-2"])


def test_root_templates_are_those_of_the_documents(made: dict[str, Dataset]) -> None:
    given = set()
    for one in made.values():
        if one.Modality in ("SR", "KO"):
            template = [item.TemplateIdentifier for item in one.get("ContentTemplateSequence", ())]
            title = one.ConceptNameCodeSequence[0]
            coded = f'({title.CodeValue}, {title.CodingSchemeDesignator}, "{title.CodeMeaning}")'
            given.add((f"TID {template[0]}" if template else "none", coded, one.SOPClassUID))
    names = {row["SOP class"].removesuffix(" Storage"): row["UID"] for row in TABLES["1-1"]}
    assert given == {
        (re.match(r"TID \d+|none", row["template"])[0], row["title"], names[name])  # type: ignore[index]
        for row in TABLES["1-2"] for name in row["SOP class"].split(", ")
    }  # fmt: skip


@pytest.mark.parametrize("row", TABLES["A-1"], ids=lambda row: row["attribute"])
def test_common_attributes_are_there_as_it_says(made: dict[str, Dataset], row: statement.Row) -> None:
    keyword = row["attribute"]
    tag = Tag(tag_for_keyword(keyword) or 0)
    assert (row["tag"], row["VR"]) == (f"({tag.group:04X},{tag.element:04X})", dictionary_VR(keyword))
    if row["presence"] == "ANAP":
        return
    assert all(keyword in one for one in made.values())
    assert row["presence"] == "VNAP" or all(one[keyword].value for one in made.values())
    assert (row["presence"] == "VNAP") is (keyword in origin.TYPE_2)


def test_attributes_of_patient_and_study_are_all_named() -> None:
    [text] = re.findall(r"^Besides, where the source has them.*?allows:\s+(.*?)\.$", STATEMENT.text, re.M | re.S)
    named = set(re.split(r",\s+", text)) | {row["attribute"] for row in TABLES["A-1"] if row["source"] == "source"}
    assert named == set(origin.IDENTITY)


def test_every_attribute_that_all_objects_share_is_named(made: dict[str, Dataset]) -> None:
    shared = set.intersection(*({element.keyword for element in one} for one in made.values()))
    assert shared <= {row["attribute"] for row in TABLES["A-1"]} | set(origin.IDENTITY)


@pytest.mark.parametrize("row", TABLES["A-3"], ids=lambda row: row["output"])
def test_modules_are_those_of_the_objects(made: dict[str, Dataset], row: statement.Row) -> None:
    one = made[row["output"]]
    shown = {name for name, keyword in MODULES.items() if keyword in one}
    shown |= {name for name, (keyword, modalities) in SHARED.items() if keyword in one and one.Modality in modalities}
    assert set(row["modules"].split(", ")) == shown


def test_modules_are_told_of_every_output(made: dict[str, Dataset]) -> None:
    assert set(STATEMENT.column("A-3", "output")) == set(made)


@pytest.mark.parametrize("row", TABLES["A-4"], ids=lambda row: f"{row['output']} {row['attribute']}")
def test_fixed_values_are_those_of_the_objects(made: dict[str, Dataset], row: statement.Row) -> None:
    items = [made[row["output"]]]
    *path, keyword = row["attribute"].split("/")
    for step in path:
        items = [item for one in items for item in one[step].value]
    values = {"\\".join(map(str, value)) if one[keyword].VM > 1 else str(value)
              for one in items for value in [one[keyword].value]}  # fmt: skip
    assert values == {row["value"]}


def test_no_object_has_a_private_attribute_and_all_are_in_the_syntax_that_it_says(made: dict[str, Dataset]) -> None:
    for name, one in made.items():
        assert not [element.tag for item in walk(one) for element in item if element.tag.is_private], name
        assert one.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert one.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


def test_codes_are_those_of_the_code(made: dict[str, Dataset]) -> None:
    told = {(row["code value"], row["scheme"], row["meaning"]) for row in TABLES["A-6"]}
    assert told == {tuple(one) for one in vars(codes).values() if isinstance(one, codes.Code)}
    [schemes] = re.findall(r"^Schemes: (.*?), which has no UID", STATEMENT.text, re.M | re.S)
    used = {item.CodingSchemeDesignator for one in made.values() for item in walk(one)
            if "CodingSchemeDesignator" in item} | {scheme for _, scheme, _ in told}  # fmt: skip
    assert used == set(re.findall(r"\b(?:99)?[A-Z][A-Z0-9]+\b(?!\))", re.sub(r"\(.*?\)", "", schemes)))


def test_tls_is_what_the_contexts_do(tmp_path: Path) -> None:
    keys = node_config(tmp_path, **certificates.sign(tmp_path).of("node")).node
    said = {row["what"]: row["value"] for row in TABLES["A-5"]}
    for context in (tls.server_context(keys, True), tls.client_context(keys)):
        suites = [(f"cipher suite, {one['protocol'].replace('TLSv', 'TLS ')}", one["name"])
                  for one in context.get_ciphers()]  # fmt: skip
        assert suites == [(row["what"], row["value"]) for row in TABLES["A-5"] if row["what"].startswith("cipher")]
        versions = {ssl.TLSVersion.TLSv1_2: "TLS 1.2", ssl.TLSVersion.TLSv1_3: "TLS 1.3",
                    ssl.TLSVersion.MAXIMUM_SUPPORTED: "TLS 1.3"}  # fmt: skip
        assert said["oldest version"] == versions[context.minimum_version]
        assert said["newest version"] == versions[context.maximum_version]
        off = {"compression": ssl.OP_NO_COMPRESSION, "renegotiation": ssl.OP_NO_RENEGOTIATION,
               "session tickets": ssl.OP_NO_TICKET}  # fmt: skip
        assert all((said[name] == "never") is bool(context.options & flag) for name, flag in off.items())
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert said["certificate of the caller, by default"] == Node().tls_client_certificates


def test_character_sets_are_those_that_are_understood() -> None:
    [told] = STATEMENT.column("5-5", "defined terms")
    assert set(told.split(", ")) == set(python_encoding) - {""}
