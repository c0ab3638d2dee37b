"""The governance report: its numbers are those of the rows, and nothing in them becomes markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from node import schema
from node.cli import app
from node.errors import ConfigError
from node.report import compose, document, html, pdf
from node.report import month as months
from node.report.document import Report, Table, Text
from node.report.operation import general
from node.store import Store
from tests.conftest import missing
from tests.months import DAY, START, fill

NOW = START + 45 * DAY


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store, 300)
    return store


@pytest.fixture
def made(filled: Store) -> Report:
    return _compose(filled)


def _compose(store: Store, month: str = "2026-10", now: float = NOW) -> Report:
    with store.engine.connect().execution_options(reading=True) as connection:
        return compose.compose(connection, months.period(month, now), "OVERREAD", now)


def _table(report: Report, title: str) -> Table:
    return next(b for s in report.sections for b in s.blocks if isinstance(b, Table) and b.title.startswith(title))


def _words(report: Report) -> str:
    return " ".join(b.text for s in report.sections for b in s.blocks if isinstance(b, Text))


def _figure(report: Report, title: str) -> document.Figure:
    return next(one for one in report.figures if one.title == title)


def _count(store: Store, query: str) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def test_the_numbers_are_those_of_the_rows(filled: Store, made: Report) -> None:
    done, skipped, failed = (
        _count(filled, f"SELECT count(*) FROM jobs WHERE state='{s}'") for s in ("done", "skipped", "failed")
    )
    assert done + skipped + failed == 300 and min(done, skipped, failed) > 0
    assert _figure(made, "Studies received").value == "300" and _figure(made, "Jobs done").value == str(done)
    assert _figure(made, "Jobs failed").value == str(failed) and not _figure(made, "Jobs failed").good
    [row] = _table(made, "By pipeline").rows
    assert row == ("cxr-triage", "300", str(done), str(skipped), str(failed), "0")
    devices = _table(made, "By device").rows
    assert sum(int(one[1]) for one in devices) == 300 and devices[0][0] == "Alpha Imaging DR 100"
    positive = _count(
        filled, "SELECT count(*) FROM features WHERE name='output.pleural effusion.positive' AND number=1"
    )
    finding = next(row for row in _table(made, "Findings").rows if row[2] == "pleural effusion")
    assert finding[3] == str(done) and finding[5].startswith(f"{100 * positive / done:.1f} %")
    [model] = _table(made, "Model versions").rows
    assert model[:3] == ("cxr-triage", "cxr-triage 1.0.0", "4f4f4f4f4f4f") and model[5] == str(done)
    took = {row[0]: row for row in _table(made, "Duration of each step").rows}
    assert took["Study complete to result made"][1] == str(done) and took["First instance to delivered"][2].endswith(
        " s"
    )


def test_reasons_that_differ_by_a_number_count_together(filled: Store, made: Report) -> None:
    [row] = _table(made, "Jobs that were skipped").rows
    assert row[1] == "series #: it is a lateral view" and row[3] == "100.0 %"
    assert _table(made, "Jobs that failed").rows[0][1] == "the model process used more than 4096 MiB of memory"
    assert general("0xA900 for 2.25.17.9.1, 3 of 40") == "0xA900 for (UID), # of #"


def test_other_months_hold_nothing_of_this_one(filled: Store) -> None:
    other = _compose(filled, "2026-11")
    assert _figure(other, "Studies received").value == "0" and _figure(other, "Jobs failed").good
    assert "software version 0.2.0" in _words(other) and "The month is not over" in _words(other)
    assert not _table(other, "By pipeline").rows and "None." in html.render(other)


def test_what_is_not_known_is_said(made: Report) -> None:
    assert "how right the models were cannot be said" in _words(made)
    assert "Whether a radiologist looked at a result, or acted on it, is not known here" in _words(made)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_log_that_was_changed_is_told_first(filled: Store) -> None:
    with filled.engine.begin() as connection:
        names = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type='trigger' AND tbl_name='events'"
        ).all()
        for (name,) in names:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql("UPDATE events SET actor='x' WHERE seq=2")
    broken = _compose(filled)
    assert _figure(broken, "Audit log").value == "BROKEN" and not _figure(broken, "Audit log").good
    assert "THE LOG DOES NOT HOLD: event 2" in _words(broken)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_page_is_one_file_without_anything_from_elsewhere_and_escapes_all(made: Report) -> None:
    page = html.render(made)
    assert "&lt;b&gt;mass&lt;/b&gt;" in page and "<b>mass" not in page and "Mobile &lt;X&gt;" in page
    assert "<script" not in page and not re.search(r'(?:src|href)="(?!#)', page)
    assert page.count("<svg") == 4 and all(f"{n}. " in page for n in range(1, 12))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_pdf_says_what_the_page_says(made: Report, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        missing("poppler-utils", "pdftotext is not installed")
    assert pdf.render(made) == pdf.render(made)
    (tmp_path / "r.pdf").write_bytes(pdf.render(made))
    run = subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "r.pdf"), "-"], capture_output=True, text=True, check=True
    )
    text = " ".join(run.stdout.split())
    for section in made.sections:
        assert section.title in text
        for block in section.blocks:
            if isinstance(block, Table):
                assert all(cell.split()[0] in text for row in block.rows for cell in row if cell.strip())
    assert "<b>mass</b>" in text


def test_the_command_writes_both_and_says_what_is_wrong_with_a_month(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'overread.db'}"
    schema.upgrade(url)
    (tmp_path / "overread.toml").write_text("")
    given = ["report", "-c", str(tmp_path / "overread.toml")]
    run = CliRunner().invoke(
        app, [*given, "--month", "2026-10", "--html", str(tmp_path / "r.html"), "--pdf", str(tmp_path / "r.pdf")]
    )
    assert run.exit_code == 0, run.output
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    for month, says in (("October", "want YYYY-MM"), ("2999-01", "has not begun yet")):
        with pytest.raises(ConfigError, match=says):
            CliRunner().invoke(app, [*given, "--month", month], catch_exceptions=False)


def test_durations_and_quantiles_are_as_people_read_them() -> None:
    assert [document.seconds(v) for v in (None, 0.44, 42.4, 150, 7200, 200_000)] == [
        "–",
        "0.4 s",
        "42 s",
        "2.5 min",
        "2.0 h",
        "2.3 d",
    ]
    assert (
        document.quantile([3, 1, 2], 0.5) == 2
        and document.quantile([0, 10], 0.9) == 9
        and document.quantile([], 0.5) is None
    )


def test_a_december_ends_with_its_year() -> None:
    december = months.period("2026-12", START + 100 * DAY)
    assert december.days == 31 and december.complete
