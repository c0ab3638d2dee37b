"""Pages that commands make go to a file, or to standard output for `-`: the same for every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.errors import ConfigError
from node.queries import Queries
from node.store import JobResult, Store
from tests.conftest import Arrivals, Clock

Command = Callable[..., Result]
COMMANDS = (("explain", "1.2.3"), ("compare", "1.0.0", "2.0.0"), ("report", "--month", "2026-10"))


@pytest.fixture
def command(sqlite: str, tmp_path: Path) -> Command:
    store = Store(sqlite, Clock())
    queries, arrivals = Queries(store.engine), Arrivals(store)
    arrivals.add(1)
    arrivals.close(queries, "cxr-triage", "cxr-triage@2.0.0")
    for version in ("1.0.0", "2.0.0"):
        job = store.claim_job("w", 30)
        assert job is not None
        model = {"name": "cxr", "version": version, "digest": "ab" * 32}
        assert store.finish_job(job, [], JobResult("s", "d", model, {}, {}, {"output.effusion.p": 0.4}))
    (tmp_path / "overread.toml").write_text(f'[node]\ndatabase = "{sqlite}"\n')

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "-c", str(tmp_path / "overread.toml")], catch_exceptions=False)

    return run


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_page_goes_to_its_file_or_to_standard_output(command: Command, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    run = command(*words, "--html", str(path))
    assert run.exit_code == 0 and run.stdout == "" and run.stderr == f"wrote {path}\n"
    printed = command(*words, "--html", "-")
    assert printed.stdout == path.read_text() and printed.stdout.startswith("<!doctype html>") and printed.stderr == ""


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_file_that_cannot_be_written_is_named(command: Command, words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none/page\.html: cannot be written \(No such file"):
        command(*words, "--html", str(tmp_path / "none" / "page.html"))


@pytest.mark.parametrize("words", [(*COMMANDS[0], "--json"), (*COMMANDS[1], "--json"), (*COMMANDS[2], "--pdf", "-")])
def test_two_things_do_not_go_to_standard_output_at_once(command: Command, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="only one thing can go to standard output"):
        command(*words, "--html", "-")


def test_a_pdf_goes_to_standard_output_as_bytes(command: Command) -> None:
    assert command(*COMMANDS[2], "--pdf", "-").stdout_bytes.startswith(b"%PDF")
