"""What is another than at the node's last start: its configuration, and the models on the shelf."""

from __future__ import annotations

from models.shelf import Shelf, bundled
from node import logs
from node.config import Config
from node.queries import Queries
from node.store import Store

log = logs.get(__name__)
Version = tuple[str, str, str]  # name, version, digest of a model


def note(config: Config, queries: Queries, store: Store) -> None:
    """Put it on record, before the event of this start. Raises TryAgain."""
    starts = [event for event in queries.events("node") if event.type == "node.started"]
    if starts and starts[-1].body.get("config") != config.digest:
        body = {"before": starts[-1].body.get("config"), "now": config.digest}
        store.note("node.configured", "node", "node", body)
        log.info("the configuration has changed since the last start")
    known, there = _known(queries), _there(config)
    for type_, versions in (("model.installed", there - known), ("model.retired", known - there)):
        for name, version, digest in sorted(versions):
            store.note(type_, "node", "models", {"name": name, "version": version, "digest": digest})


def _known(queries: Queries) -> set[Version]:
    known: set[Version] = set()
    for event in queries.events("models"):
        version = (event.body["name"], event.body["version"], event.body["digest"])
        (known.add if event.type == "model.installed" else known.discard)(version)
    return known


def _there(config: Config) -> set[Version]:
    return {(card.name, card.version, card.digest) for card in Shelf(bundled(), *config.work.models).cards()}
