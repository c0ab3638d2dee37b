"""What the report says of results: the numbers of `overread concordance`, nothing of few studies, the month before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from node.cli import app
from node.concordance import Concordances, Held
from node.rates import apart, rate
from node.report import former
from node.report import month as months
from node.report.document import Section, Table, Text, interval
from node.report.results import agreement, estimate, scores, subgroups
from node.report.small import FEW, lacking, pooled
from node.store import Store
from tests.months import DAY, START, fill

NOW = START + 45 * DAY
END = START + 31 * DAY


def _month(store: Store, name: str = "2026-10") -> months.Month:
    with store.engine.connect().execution_options(reading=True) as connection:
        return months.read(connection, months.period(name, NOW))


def _tables(section: Section) -> dict[str, Table]:
    return {one.title: one for one in section.blocks if isinstance(one, Table)}


def _words(section: Section) -> str:
    return " ".join(one.text for one in section.blocks if isinstance(one, Text))


@pytest.mark.parametrize(("count", "total", "says"), [
    (0, 0, "–"), (0, 20, "0.0 % (0.0 to 16.1)"), (20, 20, "100.0 % (83.9 to 100.0)"), (5, 50, "10.0 % (4.3 to 21.4)"),
])  # fmt: skip
def test_intervals_are_shown_as_percentages(count: int, total: int, says: str) -> None:
    assert interval(rate(count, total)) == says


def test_the_report_s_rates_are_those_of_concordance_for_the_same_time(store: Store) -> None:
    fill(store, 250, labelled=True)
    tables = _tables(agreement(_month(store)))
    [model] = Concordances(store.engine).of(None, START, END)
    for finding in model.findings:
        whole, name = finding.parts[0], f"{finding.name} (cxr-triage 1.0.0)"
        told = next(row for row in tables["Results against labels"].rows if row[0] == name)
        assert told[1] == str(whole.labelled)
        shown = [interval(one) for one in (whole.decisions.sensitivity, whole.decisions.specificity, whole.decisions.predictive_value)]
        enough = lacking(whole.decisions.sensitivity.of, whole.decisions.specificity.of) is None
        assert list(told[3:]) == (shown if enough else ["< 10 positive"] * 3)
        calibration = [row for row in tables["Calibration"].rows if row[0] == name]
        wanted = [estimate(one) for one in (whole.calibration.large, whole.calibration.intercept, whole.calibration.slope, whole.calibration.error)]
        assert [list(row[1:5]) for row in calibration] == ([wanted] if enough else [])
    assert 0 < len(tables["Calibration"].rows) < 3, "one of the three findings has too few reported positive"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_command_gives_the_same_for_the_days_of_the_month(store: Store, tmp_path: Path) -> None:
    fill(store, 250, labelled=True)
    (tmp_path / "overread.toml").write_text(f'[node]\ndatabase = "{store.engine.url}"\n')
    given_ = ["concordance", "-c", str(tmp_path / "overread.toml"), "--from", "2026-10-01", "--to", "2026-10-31", "--json"]
    told = json.loads(CliRunner().invoke(app, given_).stdout)
    effusion = next(one for one in told[0]["findings"] if one["name"] == "pleural effusion")["parts"][0]["decisions"]["sensitivity"]
    row = next(one for one in _tables(agreement(_month(store)))["Results against labels"].rows if one[0].startswith("pleural"))
    assert effusion["of"] >= FEW and row[3] == interval(rate(effusion["count"], effusion["of"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 40), max_size=9))
def test_no_group_of_few_is_shown_nor_left_to_subtraction(counts: list[int]) -> None:
    sizes = {f"group {at}": count for at, count in enumerate(counts)}
    told = pooled({name: list(range(size)) for name, size in sizes.items()})
    assert all(len(rows) >= FEW for _, rows in told)
    assert not told or sum(len(rows) for _, rows in told) == sum(sizes.values()), "nothing is missing that could be subtracted"
    assert not (len(told) == 1 and len(sizes) > 1), "one group of all says nothing"
    if sizes and min(sizes.values()) >= FEW:
        assert {name: len(rows) for name, rows in told} == sizes


def test_a_small_group_is_put_together_with_the_next_larger_one() -> None:
    groups = {"male": list(range(60)), "female": list(range(80)), "other": list(range(3))}
    assert [(name, len(rows)) for name, rows in pooled(groups)] == [("female", 80), ("male or other", 63)]
    assert pooled({"male": list(range(60)), "other": [1]}) == []


def test_small_groups_of_a_month_are_put_together_and_their_rates_left_out(store: Store) -> None:
    fill(store, 60, labelled=True)
    rows = [row for table in _tables(subgroups(_month(store))).values() for row in table.rows]
    assert all(int(row[2]) >= FEW for row in rows) and any(" or " in row[1] for row in rows)
    assert {row[5] for row in rows} <= {"too few", "–", ""}, "few were reported positive in each group"
    assert any(row[5] == "too few" for row in rows)


def test_nothing_is_said_of_findings_and_labels_of_few_studies(store: Store) -> None:
    fill(store, 9, labelled=True)
    month = _month(store)
    assert 0 < month.said[0].results < FEW
    assert _tables(scores(month))["Findings"].rows == () and "Left out: 3 findings" in _words(scores(month))
    assert not _tables(agreement(month)) and not _tables(subgroups(month))


def test_a_month_is_held_against_the_one_before(store: Store) -> None:
    fill(store, 300, labelled=True)
    fill(store, 400, seed=5, labelled=True, start=START - 30.5 * DAY, first=1001)
    old, new = _month(store, "2026-09"), _month(store)
    told = former.compared(old, new, NOW)
    tables = {title: {row[0]: row[1:] for row in table.rows} for title, table in _tables(told).items()}
    assert told.title == "Compared with 2026-09"
    assert tables["The service"]["Studies received"][:2] == (
        f"{len(old.studies)} ({len(old.studies) / 30:.1f} a day)", f"{len(new.studies)} ({len(new.studies) / 31:.1f} a day)")  # fmt: skip
    assert "First instance to delivered, median" in tables["The service"]
    a, b = (Concordances(store.engine).of(None, start, end)[0].findings[1].parts[0].decisions.sensitivity
            for start, end in ((old.period.start, START), (START, END)))  # fmt: skip
    effusion = tables["pleural effusion (cxr-triage 1.0.0)"]
    difference = apart(a, b)
    assert difference is not None and effusion["Sensitivity"][2].startswith(f"{100 * difference[0]:+.1f} points (")
    assert effusion["Positive"][0].endswith(f" % of {old.said[0].results}") and "Gap of the distributions" in effusion
    assert "differences are larger than chance makes likely" in _words(told)
    assert "Sensitivity" not in tables["<b>mass</b> (cxr-triage 1.0.0)"], "too few were reported positive"


def test_the_first_month_has_nothing_before_it(store: Store) -> None:
    fill(store, 20)
    told = former.compared(_month(store, "2026-09"), _month(store), NOW)
    assert _words(told) == "Nothing was received or run in 2026-09: there is nothing to compare." and not _tables(told)


def test_differences_of_rates_have_newcombe_s_interval() -> None:
    # Newcombe, Statistics in Medicine 1998;17:873, table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/10
    for (a, m), (b, n), low, high in (((48, 80), (56, 70), 0.0524, 0.3339), ((3, 10), (9, 10), 0.1705, 0.8090), ((0, 10), (10, 10), 0.6075, 1.0)):
        found = apart(rate(a, m), rate(b, n))
        assert found is not None and found[1:] == pytest.approx((low, high), abs=5e-5)
    assert apart(rate(0, 0), rate(1, 2)) is None


def test_the_gap_of_two_distributions_is_the_largest() -> None:
    assert former.gap([1, 2, 3, 4], [1, 2, 3, 4]) == 0 and former.gap([1, 2], [3, 4]) == 1
    assert former.gap([0.1, 0.1, 0.5, 0.9], [0.1, 0.5, 0.5, 0.9]) == 0.25


def test_two_models_of_one_version_are_told_apart_by_their_digests(store: Store) -> None:
    fill(store, 30)
    month = _month(store)
    [one] = month.said
    other = type(one)(one.pipeline, "cxr-triage 1.0.0 aaaaaaaaaaaa", one.results, {"nodule": [Held(0.1, False, None, None, {})] * 20}, [])
    told = scores(type(month)(**{**vars(month), "said": (one, other)}))
    assert {row[1] for row in _tables(told)["Findings"].rows} == {"cxr-triage 1.0.0 4f4f4f4f4f4f", "cxr-triage 1.0.0 aaaaaaaaaaaa"}
