"""The docs say what the code does: every command, key, state and event type stands in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from node import audit, states
from node.audit_settings import Audit
from node.cli import app
from node.report_sections import Documents, Hl7
from node.sections import Keep, Node, Peer, Route, Send, Watch, Work
from node.web_settings import Web
from pipelines.outputs.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[2]


def _doc(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _commands() -> list[str]:
    group = typer.main.get_command(app)
    names = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        names += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    return names


@pytest.mark.parametrize("command", _commands())
def test_every_command_stands_in_operations(command: str) -> None:
    assert f"`overread {command}" in _doc("docs/operations.md")


@pytest.mark.parametrize("section", [Node, Work, Send, Keep, Watch, Audit, Hl7, Documents, Web, Peer, Route], ids=lambda s: s.__name__)
def test_every_key_stands_in_configuration(section: type) -> None:
    text = _doc("docs/configuration.md")
    for name, field in section.model_fields.items():  # type: ignore[attr-defined]
        key = str(field.validation_alias or name.replace("_", "-"))
        assert re.search(rf"`(\w+\.)?{key}`", text), key


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_stands_in_configuration_with_what_it_gives(name: str) -> None:
    profile = PROFILES[name]
    assert f"| `{name}` | {profile.says} | {'; '.join(profile.words())} |" in _doc("docs/configuration.md")


@pytest.mark.parametrize("event", audit.TYPES)
def test_every_event_type_stands_in_the_glossary_with_its_meaning(event: str) -> None:
    assert f"| `{event}` | {audit.TYPES[event]} |" in _doc("docs/glossary.md")


@pytest.mark.parametrize("noun", states.TABLES)
def test_every_state_and_move_stands_in_the_docs(noun: str) -> None:
    glossary, flow = _doc("docs/glossary.md"), _doc("docs/flow.md")
    for before, targets in states.TABLES[noun].items():
        assert f"`{before}`" in glossary
        line = next(line for line in flow.splitlines() if line.startswith(f"    {noun} "))
        shown = re.search(rf"(?:^|[ ;]){before} -> ([a-z, ]+)", line)
        assert set(re.findall("[a-z]+", shown.group(1)) if shown else []) == targets, f"{noun} {before}"


def test_every_link_in_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    from node import config
    from node.routes import Routes
    from pipelines import registry

    [block] = re.findall(r"```toml\n(.*?)```", _doc("README.md"), re.DOTALL)
    (tmp_path / "overread.toml").write_text(block)
    loaded = config.load(tmp_path / "overread.toml")
    Routes(loaded, registry.names())
    assert len([line for line in block.splitlines() if line.strip()]) <= 17
