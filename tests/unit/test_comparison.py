"""Two versions of a model on the same studies: pairs, agreement, subgroups, examples; on both databases."""

from __future__ import annotations

import dataclasses

import pytest

from node import agreement, comparison_page
from node.comparison import Comparison, Finding
from node.decisions import Decisions
from node.errors import GiveUp
from node.queries import Queries
from node.store import JobResult, NewJob, Store
from tests.conftest import Arrivals, Clock

P = {"effusion": (0.2, 0.3), "nodule": (0.9, 0.4)}  # of 1.0.0 and of 1.1.0


@pytest.fixture
def decisions(store: Store) -> Decisions:
    return Decisions(store.engine)


def _read(
    store: Store, queries: Queries, arrivals: Arrivals, study: str, sex: str | None, *versions: str, p: float = 0.0
) -> None:
    """A study that these versions read; `p` is added to what the new one says of an effusion."""
    arrivals.add(1, study=study)
    one = queries.open_studies()[0]
    names = ["cxr-triage" if version == "1.0.0" else f"cxr-triage@{version}" for version in versions]
    jobs = [NewJob(name, ("chest",), ()) for name in names]
    assert store.close_study(one.id, one.last_received_at, "enough", jobs, {})
    for _ in versions:
        job = store.claim_job("w", 30)
        assert job is not None
        version = job.pipeline.partition("@")[2] or "1.0.0"
        told: dict[str, float | str | None] = {"patient.sex": sex}
        for name, values in P.items():
            value = values[0] if version == "1.0.0" else values[1] + (p if name == "effusion" else 0)
            told |= {f"output.{name}.p": value, f"output.{name}.positive": float(value >= 0.5)}
        store.finish_job(job, [], JobResult("s", "d", {"name": "m", "version": version}, {}, {}, told))


@pytest.fixture
def found(store: Store, queries: Queries, arrivals: Arrivals, decisions: Decisions) -> Comparison:
    _read(store, queries, arrivals, "1.2.3", "M", "1.0.0", "1.1.0")
    _read(store, queries, arrivals, "1.2.4", "F", "1.0.0", "1.1.0", p=0.4)
    _read(store, queries, arrivals, "1.2.5", None, "1.0.0", "1.1.0")
    _read(store, queries, arrivals, "1.2.6", "M", "1.0.0")
    return decisions.compare("1.0.0", "1.1.0")


def test_only_studies_that_both_have_read_are_compared(found: Comparison) -> None:
    assert (found.pipeline, found.studies, found.only_old, found.only_new) == ("cxr-triage", 3, 1, 0)
    effusion, nodule = found.findings
    assert effusion.positive is not None and nodule.positive is not None
    assert dataclasses.astuple(effusion.positive) == (0, 0, 1, 2)
    assert dataclasses.astuple(nodule.positive) == (0, 3, 0, 0)
    assert effusion.numbers["p"].mean == pytest.approx((0.1 + 0.5 + 0.1) / 3)
    assert nodule.numbers["p"].limits == (pytest.approx(-0.5), pytest.approx(-0.5))


def test_the_same_is_told_by_subgroup_and_missing_is_one(found: Comparison) -> None:
    groups = {(one.feature, one.value): one for one in found.groups}
    assert set(groups) == {("patient.sex", "M"), ("patient.sex", "F"), ("patient.sex", "missing")}
    woman = groups["patient.sex", "F"].findings[0].positive
    assert woman is not None and (woman.only_new, woman.n) == (1, 1)
    assert list(comparison_page.group_lines(groups["patient.sex", "M"])) == [
        "patient.sex = M (1): effusion: 100% the same; new - old: p +0.100",
        "patient.sex = M (1): nodule: 0% the same; new - old: p -0.500",
    ]


def test_the_worst_study_comes_first(found: Comparison) -> None:
    first = found.examples[0]
    assert (first.study_uid, first.opposite) == ("1.2.4", ("effusion", "nodule"))
    assert first.values["effusion"] == (pytest.approx(0.2), pytest.approx(0.7))


def test_text_data_and_page_say_the_same(found: Comparison) -> None:
    data = comparison_page.plain(found)
    assert data["findings"][0]["only_new"] == 1 and data["examples"][0]["study"] == "1.2.4"
    page = comparison_page.page(found)
    for text in (
        "cxr-triage: model 1.0.0 (old) and 1.1.0 (new) on 3 studies",
        "1.2.4 (revision 1)",
        "missing (1)",
        "+0.233",
    ):
        assert text in page
    assert "<script" not in page and "http" not in page


def test_a_finding_with_volumes_alone_is_told_with_its_unit_and_its_number_of_studies() -> None:
    of = agreement.difference([(10.0, 12.0), (20.0, 23.0)])
    assert of is not None
    row = comparison_page.cells(Finding("Left lung", None, {"volume": of}))
    assert row[:3] == ("Left lung", "2", "") and row[7].startswith("volume (ml) +2.5 (") and len(row) == 9


def test_the_newest_revision_that_both_have_read_counts(
    store: Store, queries: Queries, arrivals: Arrivals, decisions: Decisions, clock: Clock
) -> None:
    _read(store, queries, arrivals, "1.2.3", "M", "1.0.0", "1.1.0", p=0.6)
    arrivals.add(2, study="1.2.3")
    one = queries.open_studies()[0]
    assert store.close_study(one.id, one.last_received_at, "enough", [NewJob("cxr-triage", ("chest",), ())], {})
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [], JobResult("s", "d", {"version": "1.0.0"}, {}, {}, {"output.effusion.positive": 1.0}))
    again = decisions.compare("1.0.0", "1.1.0")
    assert again.studies == 1 and again.only_old == 0 and again.examples[0].revision == 1
    with pytest.raises(GiveUp, match="no study was read by both"):
        decisions.compare("1.0.0", "1.1.0", begin=clock() + 1)


def test_versions_of_a_pipelines_code_are_compared_and_of_several_runs_the_live_one_counts(
    store: Store, queries: Queries, arrivals: Arrivals, decisions: Decisions
) -> None:
    says = {"cxr-triage": ("1.0.0", "1.0.0", 0.2), "cxr-triage@1.1.0": ("1.1.0", "1.0.0", 0.9),
            "cxr-triage@code-1.1.0": ("1.0.0", "1.1.0", 0.6)}  # fmt: skip
    arrivals.add(1)
    one = queries.open_studies()[0]
    jobs = [NewJob(name, ("chest",), ()) for name in reversed(says)]
    assert store.close_study(one.id, one.last_received_at, "enough", jobs, {})
    for _ in says:
        job = store.claim_job("w", 30)
        assert job is not None
        model, code, p = says[job.pipeline]
        made_by = {"name": "m", "version": model, "pipeline_version": code}
        told = {"output.effusion.p": p, "output.effusion.positive": float(p >= 0.5)}
        assert store.finish_job(job, [], JobResult("s", "d", made_by, {}, {}, told))
    found = decisions.compare("code-1.0.0", "code-1.1.0")
    assert found.findings[0].numbers["p"].mean == pytest.approx(0.6 - 0.2)
    assert "version code-1.0.0 (old) and code-1.1.0 (new) on 1 studies" in comparison_page.title(found)
    assert decisions.compare("1.0.0", "1.1.0").findings[0].numbers["p"].mean == pytest.approx(0.9 - 0.2)
    both = decisions.compare("1.0.0+code-1.0.0", "1.0.0+code-1.1.0")
    assert both.findings == found.findings and decisions.read_by_both("cxr-triage", "code-1.0.0", "code-1.1.0") == 1


def test_versions_without_a_study_in_common_are_told_what_to_do(
    store: Store, queries: Queries, arrivals: Arrivals, decisions: Decisions
) -> None:
    _read(store, queries, arrivals, "1.2.3", "M", "1.0.0")
    with pytest.raises(GiveUp, match=r"both 1.0.0 and 8.0.0 \(1.0.0 has read 1\): name the new one in `shadow`"):
        decisions.compare("1.0.0", "8.0.0")
    with pytest.raises(GiveUp, match="name the new one in `shadow`"):
        decisions.compare("1.0.0", "7.0.0")
