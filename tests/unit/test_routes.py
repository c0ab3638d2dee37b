from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.config import Config
from node.errors import ConfigError
from node.routes import Routes, header_values
from node.sections import Node, Peer, Route

PEERS = tuple(Peer(name=name, ae_title=name.upper(), host="h", port=1) for name in ("pacs", "archive", "ct1"))


def _routes(*routes: dict[str, Any], quiet: float = 5) -> Routes:
    made = tuple(
        Route(**{"name": f"r{number}", "pipelines": ("ct-lung",), **route}) for number, route in enumerate(routes)
    )
    return Routes(Config(node=Node(quiet_time=quiet), peer=PEERS, route=made), ["ct-lung", "cxr-triage"])


CT = {
    "Modality": ("CT",),
    "BodyPartExamined": ("CHEST",),
    "SliceThickness": ("2.5",),
    "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
}
SR = {"Modality": ("SR",)}


@pytest.mark.parametrize(
    ("condition", "takes"),
    [
        ({"Modality": "CT"}, True), ({"Modality": "ct"}, True), ({"Modality": "MR"}, False), ({"Modality": ["MR", "CT"]}, True),
        ({"BodyPartExamined": {"regex": "chest|thorax"}}, True), ({"BodyPartExamined": {"regex": "^THOR"}}, False),
        ({"SliceThickness": {"max": 3}}, True), ({"SliceThickness": {"min": 1, "max": 2}}, False), ({"SliceThickness": {"min": 2.5}}, True),
        ({"ImageType": "AXIAL"}, True), ({"ImageType": {"in": ["LOCALIZER"]}}, False), ({"Manufacturer": {"regex": "."}}, False),
        ({}, True), ({"Modality": "CT", "BodyPartExamined": "ABDOMEN"}, False), ({"BodyPartExamined": {"min": 1}}, False),
    ],
)  # fmt: skip
def test_conditions_are_values_lists_patterns_and_ranges(condition: dict[str, Any], takes: bool) -> None:
    [answer] = _routes({"match": condition}).plan([CT], ["ct1"]).answers
    assert answer.takes is takes, answer.reason


def test_all_conditions_must_hold_in_one_and_the_same_series() -> None:
    both = {"match": {"Modality": "SR", "BodyPartExamined": "CHEST"}}
    assert not _routes(both).plan([CT, SR], []).answers[0].takes


def test_a_refusal_says_what_was_found_and_what_was_wanted_of_the_nearest_series() -> None:
    [answer] = _routes({"match": {"Modality": "CT", "BodyPartExamined": "HEAD"}}).plan([SR, CT], []).answers
    assert answer.reason == "no series matches; the nearest: BodyPartExamined is 'CHEST', wanted HEAD"


def test_a_refusal_never_shows_an_attribute_of_the_patient() -> None:
    header = {**CT, "PatientSex": ("F",), "PatientID": ("4711",)}
    [answer] = _routes({"match": {"PatientID": "1", "PatientSex": "M"}}).plan([header], []).answers
    assert "4711" not in answer.reason and "'F'" not in answer.reason


def test_the_sender_may_be_a_condition() -> None:
    routes = _routes({"from_peers": ("ct1",)})
    assert routes.plan([CT], ["ct1"]).answers[0].takes
    assert "wanted from ct1" in routes.plan([CT], ["pacs"]).answers[0].reason


def test_two_routes_of_one_pipeline_make_one_job_for_all_their_peers() -> None:
    plan = _routes({"send_to": ("pacs",)}, {"send_to": ("pacs", "archive"), "priority": 3}).plan([CT], [])
    assert plan.jobs == (("ct-lung", ("r0", "r1"), ("pacs", "archive"), 3),)


def test_a_study_waits_as_long_as_the_most_patient_route_that_takes_it() -> None:
    routes = _routes(
        {"quiet_time": 1}, {"quiet_time": 20, "match": {"Modality": "MR"}}, {"quiet_time": 9, "longest_wait": 30}
    )
    assert (routes.plan([CT], []).quiet_time, routes.plan([SR], []).quiet_time) == (9, 9)
    assert routes.shortest_quiet_time == 1
    assert _routes({"match": {"Modality": "MR"}}).plan([CT], []).quiet_time == 5


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ({"match": {"Modalty": "CT"}}, "not a DICOM keyword"), ({"match": {"Modality": {"regex": "("}}}, "not a regular expression"),
        ({"match": {"Modality": {"like": "x"}}}, "not like"), ({"match": {"Modality": {}}}, "not nothing"),
        ({"match": {"Modality": []}}, "at least one"), ({"match": {"SliceThickness": {"min": "x"}}}, "numbers"),
        ({"match": {"Modality": {"regex": "x", "min": 1}}}, "stands alone"), ({"pipelines": ("ct-lungs",)}, "did you mean 'ct-lung'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_at_start(route: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match="route 'r0'") as caught:
        _routes(route)
    assert reason in str(caught.value)


def test_header_values_are_text_and_leave_out_what_is_empty() -> None:
    dataset = Dataset()
    dataset.Modality, dataset.SliceThickness, dataset.BodyPartExamined = "CT", "2.5", ""
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    found = header_values(dataset, ["Modality", "SliceThickness", "BodyPartExamined", "ImageType", "KVP"])
    assert found == {"Modality": ("CT",), "SliceThickness": ("2.5",), "ImageType": ("ORIGINAL", "PRIMARY")}


def _with_peers(*routes: dict[str, Any], **changes: dict[str, Any]) -> Routes:
    """Routes between peers of which some have keys of their own."""
    peers = tuple(peer.model_copy(update=changes.get(peer.name, {})) for peer in PEERS)
    made = tuple(Route(**{"name": f"r{n}", "pipelines": ("ct-lung",), **route}) for n, route in enumerate(routes))
    return Routes(Config(node=Node(quiet_time=5, longest_wait=600), peer=peers, route=made), ["ct-lung"])


def test_times_are_the_routes_or_else_the_senders_or_else_the_nodes() -> None:
    times = {"ct1": {"quiet_time": 30, "longest_wait": 50}, "archive": {"quiet_time": 1}}
    routes = _with_peers({}, **times)
    waits = [(plan.quiet_time, plan.longest_wait) for plan in (
        routes.plan([CT], ["ct1"]), routes.plan([CT], ["archive"]), routes.plan([CT], ["archive", "pacs"]),
        routes.plan([CT], ["nobody known"]), _with_peers({"quiet_time": 2}, **times).plan([CT], ["ct1"]),
        _with_peers({"match": {"Modality": "MR"}}, **times).plan([CT], ["ct1"]),
    )]  # fmt: skip
    assert waits == [(30, 50), (1, 600), (5, 600), (5, 600), (2, 50), (30, 50)]
    assert routes.shortest_quiet_time == 1


def test_only_the_evidence_counts_that_every_route_and_sender_allows() -> None:
    allowed = {"ct1": {"evidence": ("count", "quiet"), "count_from": "pacs"}, "archive": {"count_from": "archive"}}
    plan = _with_peers({}, **allowed).plan([CT], ["ct1", "archive", "pacs"])
    assert plan.evidence == {"count", "quiet"} and plan.count_from == ("archive", "pacs")
    plan = _with_peers({"evidence": ("quiet",)}, **allowed).plan([CT], ["ct1"])
    assert plan.evidence == {"quiet"} and plan.count_from == ()
    assert _with_peers({}).plan([CT], ["ct1"]).evidence == {"commitment", "count", "quiet"}


def test_a_route_that_is_off_takes_nothing_and_says_so() -> None:
    off = _routes({"mode": "off"}, {"mode": "shadow"}, {}).plan([CT], [], {"r2": "off"})
    assert [(one.route, one.takes, one.reason) for one in off.answers] == [
        ("r0", False, "matches, but is off: no job"), ("r1", True, "matches; shadow: runs and records, sends nothing"),
        ("r2", False, "matches, but is off: no job"),
    ]  # fmt: skip
    assert [job[1] for job in off.jobs] == [("r1",)]


def test_candidates_run_beside_the_live_version_after_all_else() -> None:
    routes = _routes({"shadow": ("ct-lung@1.1.0",), "priority": 5}, {"shadow": ("ct-lung@1.1.0", "ct-lung@2.0")}, {})
    plan = routes.plan([CT], [])
    assert plan.candidates == (("ct-lung@1.1.0", ("r0", "r1"), -100), ("ct-lung@2.0", ("r1",), -100))
    assert [job[0] for job in plan.jobs] == ["ct-lung"]
