"""C-FIND at pynetdicom's archive and at peers that answer nonsense: what is asked, and what is believed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from node import dimse, pdu_guard
from node.config import Config
from node.elements import BIG_ENDIAN, EXPLICIT, IMPLICIT, Malformed, element
from node.errors import GiveUp, TryAgain
from node.identifiers import SERIES_UID, SOP_UID, STUDY_INSTANCES, STUDY_UID, number, read_identifier, write_identifier
from node.peers import find
from node.receive import negotiation
from node.sections import Node, Peer
from tests.finders import archive
from tests.peers import free_port

HOLDS = {"1.2.3": {"1.2.3.1": ["1.2.3.1.1", "1.2.3.1.2"], "1.2.3.2": ["1.2.3.2.1"]}, "9.9": {"9.9.1": ["9.9.1.1"] * 5}}
CONFIG = Config(node=Node(acse_timeout=5, dimse_timeout=3))


def pacs(port: int) -> Peer:
    return Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_an_identifier_is_read_as_it_was_written(syntax: str) -> None:
    keys = {STUDY_UID: "1.2.3", SERIES_UID: "", STUDY_INSTANCES: "12"}
    assert read_identifier(write_identifier("STUDY", keys, syntax), syntax) == {0x00080052: "STUDY", STUDY_UID: "1.2.3",
                                                                               STUDY_INSTANCES: "12"}  # fmt: skip


def test_whatever_else_stands_in_an_identifier_is_passed_over() -> None:
    nested = element(0x00081199, b"SQ", b"", True)
    encoded = element(0x00080005, b"CS", b"ISO_IR 192", True) + nested + element(SOP_UID, b"UI", b"1.2\0", True)
    assert read_identifier(encoded, EXPLICIT) == {SOP_UID: "1.2"}


@pytest.mark.parametrize(
    ("encoded", "syntax"),
    [(b"\x08\0\x18\0UI\xff\x00", EXPLICIT), (b"\x08\0\x18", IMPLICIT), (b"\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff", EXPLICIT),
     (b"", BIG_ENDIAN + ".1")],
)  # fmt: skip
def test_an_identifier_that_does_not_add_up_is_malformed(encoded: bytes, syntax: str) -> None:
    with pytest.raises(Malformed):
        read_identifier(encoded, syntax)


@pytest.mark.parametrize("text", ["-1", "1e9", "many", "1" * 13, "\u0661"])
def test_a_count_is_a_plain_number(text: str) -> None:
    with pytest.raises(Malformed):
        number({STUDY_INSTANCES: text}, STUDY_INSTANCES)
    assert number({}, STUDY_INSTANCES) is None


@pytest.mark.parametrize(
    ("says", "ours", "levels", "counted"),
    [
        (("study", "series"), (), ["STUDY"], 3),
        (("study", "series"), ("1.2.3.2",), ["SERIES"], 2),
        (("series",), (), ["STUDY", "SERIES"], 3),
        ((), (), ["STUDY", "SERIES", "IMAGE", "IMAGE"], 3),
        ((), ("1.2.3.1",), ["SERIES", "IMAGE"], 1),
    ],
)
def test_the_count_is_asked_for_and_where_it_is_not_said_the_instances_are_counted(
    says: tuple[str, ...], ours: tuple[str, ...], levels: list[str], counted: int
) -> None:
    with archive(holds=HOLDS, says=says) as serving:
        assert find.count(CONFIG, pacs(serving.port), "1.2.3", ours) == counted
    assert [level for level, _ in serving.asked] == levels


def test_a_study_that_the_peer_does_not_know_has_no_instances() -> None:
    with archive(holds=HOLDS) as serving:
        assert find.count(CONFIG, pacs(serving.port), "1.2.4") == 0
        assert find.instances(CONFIG, pacs(serving.port), "1.2.4", "1.2.4.1") == frozenset()


def test_matches_of_other_studies_do_not_count() -> None:
    with archive(holds=HOLDS, ignores_keys=True) as serving:
        assert find.count(CONFIG, pacs(serving.port), "1.2.3") == 3
        assert find.instances(CONFIG, pacs(serving.port), "1.2.3", "1.2.3.1") == {"1.2.3.1.1", "1.2.3.1.2"}


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"status": 0xA700}, TryAgain, "0xA700"), ({"status": 0xC001}, GiveUp, "0xC001"), ({"status": 0x0122}, GiveUp, "0x0122"),
        ({"extra": {"NumberOfStudyRelatedInstances": None, "SeriesInstanceUID": ""}, "says": ()}, GiveUp, "without SeriesInstanceUID"),
        ({"stuck": threading.Event()}, TryAgain, "nothing came for"),
    ],
    ids=["busy", "unable", "unsupported", "no series UID", "silent"],
)  # fmt: skip
def test_what_a_peer_cannot_answer_is_one_line(settings: dict, error: type[Exception], said: str) -> None:
    config = Config(node=Node(acse_timeout=5, dimse_timeout=0.5 if "stuck" in settings else 5))
    with archive(holds=HOLDS, **settings) as serving, pytest.raises(error, match=said):
        find.count(config, pacs(serving.port), "1.2.3")


def test_a_peer_that_is_not_there_or_takes_no_queries_says_so() -> None:
    from tests.committers import provider

    assert "cannot be reached" in str(find.takes_queries(CONFIG, pacs(free_port())))
    with provider() as serving:
        assert find.takes_queries(CONFIG, pacs(serving.port)) == "it does not take queries (Study Root FIND)"
        with pytest.raises(GiveUp, match="does not take queries"):
            find.count(CONFIG, pacs(serving.port), "1.2.3")
    with archive() as serving:
        assert find.takes_queries(CONFIG, pacs(serving.port)) is None


@contextmanager
def answering(answer: Callable[[socket.socket, dimse.Command], None]) -> Iterator[Peer]:
    """A peer that takes queries and answers the first one as the test writes it."""

    def serve() -> None:
        sock, _ = server.accept()
        with sock:
            reader = pdu_guard.PduReader(sock, 65536, 10)
            request = negotiation.read_request(reader.read(10)[1])
            sock.sendall(accepted(request))
            reader.read(10)
            reader.read(10)
            try:
                answer(sock, dimse.Command(dimse.C_FIND_RQ, 1, find.STUDY_ROOT_FIND))
                reader.read(20)
            except (OSError, pdu_guard.PeerGone, pdu_guard.PeerSilent):
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield pacs(server.getsockname()[1])
        thread.join(30)


def accepted(request: object) -> bytes:
    """An A-ASSOCIATE-AC that takes the first presentation context, whatever it is for."""
    from pynetdicom.pdu import A_ASSOCIATE_AC
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
    from pynetdicom.presentation import PresentationContext

    context = PresentationContext()
    context.context_id, context.transfer_syntax, context.result = 1, [EXPLICIT], 0
    context.abstract_syntax = find.STUDY_ROOT_FIND
    length, class_uid = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, class_uid.implementation_class_uid = 16384, "1.2.3"
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "OVERREAD", "PACS"
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = [context]
    primitive.user_information = [length, class_uid]
    return A_ASSOCIATE_AC(primitive).encode()


def match(sock: socket.socket, query: dimse.Command, encoded: bytes) -> None:
    """Send one pending response with its identifier."""
    command = bytearray(dimse.response(query, 0xFF00))
    at = command.index(b"\0\0\0\x08\x02\0\0\0") + 8
    command[at : at + 2] = b"\0\0"  # it has a dataset
    sock.sendall(dimse.p_data_header(1, dimse.COMMAND | dimse.LAST, len(command)) + command)
    sock.sendall(dimse.p_data_header(1, dimse.LAST, len(encoded)) + encoded)


def test_endless_matches_end_with_the_association(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MOST_MATCHES", 100)

    def flood(sock: socket.socket, query: dimse.Command) -> None:
        for _ in range(10_000):
            match(sock, query, write_identifier("STUDY", {STUDY_UID: "1.2.3"}, EXPLICIT))

    with answering(flood) as peer, pytest.raises(GiveUp, match="more than 100 matches"):
        find.count(CONFIG, peer, "1.2.3")


def test_a_peer_that_drips_matches_is_left_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "LONGEST", 1.0)

    def drip(sock: socket.socket, query: dimse.Command) -> None:
        for _ in range(100):
            match(sock, query, write_identifier("STUDY", {STUDY_UID: "1.2.3"}, EXPLICIT))
            time.sleep(0.2)

    began = time.monotonic()
    with answering(drip) as peer, pytest.raises(TryAgain):
        find.count(CONFIG, peer, "1.2.3")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("encoded", [b"\x08\0\x18\0UI\xff\xff", b"\x08" * 7], ids=["too long", "cut off"])
def test_a_match_that_cannot_be_read_is_given_up(encoded: bytes) -> None:
    with (
        answering(lambda sock, query: match(sock, query, encoded)) as peer,
        pytest.raises(GiveUp, match="cannot be read"),
    ):
        find.count(CONFIG, peer, "1.2.3")


def test_a_match_of_many_bytes_ends_the_association() -> None:
    def flood(sock: socket.socket, query: dimse.Command) -> None:
        command = bytearray(dimse.response(query, 0xFF00))
        at = command.index(b"\0\0\0\x08\x02\0\0\0") + 8
        command[at : at + 2] = b"\0\0"
        sock.sendall(dimse.p_data_header(1, dimse.COMMAND | dimse.LAST, len(command)) + command)
        for _ in range(100):
            sock.sendall(dimse.p_data_header(1, 0, 16384) + bytes(16384))

    with answering(flood) as peer, pytest.raises(TryAgain, match="too long"):
        find.count(CONFIG, peer, "1.2.3")
