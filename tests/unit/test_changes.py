"""At the start the node says what is another than at the last one: its configuration, its models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.shelf import Shelf, bundled
from node import changes
from node.config import Config
from node.queries import Queries
from node.store import Store


def _start(store: Store, title: str, models: Path) -> list[str]:
    """The types of the events of this start."""
    queries = Queries(store.engine)
    before = len(queries.events())
    config = Config(node={"ae_title": title}, work={"models": [models]})
    changes.note(config, queries, store)
    store.note("node.started", "node", "node", {"config": config.digest})
    return [event.type for event in queries.events(after=before)]


def test_a_changed_configuration_and_models_that_come_and_go_are_on_record(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = len(Shelf(bundled()).cards())
    assert _start(store, "A", tmp_path) == ["model.installed"] * own + ["node.started"]
    assert _start(store, "A", tmp_path) == ["node.started"]
    shutil.copytree(bundled() / "ct-lung", tmp_path / "ct-lung")
    card = tmp_path / "ct-lung" / "card.toml"
    version = next(line for line in card.read_text().splitlines() if line.startswith("version"))
    card.write_text(card.read_text().replace(version, 'version = "99.0.0"', 1))
    assert _start(store, "B", tmp_path) == ["node.configured", "model.installed", "node.started"]
    installed = [event.body for event in Queries(store.engine).events("models")][-1]
    assert (installed["name"], installed["version"]) == ("ct-lung", "99.0.0")
    shutil.rmtree(tmp_path / "ct-lung")
    assert _start(store, "B", tmp_path) == ["model.retired", "node.started"]
    assert _start(store, "B", tmp_path) == ["node.started"]
    monkeypatch.setenv("OVERREAD_WORK__ATTEMPTS", "7")  # which is a part of the configuration too
    assert _start(store, "B", tmp_path) == ["node.configured", "node.started"]
