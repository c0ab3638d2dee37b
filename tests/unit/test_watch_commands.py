"""What a person sees and says on the command line, from the first study to a cleared alarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node import cli, config, schema
from node.store import Store
from tests.conftest import Clock
from tests.watching import FAMILY, Traffic, run, usual, watching

TEXT = '[watch]\nbaseline-studies = 300\nwebhook = "http://127.0.0.1:9/"\n[[route]]\nname = "chest"\npipelines = ["cxr-triage"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "overread.toml"
    path.write_text(TEXT)
    schema.upgrade(f"sqlite:///{tmp_path / 'overread.db'}")
    return path


def _overread(file: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, "-c", str(file)], env={"COLUMNS": "160"})


def test_from_the_first_study_to_a_cleared_alarm(file: Path, clock: Clock) -> None:
    settings = config.load(file)
    store = Store(settings.node.database, clock)
    assert "nothing to watch" in _overread(file, "watch").stdout
    traffic, watch = Traffic(store, clock), watching(store, settings)
    traffic.add(list(usual(100, 1)))
    run(watch)
    assert "no baseline yet: 100 studies seen; one can be built from 300" in _overread(file, "watch").stdout
    traffic.add(list(usual(300, 2)))
    run(watch)
    built = _overread(file, "baseline", "build", "cxr-triage").stdout
    assert "sees a shift of 0.25 sd, of all studies, in " in built
    assert "Baseline 1" in built and "400, 23.5 a day" in built and "no labels" in built
    assert _overread(file, "baseline", "accept", "1", "--by", "Dr A", "--why", "a quiet quarter").exit_code == 0
    assert "by Dr A: a quiet quarter" in _overread(file, "baseline", "show").stdout
    new = traffic.add(list(usual(60, 3, device="C", shift=2.0)))
    run(watch)
    shown = _overread(file, "watch").stdout
    assert "a shift of 0.5 sd" in shown and "device.ManufacturerModelName" in shown and "alarm 1  open" in shown
    plain = json.loads(_overread(file, "watch", "--json").stdout)
    [family] = plain["families"]
    [seen] = [one for one in family["channels"] if one["channel"] == "embedding"]
    assert seen["sees"] == "a shift of 0.25 sd, of all studies" and 20 < seen["studies"] < 2000
    assert seen["days"] == pytest.approx(seen["studies"] / family["per_day"])
    levels = {one["channel"]: one["level"] for one in family["channels"]}
    assert family["family"] == FAMILY and levels["pixels.mean"] == "alarm" and levels["acquisition.KVP"] == "quiet"
    key = next(str(one["id"]) for one in plain["alarms"] if one["channel"] == "pixels.mean")
    page = _overread(file, "alarms", key).stdout
    assert "Before and after" in page and "new here" in page and "What to do" in page and new[-1] not in page
    assert sum(line.startswith("  1.2.826.") for line in page.splitlines()) == 12
    assert json.loads(_overread(file, "alarms", key, "--json").stdout)["story"]["channel"] == "pixels.mean"
    said = ("--by", "Dr A", "--why", "a phantom day")
    assert "acknowledged by Dr A" in _overread(file, "alarm", "ack", key, *said).stdout
    assert "muted until" in _overread(file, "alarm", "mute", key, "--until", "2099-01-01", *said).stdout
    assert "resolved as false-alarm" in _overread(file, "alarm", "resolve", key, "--as", "false-alarm", *said).stdout
    run(watch)
    assert f"alarm {key} " not in _overread(file, "alarms").stdout
    assert f"alarm {key}  cleared" in _overread(file, "alarms", "--all").stdout
    store.dispose()


def test_what_is_wrong_is_one_line(file: Path, tmp_path: Path) -> None:
    for words, text in (
        (("alarms", "7"), "no alarm 7"),
        (("alarm", "ack", "7", "--by", "x", "--why", "y"), "no alarm 7"),
        (("baseline", "show", "7"), "no baseline 7"),
        (("baseline", "accept", "7", "--by", "x", "--why", "y"), "no baseline 7"),
        (("baseline", "build", "nothing"), "no job of 'nothing' has ended here"),
    ):
        result = _overread(file, *words)
        assert result.exit_code == 1 and text in str(result.exception), words
    for line, text in (
        ('email-to = ["a@b"]', "smtp-host"), ('webhook = "ftp://x"', "http"), ("escalate-after = [72, 24]", "ascending"),
    ):  # fmt: skip
        (tmp_path / "bad.toml").write_text(f"[watch]\n{line}\n")
        with pytest.raises(config.ConfigError, match=text):
            config.load(tmp_path / "bad.toml")
