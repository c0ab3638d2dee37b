"""Which model versions ever ran: when, how often, with what outcome, and under which digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from node.audit import Event
from pipelines import registry

TYPES = ("job.done", "job.skipped", "job.failed", "model.installed", "model.retired", "model.promoted")
_NAMES = ("name", "version", "digest", "pipeline_version")


def ran(events: Iterable[Event]) -> list[dict[str, Any]]:
    """One entry for each (pipeline, its version, model, version, digest) of the events of TYPES, in order of first use.

    A job that was skipped or failed may name no model: no pipeline saw it, or its process died. It counts under the one
    that its pipeline ran last, as long as no model came, went or was promoted since; else under the version that the
    name of a candidate says (PIPELINE@VERSION), or under none. `installed` and `retired`: when the version came to the
    shelf and left it; None where the log does not say.
    """
    shelf: dict[tuple[Any, ...], dict[str, str | None]] = {}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    last: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.type.startswith("model."):
            last.clear()
            if event.type == "model.promoted":
                continue
            key = tuple(event.body.get(name) for name in ("name", "version", "digest"))
            entry = shelf.setdefault(key, {"installed": None, "retired": None})
            entry[event.type.removeprefix("model.")] = event.at
            if event.type == "model.installed":
                entry["retired"] = None
            continue
        pipeline = str(event.body.get("pipeline"))
        of_model, of_code = registry.parts(registry.split(pipeline)[1])
        named = {"version": of_model, "pipeline_version": of_code}  # by the name of a candidate
        model = event.body.get("model") or last.get(pipeline) or named
        if event.body.get("model"):
            last[pipeline] = model
        one = found.setdefault((pipeline, *(model.get(name) for name in _NAMES)), {
            "pipeline": pipeline, **{name: model.get(name) for name in _NAMES}, "first": event.at, "jobs": {},
        })  # fmt: skip
        one["last"] = event.at
        word = event.type.removeprefix("job.")
        one["jobs"][word] = one["jobs"].get(word, 0) + 1
    for one in found.values():
        one |= shelf.get((one["name"], one["version"], one["digest"]), {"installed": None, "retired": None})
    idle = [
        {"pipeline": None, "name": key[0], "version": key[1], "digest": key[2], "pipeline_version": None, "first": None,
         "last": None, "jobs": {}, **entry}
        for key, entry in shelf.items()
        if not any((one["name"], one["version"], one["digest"]) == key for one in found.values())
    ]  # fmt: skip
    return [*found.values(), *idle]
