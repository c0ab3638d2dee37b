"""Labels from CSV files and by the commands: each wrong line is named, nothing of it is repeated."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from node import labels
from node.cli import app
from node.errors import ConfigError
from node.label_files import LARGEST, parse, read
from node.labels import NewLabel
from node.queries import Queries
from node.store import Store
from tests.conftest import Arrivals
from tests.labelled import finish

HEAD = "accession,study,finding,value,date,source\n"


def reasons(rows: str) -> list[tuple[int, str]]:
    return [(fault.line, fault.reason) for fault in parse(HEAD + rows, "f.csv")[1]]


def test_rows_become_labels_by_study_or_accession() -> None:
    found, faults = parse(HEAD + "A1,,Effusion,yes,20261101,RIS\n,1.2.3,nodule,0,2026-11-02,panel\n", "f.csv")
    assert not faults and found == [
        NewLabel("A1", "accession", "effusion", True, "2026-11-01", "ris"), NewLabel("1.2.3", "study", "nodule", False, "2026-11-02", "panel")]  # fmt: skip


def test_a_row_may_withdraw_what_its_source_said() -> None:
    found, faults = parse(HEAD + ",1.2.3,effusion,Withdrawn,2026-11-01,ris\n", "f.csv")
    assert not faults and found == [NewLabel("1.2.3", "study", "effusion", None, "2026-11-01", "ris")]


def test_headings_may_be_spelled_and_parted_in_other_ways() -> None:
    found, _ = parse("\ufeff"[1:] + "Study Instance UID;Finding;VALUE;Date;Source\r\n1.2.3;effusion;positive;2026-11-01;ris\r\n", "f.csv")
    assert [label.study for label in found] == ["1.2.3"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("A1,,effusion,maybe,2026-11-01,ris", "the value is not"), ("A1,,effusion,1,1.11.2026,ris", "the date is not"),
        ("A1,,effusion,1,2026-02-30,ris", "the date is not"), ("A1,,a.b,1,2026-11-01,ris", "the finding is not"),
        (",,effusion,1,2026-11-01,ris", "has neither a study UID nor"), (",Doe^Jane,effusion,1,2026-11-01,ris", "the study UID is not one"),
        ("A1,,effusion,1,2026-11-01,maturity", "the source is not"), ("A1,,effusion,1,2026-11-01", "has 5 cells and not 6"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_and_never_quoted(row: str, reason: str) -> None:
    [(line, told)] = reasons("A1,,effusion,1,2026-11-01,ris\n\n" + row + "\n")
    assert line == 4 and told.startswith(reason) and "Doe" not in told


@pytest.mark.parametrize(
    ("text", "where"),
    [("", "line 1"), ("finding,value,date,source\n", "line 1"), ("a,b\n", "line 1"), (HEAD + "A1,\0", "line 2"),
     ("study,study,finding,value,date,source\n", "line 1"), (HEAD + '"A1', "line 2")],
)  # fmt: skip
def test_what_is_no_such_file_at_all_says_where(text: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where) as caught:
        parse(text, "f.csv")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"line 2: is not UTF-8"):
        read(tmp_path / "f.csv")
    with (tmp_path / "f.csv").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ConfigError, match="split it"):
        read(tmp_path / "f.csv")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "none.csv")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CELL | st.sampled_from(["1.2.3", "1", "2026-11-01", "ris", "effusion"]), min_size=6, max_size=6), max_size=4))
def test_whatever_stands_in_the_cells_each_row_is_a_sound_label_or_a_fault(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    found, faults = parse(HEAD + text.getvalue(), "f.csv")
    assert len(found) + len(faults) == sum(any(cell.strip() for cell in row) for row in rows)
    assert all(labels.checked(label) == label for label in found), "what the store would refuse is a fault of its line"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        parse(text, "f.csv")
    except ConfigError as error:
        assert "\n" not in str(error)


@pytest.fixture
def site(tmp_path: Path, store: Store, queries: Queries, arrivals: Arrivals, database: str) -> Path:
    """A configuration whose database holds one result of an effusion."""
    finish(store, queries, arrivals, "1.2.3", effusion=(0.9, True))
    (tmp_path / "overread.toml").write_text(f'[node]\nspool = "spool"\ndatabase = "{database}"\n')
    return tmp_path


def run(site: Path, *words: str) -> tuple[int, str]:
    from node import cli

    done = CliRunner().invoke(app, [*words, "-c", str(site / "overread.toml")])
    if isinstance(done.exception, ConfigError):
        return 2, done.output + str(done.exception)  # as node.cli.main prints it
    assert cli.app is app
    return done.exit_code, done.output


def test_import_takes_all_of_a_good_file_and_nothing_of_a_bad_one(site: Path) -> None:
    good = "A9,,effusion,1,2026-11-01,ris\n,1.2.3,effusion,1,2026-11-01,ris\n"
    (site / "bad.csv").write_text(HEAD + good + ",1.2.3,effusion,perhaps,2026-11-01,ris\n")
    code, said = run(site, "label", "import", str(site / "bad.csv"))
    assert code == 2 and "line 4: the value is not" in said and "nothing is imported" in said
    assert "no labels" in run(site, "label", "list")[1]
    code, said = run(site, "label", "import", str(site / "bad.csv"), "--skip-bad")
    assert code == 0 and "2 labels: 1 added, 1 of studies that are not here; 1 lines left out" in said
    (site / "good.csv").write_text(HEAD + good)
    told = json.loads(run(site, "label", "import", str(site / "good.csv"), "--json")[1])
    assert told == {"rows": 2, "bad": 0, "of_no_result": [], "added": 0, "replaced": 0, "withdrawn": 0, "same": 1, "older": 0, "unknown": 1}
    assert "1.2.3 effusion: present (ris 2026-11-01" in run(site, "label", "list")[1]


def test_a_finding_that_no_result_has_is_pointed_out(site: Path) -> None:
    (site / "f.csv").write_text(HEAD + ",1.2.3,efusion,1,2026-11-01,ris\n")
    assert "no result here has the finding efusion; known: effusion" in run(site, "label", "import", str(site / "f.csv"))[1]


def test_concordance_is_printed_and_as_json(site: Path) -> None:
    (site / "f.csv").write_text(HEAD + ",1.2.3,effusion,0,2026-11-01,ris\n")
    run(site, "label", "import", str(site / "f.csv"))
    code, said = run(site, "concordance")
    assert code == 0 and "effusion: labels of 1 of 1 studies (1 ris)" in said
    assert "false among the model's positives 1.000 [0.207, 1.000] (1 of 1)" in said and "sex F: 1 of 1 labelled" in said
    [one] = json.loads(run(site, "concordance", "cxr-triage", "--json")[1])
    assert one["findings"][0]["parts"][0]["decisions"]["false"]["count"] == 1
    assert json.loads(run(site, "concordance", "--to", "2020-01-01", "--json")[1]) == []
    assert run(site, "concordance", "--from", "2026-02-02", "--to", "2026-02-01")[0] == 2
