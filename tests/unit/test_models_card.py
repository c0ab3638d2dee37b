"""The model card: what it must hold, and how a wrong one is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.card import card_from, read_card
from models.errors import BadModel
from models.shelf import bundled
from models.training.writer import toml, write_package


def card_data(**change: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "tiny",
        "version": "1.2.0",
        "format": "native",
        "licence": "Apache-2.0",
        "intended_use": "tests",
        "limitations": ["does nothing"],
        "network": {"name": "two-views", "arguments": {"spacing": 4.0}},
        "weights": {"w.safetensors": "0" * 64},
        "inputs": {"modality": "CT"},
        "labels": [
            {
                "name": "Left lung",
                "value": 1,
                "code": {"value": "39607008", "scheme": "SCT", "meaning": "Lung"},
                "laterality": {"value": "7771000", "scheme": "SCT", "meaning": "Left"},
            }
        ],
        "thresholds": {},
        "calibration": {"method": "none"},
        "training": {"seed": 1},
        "metrics": {"dice": 0.5},
    }
    data.update(change)
    return {k: v for k, v in data.items() if v is not None}


def write_card(folder: Path, **change: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "card.toml"
    file.write_text(toml(card_data(**change)), encoding="utf-8")
    return file


def test_a_card_reads_back_what_was_written(tmp_path: Path) -> None:
    card = read_card(write_card(tmp_path))
    assert (card.name, card.version, card.network.name) == ("tiny", "1.2.0", "two-views")
    assert card.network.arguments == {"spacing": 4.0}
    assert card.labels[0].code.meaning == "Lung"
    assert card.labels[0].laterality is not None and card.labels[0].laterality.value == "7771000"
    assert card.metrics == {"dice": 0.5}


def test_a_folder_stands_for_the_card_in_it(tmp_path: Path) -> None:
    file = write_card(tmp_path)
    assert read_card(tmp_path) == read_card(file)


def test_the_card_cannot_be_changed_after_reading(tmp_path: Path) -> None:
    card = read_card(write_card(tmp_path))
    with pytest.raises(TypeError):
        card.metrics["dice"] = 1.0  # type: ignore[index]
    with pytest.raises(AttributeError):
        card.name = "other"  # type: ignore[misc]


def test_the_digest_changes_with_any_figure_and_with_the_weights() -> None:
    plain = card_from(card_data(), "here").digest
    assert plain == card_from(card_data(), "there").digest
    assert plain != card_from(card_data(metrics={"dice": 0.51}), "here").digest
    assert plain != card_from(card_data(weights={"w.safetensors": "1" * 64}), "here").digest


@pytest.mark.parametrize("key", ["name", "weights", "labels", "metrics", "intended_use", "limitations", "training"])
def test_a_missing_part_is_named_in_one_line(key: str) -> None:
    with pytest.raises(BadModel, match=f"has no '{key}'") as caught:
        card_from(card_data(**{key: None}), "card.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../evil"}, "name"),
        ({"version": "one"}, "version"),
        ({"weights": {}}, "no file"),
        ({"weights": {"../../etc/passwd": "0" * 64}}, "own folder"),
        ({"weights": {"w": "abc"}}, "64"),
        ({"labels": [{"name": "x"}]}, "label"),
        ({"limitations": "none"}, "list"),
        ({"licenze": "x"}, "licenze"),
        ({"network": {"arguments": {}}}, "network"),
    ],
)
def test_a_wrong_part_is_refused_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadModel, match=words) as caught:
        card_from(card_data(**change), "card.toml")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_toml_is_refused_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "card.toml"
    file.write_bytes(b"\xff\xfe name = ")
    with pytest.raises(BadModel, match=r"card\.toml: not a TOML file"):
        read_card(file)


def test_an_absent_card_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no model card here"):
        read_card(tmp_path)


def test_reading_cards_and_looking_on_the_shelf_imports_neither_torch_nor_monai() -> None:
    code = (
        "import sys, models.card, models.shelf, models.errors; models.shelf.Shelf().names(); models.shelf.Shelf().problems();"
        "sys.exit(any(m.split('.')[0] in ('torch', 'monai') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_writer_refuses_what_toml_cannot_hold() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        toml({"a": None})


def test_a_written_package_carries_the_digest_of_its_weights(tmp_path: Path) -> None:
    data = card_data(weights=None)
    card = write_package(tmp_path / "tiny", data, {"w.safetensors": b"weights"})
    assert card.weights["w.safetensors"] == hashlib.sha256(b"weights").hexdigest()
    assert sorted(p.name for p in (tmp_path / "tiny").iterdir()) == ["card.toml", "w.safetensors"]


def test_every_bundled_card_is_complete_and_honest_about_its_use() -> None:
    cards = [read_card(f) for f in sorted(bundled().glob("*/card.toml"))]
    assert cards
    for card in cards:
        assert "diagnosis" in card.intended_use and card.limitations
        assert card.training["command"].startswith("overread train")
        assert {"train", "validation", "test"} <= set(card.training["patients"])
        assert card.metrics
        assert [label.value for label in card.labels] == list(range(1, len(card.labels) + 1))
