"""`overread route` and `review`: what they print, refuse and leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node import schema
from node.cli import app
from node.errors import ConfigError, GiveUp
from node.store import Store

CONFIG = """
[node]
database = "{database}"
[[peer]]
name = "pacs"
ae-title = "PACS"
host = "127.0.0.1"
port = 104
[[route]]
name = "chest"
pipelines = ["ct-lung"]
send-to = ["pacs"]
mode = "review"
[[route]]
name = "head"
pipelines = ["ct-lung"]
send-to = ["pacs"]
"""
SIGNED = ("--by", "Dr A", "--why", "a test")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    url = f"sqlite:///{tmp_path / 'overread.db'}"
    schema.upgrade(url)
    path = tmp_path / "overread.toml"
    path.write_text(CONFIG.format(database=url))
    return path


def _run(config: Path, *words: str) -> Result:
    done = CliRunner().invoke(app, [*words, "-c", str(config)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_a_mode_is_set_listed_and_told_to_be_weaker_than_the_file(config: Path) -> None:
    said = _run(config, "route", "mode", "chest", "live", *SIGNED).stdout
    assert (
        said == "route chest: live; results are sent. But the configuration says review, which is stricter and counts\n"
    )
    _run(config, "route", "mode", "head", "shadow", *SIGNED)
    told = {one["route"]: one for one in json.loads(_run(config, "route", "list", "--json").stdout)}
    assert {name: one["in_force"] for name, one in told.items()} == {"chest": "review", "head": "shadow"}
    assert (told["head"]["configured"], told["head"]["set"], told["head"]["set_by"]) == ("live", "shadow", "Dr A")
    assert (
        "head: shadow (runs and records, sends nothing); set to shadow by Dr A" in _run(config, "route", "list").stdout
    )


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [(("route", "mode", "chest", "live-ish", *SIGNED), ConfigError, "did you mean 'live'"),
     (("route", "mode", "chset", "off", *SIGNED), ConfigError, "did you mean 'chest'"),
     (("review", "accept", "job/7", *SIGNED), GiveUp, "overread review list"),
     (("compare", "1.0.0", "1.1.0", "--from", "last week"), ConfigError, "want YYYY-MM-DD"),
     (("compare", "1.0.0", "1.0.0"), ConfigError, "want two versions"),
     (("compare", "1.0.0", "code-1.1.0"), ConfigError, "want two versions"),
     (("compare", "1.0.0", "1.1.0", "--pipeline", "ct-long"), ConfigError, "did you mean 'ct-lung'"),
     (("promote", "ct-lungs", "1.1.0", *SIGNED), ConfigError, "did you mean 'ct-lung'"),
     (("promote", "ct-lung", "code-7.0.0", *SIGNED), ConfigError, "no version 7.0.0 of the code of 'ct-lung'")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(
    config: Path, words: tuple[str, ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        _run(config, *words)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("words", [("route", "mode", "chest", "off"), ("review", "accept", "job/7"),
                                   ("promote", "ct-lung", "1.1.0"), ("alarm", "ack", "1"), ("baseline", "accept", "1"),
                                   ("audit", "erase", "--patient", "P1")])  # fmt: skip
@pytest.mark.parametrize("signed", [("--by", "Dr A", "--why", " "), ("--by", "", "--why", "a test"), ("--by", "Dr A")])
def test_whoever_decides_gives_a_name_and_a_reason(
    config: Path, words: tuple[str, ...], signed: tuple[str, ...]
) -> None:
    refused = _run(config, *words, *signed)
    assert refused.exit_code == 2 and ("want words" in refused.stderr or "--why" in refused.stderr)


def test_what_is_live_and_is_gone_from_the_shelf_does_not_keep_another_version_from_going_live(config: Path) -> None:
    store = Store(f"sqlite:///{config.parent / 'overread.db'}")
    store.promote("ct-lung", "9.9.9", "Dr A", "compared", {})
    said = _run(config, "promote", "ct-lung", "1.0.0", *SIGNED).stdout
    assert said.startswith("ct-lung: 1.0.0 is live from the next job on; 9.9.9 is retired. Both have read 0 studies.")
    with pytest.raises(GiveUp, match="code-1.0.0 is live already"):
        _run(config, "promote", "ct-lung", "code-1.0.0", *SIGNED)


def test_a_stored_mode_of_a_route_that_is_gone_can_only_be_lifted(config: Path) -> None:
    store = Store(f"sqlite:///{config.parent / 'overread.db'}")
    store.set_mode("gone", "review", "watch", "stop-rule")
    listed = _run(config, "route", "list").stdout
    assert "gone: review (" in listed and "no longer in the configuration" in listed
    assert _run(config, "route", "mode", "gone", "live", *SIGNED).exit_code == 0
    assert "gone" not in _run(config, "route", "list").stdout
    with pytest.raises(ConfigError, match="no such"):
        _run(config, "route", "mode", "gone", "review", *SIGNED)
