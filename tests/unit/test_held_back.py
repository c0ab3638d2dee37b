"""The last look before a result is sent: a stricter mode holds it, a person's no withdraws it, also in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from node import peers, send
from node.config import Config
from node.modes import Mode
from node.queries import Queries
from node.sections import Route
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock
from tests.released import CONFIG, Source, send_all, stores_all
from tests.senders import instance

REVIEW = "route chest is in review: each result waits until a person accepts it"


@pytest.fixture
def waiting(arrivals: Arrivals, queries: Queries, spool: Spool, store: Store, tmp_path: Path) -> Source:
    """A study whose result is due."""
    source = Source(arrivals, queries, spool, tmp_path / "made")
    source.comes(1)
    arrivals.close(queries)
    source.done(store)
    return source


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a PACS that stores all got."""
    return stores_all(monkeypatch)


def _send(store: Store, spool: Spool, mode: Mode = "live") -> None:
    route = Route(name="chest", pipelines=("ct-lung",), send_to=("pacs",), mode=mode)
    send_all(store, spool, CONFIG.model_copy(update={"routes": (route,)}))


@pytest.mark.parametrize(
    ("mode", "reason"), [("review", REVIEW), ("shadow", "route chest is in shadow: runs and records, sends nothing"),
                         ("off", "route chest is off: takes no study")],
)  # fmt: skip
def test_what_was_made_before_the_configuration_became_stricter_is_held(
    waiting: Source, store: Store, spool: Spool, got: list[str], mode: Mode, reason: str
) -> None:
    _send(store, spool, mode)
    assert (waiting.deliveries(), got) == ([("held", reason)], [])


def test_what_a_person_accepted_passes_and_is_looked_at_again_for_its_patient(
    waiting: Source, store: Store, spool: Spool, got: list[str], clock: Clock
) -> None:
    _send(store, spool, "review")
    store.add_review("1.9.1", "accepted", "Dr A", "right", "cli", clock())
    waiting.comes(5, series="1.2.3.10", PatientName="Other^Name")
    _send(store, spool, "review")
    [(state, why)] = waiting.deliveries()
    assert (state, got) == ("withdrawn", []) and "names another patient" in str(why)


def test_what_a_person_accepted_goes_out_once(
    waiting: Source, store: Store, spool: Spool, got: list[str], clock: Clock
) -> None:
    _send(store, spool, "review")
    store.add_review("1.9.1", "accepted", "Dr A", "right", "cli", clock())
    _send(store, spool, "review")
    _send(store, spool, "review")
    assert (waiting.deliveries(), got) == ([("delivered", None)], ["1.9.1"])


def test_a_failed_delivery_that_was_rejected_meanwhile_is_not_sent_when_it_is_tried_again(
    waiting: Source, store: Store, spool: Spool, got: list[str], clock: Clock
) -> None:
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    store.fail_delivery(delivery, [], "refused")
    store.add_review("1.9.1", "rejected", "Dr A", "wrong", "cli", clock())
    store.reset_delivery(delivery.id, "user/a")
    _send(store, spool)
    assert (waiting.deliveries(), got) == ([("withdrawn", "rejected by Dr A")], [])


@pytest.mark.parametrize(("what", "state"), [("rejected", "withdrawn"), ("mode", "held")])
def test_a_result_that_is_being_sent_stops_in_the_middle(
    arrivals: Arrivals, queries: Queries, spool: Spool, store: Store, tmp_path: Path, clock: Clock,
    monkeypatch: pytest.MonkeyPatch, what: str, state: str,
) -> None:  # fmt: skip
    source = Source(arrivals, queries, spool, tmp_path / "made")
    source.comes(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    files = tuple(
        OutputFile(uid, source.put(instance(80, SOPInstanceUID=uid, pixels=20), f"{n:064x}"), "d", 1)
        for n, uid in enumerate(("1.9.1", "1.9.2", "1.9.3"), 90)
    )
    assert store.finish_job(job, [NewOutput("heatmap", "1.9", "1.2", files)], JobResult("1.2.3.9", "d", {}, {}, {}))
    monkeypatch.setattr(send, "LOOK_AGAIN", 0)
    sent: list[int] = []

    def slowly(_config: Config, _peer: object, paths: Sequence[Path]) -> Iterator[peers.Answer]:
        for number, path in enumerate(paths, 1):
            if number == 2 and what == "rejected":
                store.add_review("1.9.1", "rejected", "Dr A", "wrong", "dicom", clock())
            elif number == 2:
                store.set_mode("chest", "review", "watch", "stop-rule")
            sent.append(number)
            yield peers.Answer(path, f"1.9.{number}", 0, "", stored=True, final=True)

    monkeypatch.setattr(peers, "store", slowly)
    _send(store, spool)
    assert sent == [1, 2] and source.deliveries()[0][0] == state
    if state == "withdrawn":
        [told] = [one.body for one in queries.events("study/1.2.3") if one.type == "delivery.withdrawn"]
        assert told["already_there"] == 2
