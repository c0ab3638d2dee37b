"""The command line as a stranger meets it: right input works, wrong input is one line and an exit code."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from node import schema
from node.store import Store
from pipelines.phantom_studies import chest_study
from tests.commands import overread
from tests.conftest import Arrivals

PEER = '[[peer]]\nname = "pacs"\nae-title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'
ROUTE = '[[route]]\nname = "ct"\nmatch = { Modality = "CT" }\npipelines = ["ct-lung"]\nsend-to = ["pacs"]\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "overread.toml"
    path.write_text('[node]\nspool = "spool"\nmin-free-disk = 0\n' + PEER + ROUTE)
    return path


@pytest.fixture
def used(config: Path, tmp_path: Path) -> Path:
    """A configuration whose database has one study with a failed job."""
    url = f"sqlite:///{tmp_path / 'overread.db'}"
    schema.upgrade(url)
    store = Store(url)
    arrivals = Arrivals(store)
    arrivals.add(1, 2)
    from node.queries import Queries

    arrivals.close(Queries(store.engine))
    job = store.claim_job("w", 30)
    assert job is not None
    store.fail_job(job, "it broke")
    return config


def test_init_writes_a_configuration_and_never_over_another(tmp_path: Path) -> None:
    assert overread("init", cwd=tmp_path).returncode == 0
    assert (tmp_path / "overread.toml").read_text().startswith("# Overread")
    again = overread("init", cwd=tmp_path)
    assert again.returncode == 2 and "exists already" in again.stderr


def test_check_says_what_each_part_will_do(config: Path) -> None:
    run = overread("check", "-c", config, "--no-echo")
    assert run.returncode == 0, run.stdout + run.stderr
    for words in ("Modality = CT", "-> ct-lung -> pacs", "weights verified", "PACS at 127.0.0.1:1", "GiB free"):
        assert words in run.stdout


def test_check_names_the_peer_that_does_not_answer(config: Path) -> None:
    run = overread("check", "-c", config, "--json")
    checks = json.loads(run.stdout)["checks"]
    peers = [line for line in checks if line["area"] == "peer"]
    assert run.returncode == 1 and [line["ok"] for line in peers] == [False] and "C-ECHO failed" in peers[0]["text"]


def test_check_explains_a_study_before_it_is_sent(config: Path, tmp_path: Path) -> None:
    chest_study(tmp_path / "study", 3, 8, 64)
    run = overread("check", "-c", config, "--study", tmp_path / "study")
    assert "ct: matches" in run.stdout and "slices" in run.stdout and run.returncode == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("[node]\nae-titel = 'x'\n", "did you mean 'ae-title'"), (PEER + ROUTE.replace("Modality", "Modalitty"), "not a DICOM keyword"),
     (PEER + ROUTE.replace("ct-lung", "ct-lnug"), "did you mean 'ct-lung'")],
)  # fmt: skip
def test_a_wrong_configuration_is_one_line_and_exit_code_2(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "overread.toml").write_text(text)
    run = overread("check", "--no-echo", cwd=tmp_path)
    assert run.returncode == 2 and said in run.stderr and len(run.stderr.strip().splitlines()) == 1


def test_status_and_show_tell_of_the_failed_job_and_retry_makes_it_due(used: Path) -> None:
    status = overread("status", "-c", used)
    assert "1 failed" in status.stdout and "job/1" in status.stdout
    show = overread("show", "1.2", "-c", used)
    assert show.returncode == 0 and "it broke" in show.stdout and "2 instances until" in show.stdout
    assert overread("retry", "job/1", "-c", used).stdout == "job/1: due again\n"
    again = overread("retry", "job/1", "-c", used)
    assert again.returncode == 1 and "only a failed one" in again.stderr
    assert overread("retry", "failed", "-c", used).stdout == "nothing has failed\n"
    assert json.loads(overread("show", "1.2.3", "--json", "-c", used).stdout)["study"]["jobs"][0]["state"] == "due"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(("show", "9.9"), 2, "no studies start with"), (("retry", "thing/1"), 2, "want job/ID"), (("retry", "job/77"), 1, "no such job"),
     (("send", ".", "--to", "pacz"), 2, "did you mean 'pacs'")],
)  # fmt: skip
def test_wrong_words_get_one_clear_line(used: Path, words: tuple[str, ...], code: int, said: str) -> None:
    run = overread(*words, "-c", used, cwd=used.parent)
    assert run.returncode == code and said in run.stderr


def test_audit_verify_counts_the_events(used: Path) -> None:
    run = overread("audit", "verify", "-c", used)
    assert run.returncode == 0 and "events hold" in run.stdout


def test_a_database_that_is_not_there_is_told_and_not_made(config: Path) -> None:
    run = overread("status", "-c", config)
    assert run.returncode == 2 and "does not exist yet" in run.stderr
    assert not (config.parent / "overread.db").exists()


@pytest.mark.parametrize(("schema_of", "said"), [("0005", "`overread serve` upgrades it"), ("9999", "a newer Overread")])
@pytest.mark.parametrize("words", [("status",), ("review", "list"), ("report", "--month", "2026-11"), ("audit", "verify")])
def test_a_database_of_another_version_is_told_as_such(
    used: Path, words: tuple[str, ...], schema_of: str, said: str
) -> None:
    with sqlite3.connect(used.parent / "overread.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (schema_of,))
    run = overread(*words, "-c", used)
    assert run.returncode == 2 and f"its schema is {schema_of}" in run.stderr and said in run.stderr


def test_try_names_a_folder_without_a_study(tmp_path: Path) -> None:
    run = overread("try", "ct-lung", tmp_path, "--out", tmp_path / "out")
    assert run.returncode == 1 and "no DICOM file" in run.stderr


def test_try_says_unsuitable_with_exit_code_3(tmp_path: Path) -> None:
    chest_study(tmp_path / "study", 3, 8, 64)
    run = overread("try", "ct-lung", tmp_path / "study", "--out", tmp_path / "out")
    assert run.returncode == 3 and "slices" in run.stdout


def test_try_takes_each_of_several_studies(tmp_path: Path) -> None:
    chest_study(tmp_path / "studies" / "few", 3, 8, 64)
    chest_study(tmp_path / "studies" / "enough", 3, 32, 128)
    run = overread("try", "ct-lung", tmp_path / "studies", "--out", tmp_path / "out", "--json")
    told = json.loads(run.stdout)
    assert run.returncode == 0
    assert [(one["outcome"], one["instances"]) for one in told] == [("done", 32), ("unsuitable", 8)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"] and (tmp_path / "out" / "1" / "report.dcm").exists()


def test_try_names_the_nearest_pipeline(tmp_path: Path) -> None:
    run = overread("try", "ct-lnug", tmp_path, "--out", tmp_path / "out")
    assert run.returncode == 2 and "did you mean 'ct-lung'" in run.stderr


@pytest.mark.parametrize(("words", "code", "said"), [("--version", 0, "overread "), ("serve", 2, "not a DICOM keyword")])
def test_a_process_of_its_own_prints_and_ends_like_that(tmp_path: Path, words: str, code: int, said: str) -> None:
    (tmp_path / "overread.toml").write_text(PEER + ROUTE.replace("Modality", "Modalitty"))
    run = subprocess.run([sys.executable, "-m", "node.cli", words], capture_output=True, text=True, cwd=tmp_path,
                         timeout=120)  # fmt: skip
    assert run.returncode == code and said in run.stdout + run.stderr
