"""Structures that hypothesis makes and shrinks: the acceptor answers all of them well-formed, and to the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.receive import association
from node.receive.association import Association
from tests.fuzz import answers, conversations, pdus
from tests.fuzz.elements import EXPLICIT, encoded
from tests.fuzz.talk import LIMITS, Complaints, Door, Pipe

RELAXED = settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
COMMAND = pdus.command(conversations._store_command(1, b"1.2.3.9.1"))
CONTENT = encoded(conversations.dataset(1), EXPLICIT)


@pytest.fixture(autouse=True)
def complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An error in the acceptor's log is a failure."""
    monkeypatch.setattr(association, "_log", Complaints())
    yield


def heard(*parts: bytes) -> answers.Answers:
    pipe = Pipe(b"".join(parts), 1 << 20)
    Association(pipe, "192.0.2.1", Door(), LIMITS).run()  # type: ignore[arg-type]
    return answers.read(bytes(pipe.heard))


item = st.builds(pdus.item, st.integers(0, 255), st.binary(max_size=60), st.none() | st.integers(0, 65535))
value = st.builds(
    pdus.value, st.sampled_from([1, 1, 3, 7, 9, 0, 255]), st.sampled_from([0, 1, 2, 3, 255]),
    st.sampled_from([COMMAND, CONTENT, b""]) | st.binary(max_size=80), st.none() | st.integers(0, 300),
)  # fmt: skip


@RELAXED
@given(st.lists(item, max_size=12), st.lists(item, max_size=6))
def test_a_request_of_any_items_is_accepted_or_turned_away(items: list[bytes], inside: list[bytes]) -> None:
    fixed = pdus.request(())[6:74]
    body = fixed + pdus.item(0x10, pdus.APPLICATION) + b"".join(items) + pdus.item(0x50, b"".join(inside))
    found = heard(pdus.pdu(pdus.ASSOCIATE_RQ, body), pdus.pdu(pdus.RELEASE_RQ, bytes(4)))
    assert found.kinds in (["AC", "RP"], ["RJ"], ["ABORT"])


@RELAXED
@given(st.lists(st.lists(value, min_size=1, max_size=4), max_size=8))
def test_any_order_of_fragments_is_answered_or_aborted(values: list[list[bytes]]) -> None:
    said = [pdus.pdu(pdus.P_DATA, b"".join(several)) for several in values]
    found = heard(pdus.request(conversations.OFFERS), *said, pdus.pdu(pdus.RELEASE_RQ, bytes(4)))
    assert found.kinds[0] == "AC" and found.kinds[-1] in ("RP", "ABORT")


@RELAXED
@given(st.lists(st.tuples(st.sampled_from([2, 3, 0x100, 0x110, 0x120, 0x700, 0x800, 0x900, 0x1000, 0x1001, 0x1008]),
                          st.binary(max_size=70) | st.sampled_from([b"\1\0", b"\x30\0", b"\0\1", b"\x30\1", b"\1\1"])), max_size=9))  # fmt: skip
def test_a_command_of_any_elements_is_answered_with_a_status_or_aborted(fields: list[tuple[int, bytes]]) -> None:
    said = pdus.pdu(pdus.P_DATA, pdus.value(1, 3, pdus.command(fields)))
    found = heard(pdus.request(conversations.OFFERS), said, pdus.pdu(pdus.ABORT, bytes(4)))
    assert found.kinds in (["AC"], ["AC", "DATA"], ["AC", "ABORT"])


def test_a_conversation_without_a_fault_is_taken() -> None:
    said = [pdus.pdu(pdus.P_DATA, pdus.value(1, control, data)) for control, data in ((3, COMMAND), (2, CONTENT))]
    found = heard(pdus.request(conversations.OFFERS), *said, pdus.pdu(pdus.RELEASE_RQ, bytes(4)))
    assert (found.kinds, found.good) == (["AC", "DATA", "RP"], [1])
