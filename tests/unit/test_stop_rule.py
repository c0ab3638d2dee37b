"""What a stop-rule does to routes: it only makes them stricter, and says so once."""

from __future__ import annotations

import pytest

from node.config import Config
from node.modes import MODES, Mode
from node.queries import Queries
from node.sections import Route, Watch
from node.store import NewAlarm, Store
from node.watch import stop_rule

ROUTES = (
    Route(name="chest", pipelines=("cxr-triage",), shadow=("cxr-triage@1.1.0",)),
    Route(name="research", pipelines=("cxr-triage", "ct-lung")),
    Route(name="ct", pipelines=("ct-lung",)),
)


def settings(on_stop: str) -> Config:
    return Config(watch=Watch(on_stop=on_stop), route=ROUTES)  # type: ignore[call-arg]


def told(queries: Queries) -> list[tuple[str, str]]:
    return [(event.object, str(event.body["mode"])) for event in queries.events() if event.type == "route.mode"]


def test_a_golden_mismatch_puts_the_routes_of_the_live_version_into_review_once(store: Store, queries: Queries) -> None:
    act = stop_rule.of_golden(settings("review"), store, queries)
    for _ in range(3):  # found again each day
        act("cxr-triage", "golden set: 1 numbers moved")
    assert told(queries) == [("route/chest", "review"), ("route/research", "review")]
    assert queries.stored_modes() == {"chest": "review", "research": "review"}


def test_what_a_candidate_or_a_retired_version_makes_of_the_golden_set_holds_nothing(
    store: Store, queries: Queries
) -> None:
    act = stop_rule.of_golden(settings("review"), store, queries)
    act("cxr-triage@1.1.0", "golden set: 1 numbers moved")
    assert told(queries) == []
    store.promote("cxr-triage", "1.1.0", "Dr A", "compared", {})
    act("cxr-triage", "golden set: 1 numbers moved")
    assert told(queries) == []
    act("cxr-triage@1.1.0", "golden set: 1 numbers moved")
    assert {route for route, _ in told(queries)} == {"route/chest", "route/research"}


def test_an_alarm_of_a_golden_set_holds_the_routes_of_the_live_version_alone(store: Store, queries: Queries) -> None:
    for name in ("cxr-triage@code-2.0.0", "cxr-triage@1.1.0", "cxr-triage"):  # candidates may share model or code
        assert store.open_alarm(NewAlarm(f"pipeline/{name}", "golden", "golden", 1, {"says": "no"}, stop=True), ())
    for alarm in sorted(queries.alarms(open_only=True), key=lambda one: int(one["id"])):
        before = told(queries)
        stop_rule.apply(settings("review"), store, queries, alarm)
        assert (told(queries) != before) == (alarm["family"] == "pipeline/cxr-triage")
    assert told(queries) == [("route/chest", "review"), ("route/research", "review")]


@pytest.mark.parametrize("policy", ["mark", "nothing"])
def test_another_policy_leaves_the_routes_as_they_are(store: Store, queries: Queries, policy: str) -> None:
    stop_rule.of_golden(settings(policy), store, queries)("cxr-triage", "golden set: 1 numbers moved")
    assert told(queries) == []


@pytest.mark.parametrize("before", MODES)
def test_a_stop_rule_never_makes_a_route_looser(store: Store, queries: Queries, before: Mode) -> None:
    store.set_mode("chest", before, "Dr A", "why")
    changed = store.tighten("chest", "review", "watch", "the golden set does not hold")
    assert changed == (before == "live")
    assert queries.stored_modes() == {"chest": "review" if before == "live" else before}
    assert len(told(queries)) == 1 + changed


def test_the_mode_that_a_route_has_is_set_again_without_an_event(store: Store, queries: Queries) -> None:
    for _ in range(2):
        assert store.set_mode("chest", "shadow", "Dr A", "a trial") == 0
    assert told(queries) == [("route/chest", "shadow")]
    store.set_mode("chest", "live", "Dr A", "it is over")
    assert told(queries) == [("route/chest", "shadow"), ("route/chest", "live")]
