"""The list of features is what docs/features.md shows; what pipelines give is held to it in test_every_pipeline.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.store.watched import service
from pipelines.feature_names import NAMES, is_listed
from pipelines.golden import TOLERANCES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "features.md").read_text(encoding="utf-8")


def test_the_page_lists_every_feature_with_its_meaning_and_no_other() -> None:
    first = PAGE.split("## The golden set")[0]
    assert re.findall(r"^\| `(.+?)` \| (.+) \|$", first, re.MULTILINE) == list(NAMES.items())


def test_the_page_states_the_tolerances_of_the_golden_set() -> None:
    last = PAGE.split("## The golden set")[1]
    told = re.findall(r"^\| `(.+?)` \| (\S+) \| (\S+) \|$", last, re.MULTILINE)
    assert [(pattern, float(a), float(b)) for pattern, a, b in told] == list(TOLERANCES)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("device.ManufacturerModelName", True), ("output.Left lung.volume", True), ("service.stage.write.report", True),
        ("uncertainty.entropy.Nodule", True), ("output.Nodule.q", False), ("patient.name", False), ("device.", False),
        ("pixels.mean2", False),
    ],
)  # fmt: skip
def test_a_name_is_on_the_list_or_not(name: str, listed: bool) -> None:
    assert is_listed(name) == listed


def test_what_the_store_adds_is_on_the_list() -> None:
    class Row:
        started_at, created_at, attempts = 20.0, 5.0, 2

    told = service(Row(), "failed", 21.5, "memory")  # type: ignore[arg-type]
    assert told == {"service.wait": 15.0, "service.attempts": 2.0, "service.seconds": 1.5, "service.failed": 1.0,
                    "service.failure": "memory"}  # fmt: skip
    assert all(is_listed(name) for name in told)
    assert service(Row(), "done", 21.5, "")["service.failure"] is None  # type: ignore[arg-type]
