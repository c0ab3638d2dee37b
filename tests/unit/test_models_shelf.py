"""The shelf: finds packages, verifies digests, refuses the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.errors import BadModel
from models.shelf import Shelf, bundled
from models.training.writer import write_package
from tests.unit.test_models_card import card_data


def package(folder: Path, name: str = "tiny", version: str = "1.2.0", content: bytes = b"weights") -> Path:
    place = folder / f"{name}-{version}"
    write_package(place, card_data(name=name, version=version, weights=None), {"w.safetensors": content})
    return place


def test_the_bundled_reference_model_is_on_every_shelf_and_verifies() -> None:
    shelf = Shelf()
    assert "ct-lung" in shelf.names()
    found = shelf.find("ct-lung")
    assert found.folder.parent == bundled()
    assert shelf.problems() == ()
    assert sum((found.folder / name).stat().st_size for name in found.card.weights) <= 5_000_000


def test_a_sites_own_folder_adds_models(tmp_path: Path) -> None:
    package(tmp_path)
    shelf = Shelf(tmp_path)
    assert set(shelf.names()) >= {"ct-lung", "tiny"}
    assert shelf.find("tiny").card.version == "1.2.0"


def test_the_highest_version_is_taken_unless_one_is_asked_for(tmp_path: Path) -> None:
    for version in ("1.2.0", "1.10.0", "1.9"):
        package(tmp_path, version=version)
    shelf = Shelf(tmp_path)
    assert shelf.find("tiny").card.version == "1.10.0"
    assert shelf.find("tiny", "1.9").card.version == "1.9"
    with pytest.raises(BadModel, match=r"tiny 2\.0"):
        shelf.find("tiny", "2.0")


def test_one_flipped_byte_in_the_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(bundled() / "ct-lung", tmp_path / "ct-lung")
    data = card_data(weights=None)
    place = tmp_path / "tiny"
    write_package(place, data, {"w.safetensors": bytes(range(256))})
    file = place / "w.safetensors"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadModel, match="sha256") as caught:
        Shelf(tmp_path).find("tiny")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert len(Shelf(tmp_path).problems()) == 1


def test_a_missing_weights_file_is_refused_in_one_line(tmp_path: Path) -> None:
    place = package(tmp_path)
    (place / "w.safetensors").unlink()
    with pytest.raises(BadModel, match="missing") as caught:
        Shelf(tmp_path).find("tiny")
    assert "\n" not in str(caught.value)


def test_a_model_that_nobody_has_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"ct-lung \d"):
        Shelf(tmp_path).find("liver")


def test_a_broken_card_is_the_answer_when_its_model_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.toml").write_text("name = ")
    shelf = Shelf(tmp_path)
    assert "ct-lung" in shelf.names()
    with pytest.raises(BadModel, match="not a TOML file"):
        shelf.find("broken")


def test_a_folder_that_is_not_there_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "nowhere")
    assert "ct-lung" in shelf.names()
    assert "nowhere" in shelf.problems()[0]


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    write_package(tmp_path / "odd", card_data(name="odd", format="pickle", weights=None), {"w": b"x"})
    with pytest.raises(BadModel, match=r"'pickle' is not known; known formats: .*native"):
        Shelf(tmp_path).load("odd")


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    package(tmp_path)
    with pytest.raises(BadModel, match="safetensors"):
        Shelf(tmp_path).load("tiny", device="cpu")


def test_an_unknown_network_names_the_known_ones(tmp_path: Path) -> None:
    write_package(tmp_path / "odd", card_data(name="odd", network={"name": "oracle"}, weights=None), {"w": b"x"})
    with pytest.raises(BadModel, match=r"'oracle' is not known; known networks: .*two-views"):
        Shelf(tmp_path).load("odd", device="cpu")


def test_a_shelf_may_give_one_version_only_or_leave_some_out(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        package(tmp_path, version=version)
    shelf = Shelf(tmp_path)
    assert shelf.only("1.0.0").find("tiny").card.version == "1.0.0"
    assert shelf.without({"2.0.0", "1.1.0"}).find("tiny").card.version == "1.0.0"
    assert shelf.without({"2.0.0"}).find("tiny", "2.0.0").card.version == "2.0.0"
    with pytest.raises(BadModel, match=r"tiny 3\.0\.0: no such model"):
        shelf.only("3.0.0").find("tiny")
    assert shelf.find("tiny").card.version == "2.0.0", "the shelf itself is as it was"
