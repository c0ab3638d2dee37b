"""Sending to peers: what each answer means, and what happens when there is none."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node import dimse, peers
from node.config import Config
from node.errors import Refused, TryAgain
from node.peers.statuses import TABLE, classify
from node.receive.limits import Limits
from node.receive.listener import Listener
from node.receive.negotiation import Context, Rejection, Request
from node.sections import Peer
from tests.peers import node_config
from tests.senders import CT, EXPLICIT, encode, instance, write

LIMITS = Limits(max_pdu=16384, acse_timeout=5, dimse_timeout=5, network_timeout=5, idle_pdu_timeout=5)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (0x0000, "stored"), (0xB000, "stored"), (0xB006, "stored"), (0xB007, "stored"), (0xBFFF, "stored"),
        (0x0001, "stored"), (0x0107, "stored"), (0x0111, "stored"),
        (0xA700, "again"), (0xA701, "again"), (0xA7FF, "again"), (0x0110, "again"), (0x0213, "again"),
        (0xA900, "never"), (0xA9FF, "never"), (0xC000, "never"), (0xCFFF, "never"), (0x0122, "never"),
        (0x0124, "never"), (0x0106, "never"),
        (0xFF00, "again"), (0xA800, "again"), (0xE000, "again"),
    ],
)  # fmt: skip
def test_a_status_means_what_the_standard_says(status, meaning):
    assert classify(status)[0] == meaning


def test_every_status_has_words_and_the_table_holds_no_empty_range():
    assert all(classify(status)[1] for status in range(0x10000))
    assert all(first <= last and meaning in ("stored", "again", "never") for first, last, meaning, _ in TABLE)


@dataclass
class Pacs:
    """A peer that answers as the test wants; `answer` gives the status of each dataset."""

    answer: Callable[[bytes], int] = lambda content: 0
    may: frozenset[str] = frozenset({"store", "echo"})
    got: list[tuple[str, str, bytes]] = field(default_factory=list)
    associations: int = 0

    def knock(self, request: Request, address: str) -> Pacs | Rejection:
        self.associations += 1
        return self

    def turned_away(self, address: str, reason: str) -> None:
        pass

    def arrive(self, command: dimse.Command, context: Context) -> Arrived:
        return Arrived(self, command, context)

    def answered(self) -> None:
        pass

    def refused(self, command: dimse.Command, refusal: Refused) -> None:
        pass

    def end(self, how: str) -> None:
        pass


@dataclass
class Arrived:
    pacs: Pacs
    command: dimse.Command
    context: Context
    content: bytearray = field(default_factory=bytearray)

    def write(self, fragment: memoryview) -> None:
        self.content += fragment

    def finish(self) -> None:
        self.pacs.got.append((self.command.sop_uid, self.context.transfer_syntax, bytes(self.content)))
        status = self.pacs.answer(bytes(self.content))
        if status:
            raise Refused(status, "because the test says so")

    def drop(self) -> None:
        self.content.clear()


@contextlib.contextmanager
def serving(pacs: Pacs) -> Iterator[Peer]:
    listener = Listener("127.0.0.1", 0, LIMITS, pacs, lambda address: True)
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        yield peer(listener.port)
    finally:
        stop.set()
        thread.join(15)


def peer(port: int) -> Peer:
    return Peer(**{"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": port})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return node_config(tmp_path, acse_timeout=2, dimse_timeout=2, network_timeout=2, idle_pdu_timeout=2)


@pytest.mark.parametrize("size", [0, 16372, 16378, 16384, 500_000])
def test_a_dataset_goes_out_as_it_lies_in_the_file(config, tmp_path, size):
    path = write(tmp_path, instance(pixels=size))
    pacs = Pacs()
    with serving(pacs) as there:
        (answer,) = peers.store(config, there, [path])
    assert (answer.status, answer.stored, answer.final, answer.sop_uid) == (0, True, True, "1.2.3.9.1")
    assert pacs.got == [("1.2.3.9.1", EXPLICIT, encode(instance(pixels=size)))]


def test_each_instance_has_its_own_answer_on_one_association(config, tmp_path):
    statuses = [0x0000, 0xB000, 0xA700, 0xC123]
    files = [write(tmp_path, instance(number, pixels=2 * number + 2)) for number in range(4)]
    by_content = {encode(instance(number, pixels=2 * number + 2)): status for number, status in enumerate(statuses)}
    pacs = Pacs(answer=lambda content: by_content[content])
    with serving(pacs) as there:
        answers = list(peers.store(config, there, files))
    assert [answer.status for answer in answers] == statuses
    assert [(answer.stored, answer.final) for answer in answers] == [
        (True, True),
        (True, True),
        (False, False),
        (False, True),
    ]
    assert "because the test says so" in answers[2].reason and "0xA700" in answers[2].reason
    assert pacs.associations == 1


def test_more_than_128_kinds_of_instance_take_a_second_association(config, tmp_path):
    files = [
        write(tmp_path, instance(number, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{number + 1000}"))
        for number in range(130)
    ]
    pacs = Pacs()
    with serving(pacs) as there:
        answers = list(peers.store(config, there, files))
    assert pacs.associations == 2 and all(answer.stored for answer in answers) and len(answers) == 130


def test_many_instances_go_over_as_many_associations_as_the_peer_takes(config, tmp_path):
    files = [write(tmp_path, instance(number)) for number in range(100)]
    pacs = Pacs()
    with serving(pacs) as there:
        answers = list(peers.store(config, there.model_copy(update={"associations": 3}), files))
    assert sorted(answer.path for answer in answers) == sorted(files) and all(answer.stored for answer in answers)
    assert len(pacs.got) == 100 and pacs.associations == 3


def test_few_instances_take_one_association(config, tmp_path):
    pacs = Pacs()
    with serving(pacs) as there:
        list(peers.store(config, there.model_copy(update={"associations": 3}), [write(tmp_path, instance())]))
    assert pacs.associations == 1


def test_a_peer_that_takes_fewer_associations_is_served_over_those(config, tmp_path):
    @dataclass
    class OneAtATime(Pacs):
        def knock(self, request: Request, address: str) -> Pacs | Rejection:
            self.associations += 1
            return self if self.associations == 1 else Rejection(2, 3, 2, "local limit exceeded")

    files = [write(tmp_path, instance(number)) for number in range(100)]
    pacs = OneAtATime()
    with serving(pacs) as there:
        answers = list(peers.store(config, there.model_copy(update={"associations": 2}), files))
    assert len(answers) == len(pacs.got) == 100 and all(answer.stored for answer in answers)


def test_when_one_of_several_associations_breaks_the_others_go_on_and_the_break_is_told(config, tmp_path):
    files = [write(tmp_path, instance(number)) for number in range(100)]
    broken = []

    def break_once(content: bytes) -> int:
        if not broken:
            broken.append(content)
            raise RuntimeError("the PACS falls over")
        return 0

    stored = []
    with serving(Pacs(answer=break_once)) as there, pytest.raises(TryAgain, match="abort"):
        for answer in peers.store(config, there.model_copy(update={"associations": 2}), files):
            stored.append(answer.path)
    assert len(stored) == len(set(stored)) == 99


def test_a_context_that_is_refused_is_final_for_its_instances_only(config, tmp_path):
    files = [write(tmp_path, instance(1)), write(tmp_path, instance(2, SOPClassUID="1.2.840.10008.5.1.4.1.2.2.1"))]
    with serving(Pacs()) as there:
        good, bad = peers.store(config, there, files)
    assert good.stored
    assert (bad.status, bad.stored, bad.final) == (None, False, True)
    assert "does not take" in bad.reason


def test_a_file_that_is_no_dicom_is_final_and_the_others_go_out(config, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("x" * 500)
    with serving(Pacs()) as there:
        answers = list(peers.store(config, there, [text, tmp_path / "missing.dcm", write(tmp_path, instance())]))
    assert [(answer.stored, answer.final) for answer in answers] == [(False, True), (False, True), (True, True)]
    assert "not a DICOM file" in answers[0].reason


def test_a_peer_that_is_not_there_is_tried_again(config, tmp_path):
    path = write(tmp_path, instance())
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = peer(sock.getsockname()[1])
        with pytest.raises(TryAgain, match="cannot be reached"):
            list(peers.store(config, nobody, [path]))
        told = peers.echo(config, nobody)
    assert not told.ok and "cannot be reached" in told.reason and "PACS at 127.0.0.1" in told.reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unknown PDU type"),
        (b"\x07\0\0\0\0\x04\0\0\0\0", "aborted"),
        (b"\x03\0\0\0\0\x04\0\x01\x01\x07", "Called AE title not recognised"),
        (b"\x02\0\xff\xff\xff\xff", "4294967295 bytes"),
        (b"\x02\0\0\0\0\x04abcd", "A-ASSOCIATE-AC"),
        (b"\x05\0\0\0\0\x04\0\0\0\0", "does not answer as a DICOM peer"),
        (None, "nothing came for 2 s"),
    ],
)
def test_a_peer_that_answers_nonsense_or_nothing_is_tried_again_with_a_reason(config, tmp_path, words, said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(65536)
                if words is None:
                    time.sleep(3)
                else:
                    sock.sendall(words)
                    sock.shutdown(socket.SHUT_WR)
                    time.sleep(0.3)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        began = time.monotonic()
        with pytest.raises(TryAgain, match=said):
            list(peers.store(config, peer(server.getsockname()[1]), [write(tmp_path, instance())]))
        assert time.monotonic() - began < 4
        thread.join(5)


def test_what_was_stored_before_a_break_is_known(config, tmp_path):
    files = [write(tmp_path, instance(number)) for number in range(3)]
    stored = []

    def break_at_the_second(content: bytes) -> int:
        if len(stored) == 1:
            raise RuntimeError("the PACS falls over")
        return 0

    with serving(Pacs(answer=break_at_the_second)) as there, pytest.raises(TryAgain, match="abort"):
        for answer in peers.store(config, there, files):
            stored.append(answer.sop_uid)
    assert stored == ["1.2.3.9.0"]


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_dimse_time_out(config, tmp_path):
    with (
        serving(Pacs(answer=lambda content: time.sleep(3) or 0)) as there,
        pytest.raises(TryAgain, match="nothing came for 2 s"),
    ):
        list(peers.store(config, there, [write(tmp_path, instance())]))


def test_echo_says_how_long_it_took_and_why_it_did_not_work(config):
    with serving(Pacs()) as there:
        told = peers.echo(config, there)
        assert told.ok and 0 < told.seconds < 2
    with serving(Pacs(may=frozenset({"store"}))) as there:
        told = peers.echo(config, there)
    assert not told.ok and "Verification" in told.reason


def test_a_sender_that_stops_between_two_objects_releases(config, tmp_path):
    ended = []

    class Noted(Pacs):
        def end(self, how: str) -> None:
            ended.append(how)

    with serving(Noted()) as there:
        answers = peers.store(config, there, [write(tmp_path, instance(number)) for number in range(3)])
        next(answers)
        answers.close()
        deadline = time.monotonic() + 5
        while not ended and time.monotonic() < deadline:
            time.sleep(0.02)
    assert ended == ["released"]


def test_the_file_of_another_syntax_goes_on_a_context_of_its_own(config, tmp_path):
    files = [write(tmp_path, instance(1)), write(tmp_path, instance(2), "1.2.840.10008.1.2")]
    pacs = Pacs()
    with serving(pacs) as there:
        assert all(answer.stored for answer in peers.store(config, there, files))
    assert [(uid, syntax) for uid, syntax, _ in pacs.got] == [
        ("1.2.3.9.1", EXPLICIT),
        ("1.2.3.9.2", "1.2.840.10008.1.2"),
    ]
    assert CT == "1.2.840.10008.5.1.4.1.1.2"
