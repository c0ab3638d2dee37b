"""docs/conformance.md says what is done with received reports and key object selections, as the code does it."""

from __future__ import annotations

from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr.codedict import codes

from node.document_classes import ROOT, is_document
from node.receive.negotiation import _STORAGE
from node.report_sections import Documents
from node.reports import content
from node.sections import Peer
from tests import statement

STATEMENT = statement.read()
TABLES = STATEMENT.tables


def test_titles_that_are_verdicts_are_the_defaults_and_are_called_as_in_the_standard() -> None:
    for verdict, defaults in (("accepted", Documents().accepted), ("rejected", Documents().rejected)):
        told = [f"{row['code']}^{row['scheme']}" for row in TABLES["5-13"] if row["verdict"] == verdict]
        assert tuple(told) == defaults
    standard = {getattr(codes.cid7010, name).value: getattr(codes.cid7010, name).meaning for name in cid_concepts[7010]["DCM"]}
    assert all(standard[row["code"]] == row["meaning"] for row in TABLES["5-13"])


def test_the_words_of_may_are_those_of_the_configuration() -> None:
    words = {row["may"] for row in TABLES["5-12"]}
    assert words == {"label", "review"} and words <= set(str(Peer.model_fields["may"].annotation).split("'"))


def test_the_classes_and_limits_are_those_of_the_code() -> None:
    assert f"`{ROOT}*`" in STATEMENT.text and f"files of up to {content.LARGEST >> 20} MiB" in STATEMENT.text
    taken = [uid for uid in _STORAGE if is_document(uid)]
    assert "1.2.840.10008.5.1.4.1.1.88.59" in taken and "1.2.840.10008.5.1.4.1.1.88.33" in taken
    assert content._SYNTAXES == ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


def test_concepts_under_which_a_code_is_a_finding_are_named() -> None:
    assert {"121071^DCM", "121073^DCM", "121077^DCM", "29308-4^LN", "439401001^SCT", "404684003^SCT"} == content._FOUND
    assert "value of Finding, Impression, Conclusion, Diagnosis or Clinical finding" in STATEMENT.text
    for name, code in (("Finding", "121071"), ("Impression", "121073"), ("Conclusion", "121077")):
        assert getattr(codes.DCM, name).value == code
