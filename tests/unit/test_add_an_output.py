"""The worked example of docs/add-an-output.md runs as it stands on the page."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.base import make
from pipelines.outputs import codes
from pipelines.outputs.parts import Evaluation
from tests import validators
from tests.results import MAKER, Case, case, written

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-an-output.md"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = sys.modules["note_output"] = ModuleType("note_output")  # dataclasses look their module up
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("note")))


def test_the_example_passes_the_gate_and_the_validators(module: ModuleType, one: Case, tmp_path: Path) -> None:
    said = (Evaluation(codes.COMMENT, "Both lungs were found."), Evaluation(codes.COMMENT, "Another sentence."))
    [made], _ = make([module.Note(replace(one.report, evaluations=said))], one.study, MAKER)
    assert made.form is None and made.name == "note"
    [released] = made.kept
    texts = [item.TextValue for item in released.dataset().ContentSequence if item.ValueType == "TEXT"]
    assert texts[-1] == "AI result, not for primary diagnosis. Both lungs were found."
    path = tmp_path / "note.dcm"
    path.write_bytes(released.content)
    assert "AI result, not for primary" in validators.dsrdump(path)  # it shows the beginning of texts
    assert validators.dciodvfy(path) == []


def test_the_example_makes_nothing_of_nothing(module: ModuleType, one: Case) -> None:
    assert make([module.Note(one.report)], one.study, MAKER)[0] == ()
