"""The worked example of docs/add-a-pipeline.md runs as it stands on the page."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.base import Unsuitable, execute, maker_of
from pipelines.study import Study

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-pipeline.md"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("ct_metal")
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module


def test_the_example_makes_a_valid_report_with_the_right_volume(module: ModuleType) -> None:
    pipeline = module.open_pipeline(None, "cpu")
    study, maker = pipeline.example(), maker_of(pipeline, "0", datetime(2026, 1, 1, tzinfo=UTC))
    executed = execute(pipeline, study, pipeline.select(study), maker)
    assert [made.name for made in executed.made] == ["report"]
    assert executed.findings["metal_ml"] == pytest.approx(16 * 5 * 2 * 2 / 1000)


def test_the_example_refuses_what_it_does_not_take(module: ModuleType) -> None:
    study = module.CtMetal().example()
    few = Study.from_files([one.path for one in study.instances[:2]])
    with pytest.raises(Unsuitable, match="2 slices"):
        module.CtMetal().select(few)
