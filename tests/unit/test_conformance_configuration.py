"""docs/conformance.md says what can be configured on the network side, with the code's own defaults and ranges."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from node.sections import Node, Peer, Send, kebab
from tests import statement

STATEMENT = statement.read()
TABLES = STATEMENT.tables


def setting(key: str) -> FieldInfo:
    """`node.max-pdu` -> the field of the configuration."""
    section, _, name = key.partition(".")
    return {"node": Node, "send": Send, "peer": Peer}[section].model_fields[name.replace("-", "_")]


def written(default: Any) -> str:
    if isinstance(default, bool) or default is None:
        return str(default).lower()
    return str(list(default)).replace("'", '"') if isinstance(default, tuple) else str(default)


def limits(field: FieldInfo) -> str | None:
    """In words; None where the type alone says it."""
    choices = re.findall(r"'([\w-]+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
    if choices:
        return ", ".join(choices)
    bounds = {type(one).__name__: next(value for name in ("ge", "gt", "le") if (value := getattr(one, name, None))
              is not None) for one in field.metadata if type(one).__name__ in ("Ge", "Gt", "Le")}  # fmt: skip
    if "Le" in bounds:
        return f"{bounds['Ge']} to {bounds['Le']}"
    return " ".join(f"{'from' if kind == 'Ge' else 'over'} {bound}" for kind, bound in bounds.items()) or None


@pytest.mark.parametrize("row", TABLES["6-1"], ids=lambda row: row["key"])
def test_defaults_and_ranges_are_those_of_the_configuration(row: statement.Row) -> None:
    field = setting(row["key"])
    assert row["default"] == written(field.default)
    assert limits(field) in (None, row["range"])


def test_every_key_that_the_network_side_has_is_there() -> None:
    said = set(STATEMENT.column("6-1", "key"))
    assert {f"send.{kebab(name)}" for name in Send.model_fields} <= said
    at_door = [name for name in Node.model_fields if re.search("max_|timeout|port|plain|tls|title", name)]
    assert {f"node.{kebab(name)}" for name in at_door} <= said
    rights = [name for name in Peer.model_fields if re.search("may|address|tls|certificate|associations|commit", name)]
    assert {f"peer.{kebab(name)}" for name in rights} <= said


def test_ports_are_those_of_the_configuration() -> None:
    for row in TABLES["8-1"][:2]:
        assert row["default"] == written(setting(row["port"]).default)
