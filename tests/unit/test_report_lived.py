"""The report of months that a store lived: reviews, alarms, the golden set, modes and refusals, in words for a board."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import schema
from node.report import compose, html, pdf
from node.report import month as months
from node.report.document import Report, Table, Text
from node.store import Store
from tests.conftest import Clock
from tests.lived import DAY, ROUTES, START, Life

NOW = START + 33 * DAY


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    url = f"sqlite:///{tmp_path_factory.mktemp('lived') / 'overread.db'}"
    schema.upgrade(url)
    clock = Clock()
    store = Store(url, clock)
    life = Life(store, clock)
    life.month(START - 30 * DAY, 30, ill=0.7)
    life.month(START, 40)
    life.oversight()
    with store.engine.connect().execution_options(reading=True) as connection:
        yield compose.compose(connection, months.period("2026-10", NOW), "OVERREAD", NOW)
    store.dispose()


def _section(report: Report, title: str) -> tuple[str, dict[str, Table]]:
    """What a section says, and its tables by title."""
    section = next(one for one in report.sections if one.title.startswith(title))
    words = " ".join(one.text for one in section.blocks if isinstance(one, Text))
    return words, {one.title: one for one in section.blocks if isinstance(one, Table)}


def test_alarms_tell_what_became_of_them(made: Report) -> None:
    [table] = _section(made, "Alarms")[1].values()
    said = {row[3]: row[4] for row in table.rows}
    assert len(said) == 5 and {row[2] for row in table.rows} == {"cxr-triage 1.0.0"}
    assert said["device.StationName: a new category on 22 % of studies"].startswith("accepted change, by Dr A. Example")
    assert said["calibration: odds x 3"] == "acknowledged by qa, not resolved"
    assert said["no study for 31 hours"] == "cleared by itself on 2026-10-22"
    assert said["pixels.mean moved"] == "OPEN, not acknowledged"
    assert [row[5] for row in table.rows][:2] == ["4.8 h", "24.0 h"]


def test_changes_are_sentences_with_who_and_why(made: Report) -> None:
    words, tables = _section(made, "Changes")
    said = [row[2] for row in tables["Changes, from the log"].rows]
    assert f"route {ROUTES[0]}: the route is set to review, by watch: alarm 2" in " ".join(said)
    assert any("version 1.1.0-release-candidate.2 is live, was 1.0.0, by Dr A. Example-Longname" in one for one in said)
    assert any(one.startswith("pipeline cxr-triage: the golden set of cxr-triage 1.0.0 did not give") for one in said)
    assert "Of 2 runs of the golden set 1 did not give what is on record." in words
    assert not any("gave what is on record" in one for one in said), "daily runs that agree are counted, not listed"
    assert not re.search("[0-9a-f]{13}|[{}]", " ".join(said)), "no long digests, no data structures"


def test_refusals_count_as_often_as_they_happened(made: Report) -> None:
    assert ("callers that were not admitted", "41") in _section(made, "Failures")[1]["Events of the service"].rows


def test_reviews_and_the_month_before_are_told(made: Report) -> None:
    tables = _section(made, "Agreement")[1]
    counted = sum(int(row[2]) for row in tables["Reviews: people's verdicts on results"].rows)
    [accepted] = tables["Results of the month that a person looked at, by their last review"].rows
    assert accepted[0] == "cxr-triage 1.0.0" and int(accepted[1]) == counted > 0
    service = {row[0]: row for row in _section(made, "Compared with 2026-09")[1]["The service"].rows}
    assert service["Studies received"][1:3] == ("30 (1.0 a day)", "40 (1.3 a day)")
    assert service["Alarms of monitoring opened"][1:4] == ("0", "5", "+5")


def test_names_stay_whole_and_escaped_on_page_and_paper(made: Report, tmp_path: Path) -> None:
    page = html.render(made)
    assert "Wall stand &lt;prototype&gt;" in page and "<prototype>" not in page
    assert all(name in page for name in ROUTES[:3]) or "others" in page
    assert not re.search(r"\d+(?:\.\d+){4,}", re.sub("<[^>]+>", " ", page)), "no UID"
    assert pdf.render(made).startswith(b"%PDF")
