"""One address that is refused again and again raises an alarm; nothing else does, and memory stays bounded."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from node.errors import TryAgain
from node.receive.bursts import Bursts
from tests.peers import listening
from tests.senders import Sender


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def counted(most: int = 20) -> tuple[Bursts, Clock, list[tuple[str, int, str]]]:
    told: list[tuple[str, int, str]] = []
    clock = Clock()
    return Bursts(lambda *said: told.append(said), most, clock), clock, told


def test_more_refusals_than_are_usual_within_a_minute_are_one_alarm_and_the_next_one_counts_the_rest():
    bursts, clock, told = counted()
    for _ in range(20):
        bursts.refused("192.0.2.1", "unknown")
    assert told == []
    for _ in range(30):
        bursts.refused("192.0.2.1", "unknown")
    assert told == [("192.0.2.1", 21, "unknown")]
    for _ in range(61):
        clock.now += 1
        bursts.refused("192.0.2.1", "again")
    assert told[1:] == [("192.0.2.1", 29 + 60, "again")]


def test_the_same_number_over_a_longer_time_or_from_several_addresses_is_none():
    bursts, clock, told = counted()
    for _ in range(100):
        clock.now += 3.1
        bursts.refused("192.0.2.1", "unknown")
    for number in range(2, 100):
        bursts.refused(f"192.0.2.{number}", "unknown")
    assert told == []


def test_a_burst_after_a_trickle_counts_the_burst_alone():
    bursts, clock, told = counted(most=3)
    for _ in range(50):
        clock.now += 100
        bursts.refused("192.0.2.1", "unknown")
    for _ in range(3):
        bursts.refused("192.0.2.1", "unknown")
    assert told == [("192.0.2.1", 4, "unknown")]


def test_many_addresses_fill_neither_memory_nor_the_log():
    bursts, _, told = counted(most=1)
    for number in range(5000):
        for _ in range(2):
            bursts.refused(f"2001:db8::{number:x}", "unknown")
    assert len(bursts._watched) <= 1024 and len(told) == 30


def test_an_alarm_that_cannot_be_recorded_is_still_in_the_log():
    def away(*_: object) -> None:
        raise TryAgain("the database does not take the write")

    with capture_logs() as lines:
        Bursts(away, 1, Clock()).refused("192.0.2.1", "unknown")
        bursts = Bursts(away, 1, Clock())
        bursts.refused("192.0.2.1", "unknown")
        bursts.refused("192.0.2.1", "unknown")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("refusals come in a burst", "error"), ("the burst of refusals is not in the audit log", "error")
    ]  # fmt: skip


def test_a_scan_of_ae_titles_is_an_alarm_in_the_audit_log(tmp_path):
    with listening(tmp_path, refusals_per_minute=5) as node:
        for number in range(12):
            with pytest.raises(TryAgain):
                Sender(node.port, ae_title=f"GUESS{number}")
        (event,) = node.events("association.burst")
        assert node.rows("select object from events where type = 'association.burst'") == [
            {"object": "address/127.0.0.1"}
        ]
    assert event == {"address": "127.0.0.1", "count": 6, "reason": "no [[peer]] has this AE title and address"}
