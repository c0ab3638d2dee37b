"""`overread purge` and `overread spool verify`, and what the other commands say of a purged study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node import schema
from node.queries import Queries
from node.spool import Spool
from node.store import Store
from tests.commands import overread
from tests.conftest import Arrivals


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A configuration whose node has one study of 40 days ago with a failed job, and one of today."""
    config = tmp_path / "overread.toml"
    config.write_text('[node]\nspool = "spool"\nmin-free-disk = 0\n[keep]\nhigh-watermark = 1\nlow-watermark = 1\n')
    url, spool = f"sqlite:///{tmp_path / 'overread.db'}", Spool(tmp_path / "spool")
    schema.upgrade(url)
    for study, days in (("1.2.3", 40), ("4.5.6", 0)):
        store = Store(url, lambda days=days: time.time() - days * 86400)  # type: ignore[misc]
        arrivals, queries = Arrivals(store), Queries(store.engine)
        (spool.incoming / "x").write_bytes(bytes(1000))
        path = spool.put(spool.incoming / "x", study, "1" * 64)
        os.utime(spool.path(path), (0, time.time() - days * 86400))
        arrivals.add(1, study=study, path=path)
        arrivals.close(queries)
        job = store.claim_job("w", 30)
        assert job is not None
        store.fail_job(job, "it broke") if study == "1.2.3" else store.skip_job(job, "not this one")
        store.dispose()
    return config


def test_a_dry_run_says_what_would_go_and_what_stays_and_changes_nothing(old: Path) -> None:
    run = overread("purge", "--dry-run", "-c", old)
    assert run.returncode == 0, run.stderr
    assert "stays: 1 received instances of 1.2.3" in run.stdout
    assert "a job failed; it waits for a person for 90 days" in run.stdout
    assert "of 4.5.6" in run.stdout and "not older than 30 days" in run.stdout
    assert "0 files, 0.0 MiB would go; 2 files, 0.0 MiB stay" in run.stdout
    with old.open("a") as file:
        file.write("failed = 35\n")
    run = overread("purge", "--dry-run", "--json", "-c", old)
    told = json.loads(run.stdout)
    assert [(one["study"], one["what"], one["bytes"], one["goes"], one["reason"]) for one in told["piles"]] == [
        ("1.2.3", "study", 1000, True, "older than 30 days"), ("4.5.6", "study", 1000, False, "not older than 30 days"),
    ]  # fmt: skip
    assert len(list((old.parent / "spool" / "studies").rglob("*.dcm"))) == 2


def test_a_purged_study_is_told_in_one_line_by_show_and_retry(old: Path) -> None:
    with old.open("a") as file:
        file.write("failed = 35\n")
    run = overread("purge", "--older-than", "1", "-c", old)
    assert run.returncode == 0 and "gone: 1 received instances of 1.2.3" in run.stdout, run.stderr
    assert len(list((old.parent / "spool" / "studies").rglob("*.dcm"))) == 1
    shown = overread("show", "1.2.3", "-c", old)
    assert "purged    1 instances since" in shown.stdout
    assert "older than 1 days; to run it again, send the whole study" in shown.stdout
    retried = overread("retry", "job/1", "-c", old)
    assert retried.returncode == 1
    assert retried.stderr.strip() == "overread: job/1: the files of its study are purged; send the whole study again"
    assert overread("retry", "failed", "-c", old).returncode == 0
    assert overread("spool", "verify", "-c", old).returncode == 1, "what is left is no DICOM file in this test"


def test_spool_verify_counts_and_names(old: Path) -> None:
    for path in (old.parent / "spool" / "studies").rglob("*.dcm"):
        path.unlink()
    run = overread("spool", "verify", "-c", old)
    assert run.returncode == 1 and run.stdout.count("missing studies/") == 2
    assert "0 files are as they were written; 2 missing, 0 changed, 0 stray" in run.stdout
    told = json.loads(overread("spool", "verify", "--json", "-c", old).stdout)
    assert (told["good"], len(told["missing"])) == (0, 2)


def test_there_is_nothing_to_purge_without_a_database(tmp_path: Path) -> None:
    (tmp_path / "overread.toml").write_text("")
    run = overread("purge", "-c", tmp_path / "overread.toml")
    assert run.returncode == 2 and "does not exist yet" in run.stderr


def test_a_new_database_beside_a_full_spool_stops_the_start_and_deletes_nothing(old: Path) -> None:
    (old.parent / "overread.db").rename(old.parent / "mislaid.db")
    run = subprocess.run([sys.executable, "-m", "node.cli", "serve", "-c", str(old)], capture_output=True, text=True,
                         timeout=120)  # fmt: skip
    assert run.returncode == 2 and "is new, but there are studies in" in run.stderr, run.stderr
    assert len(list((old.parent / "spool" / "studies").rglob("*.dcm"))) == 2


def test_the_unit_of_systemd_waits_for_the_whole_grace() -> None:
    from node.sections import Node
    from node.supervisor import _AFTER

    text = (Path(__file__).resolve().parents[2] / "deploy" / "overread.service").read_text()
    seconds = next(int(line.partition("=")[2]) for line in text.splitlines() if line.startswith("TimeoutStopSec="))
    assert seconds > Node().stop_grace + _AFTER
