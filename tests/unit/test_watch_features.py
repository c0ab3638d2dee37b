"""What real streams taught: counts that never vary, jobs that found nothing new, a second baseline and a restart."""

from __future__ import annotations

from node import audit
from node.queries import Queries
from node.store import Store
from node.watch import channels, kinds, normal, observe, screen
from tests.conftest import Clock
from tests.watching import Traffic, accepted, config, run, usual, watching


def test_a_count_that_was_always_one_is_seen_when_it_becomes_two() -> None:
    rows = [
        {"acquisition.images": 1.0, "service.attempts": 1.0, "completeness.suitable": 1.0, "completeness.duplicates": 0.0}
        for _ in range(300)
    ]  # fmt: skip
    made, _ = kinds.make(normal.learn(1, list(range(300)), rows)[0])
    found = {one.name: one for part in made.values() for one in part}
    for name in ("acquisition.images", "service.attempts"):
        assert isinstance(found[name], channels.Number) and found[name].symbol(2.0, 0.5) > found[name].symbol(1.0, 0.9)
    assert isinstance(found["completeness.suitable"], channels.Event)
    assert isinstance(found["completeness.duplicates"], channels.Event)


def test_a_job_that_found_nothing_new_is_not_observed_again(sqlite: str, clock: Clock) -> None:
    store = Store(sqlite, clock)
    traffic = Traffic(store, clock)
    [first] = traffic.add(list(usual(1, 1)))
    reason = "unchanged: revision 2 brought nothing that cxr-triage reads; the result of revision 1 stands"
    body = {"pipeline": "cxr-triage", "revision": 1, "attempt": 1, "reason": reason}
    with store.engine.begin() as connection:
        clock.tick(86400)  # another day, on which the patient would count again
        audit.append(connection, clock(), "job.skipped", "work", f"study/{first}", body)
        audit.append(connection, clock(), "job.skipped", "work", f"study/{first}", {**body, "reason": "is no chest"})
    with store.engine.connect() as connection:
        found = list(observe.observations(connection, 0, "main"))
    assert [one.study_uid for one in found] == [first, first]
    store.dispose()


def test_the_watch_goes_on_after_a_second_baseline_and_a_restart(store: Store, clock: Clock) -> None:
    settings = config()
    traffic = Traffic(store, clock)
    traffic.add(list(usual(300, 1)))
    for _ in range(2):
        accepted(store, settings)
        run(watching(store, settings))
    traffic.add(list(usual(5, 2)))
    run(watching(store, settings))  # a new process reads the second baseline from the database
    [state] = Queries(store.engine).watch_states()
    assert state["state"]["baseline"] == 2 and state["state"]["units"] == 5
    [told] = screen.families(Queries(store.engine), settings)
    assert told["says"].startswith("baseline 2 of 300 studies")


def test_each_pair_of_model_and_code_is_a_family_of_its_own() -> None:
    ran = {"name": "m", "version": "1.0.0", "digest": "ab" * 32, "pipeline_version": "1.0.0"}
    live = observe.family_of("cxr-triage", ran, "main")
    candidate = observe.family_of("cxr-triage@code-1.1.0", {**ran, "pipeline_version": "1.1.0"}, "main")
    promoted = observe.family_of("cxr-triage", {**ran, "pipeline_version": "1.1.0"}, "main")
    assert live != candidate == promoted, "what a candidate learned counts on when it is live"
    assert observe.key_of(live) == f"cxr-triage|m 1.0.0 {'ab' * 6} code-1.0.0|main"
