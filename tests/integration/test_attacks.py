"""What a hostile or broken peer can do to the listener while a real sender works: nothing.

The declared 4 GB and the idle connections were first seen to hurt pynetdicom 3.0.4's own acceptor (its issue 1086).
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from node.errors import TryAgain
from tests.peers import Listening, listening_process
from tests.senders import Sender, encode, instance

MOST_GROWTH = 20 << 20  # bytes


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with listening_process(tmp_path, acse_timeout=3, idle_pdu_timeout=3) as running:
        with Sender(running.port) as sender:  # the first association loads what is loaded late
            assert sender.send(instance(0))[0] == 0
        yield running


def memory(node: Listening) -> int:
    assert node.process is not None
    return psutil.Process(node.process.pid).memory_info().rss


def seconds_to_store(node: Listening, first: int, count: int = 10) -> float:
    began = time.monotonic()
    with Sender(node.port) as sender:
        for number in range(first, first + count):
            assert sender.send(instance(number, pixels=100_000))[0] == 0
    return time.monotonic() - began


@contextlib.contextmanager
def connections(port: int, count: int, first_words: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)))
            if first_words:
                made[-1].sendall(first_words)
        yield made


def is_closed(sock: socket.socket) -> bool:
    sock.settimeout(0.01)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_pdu_of_four_gigabytes_takes_no_memory_and_is_cut_off(node):
    before = memory(node)
    with connections(node.port, 4, b"\x01\0\xff\xff\xff\xff") as attackers:
        for sock in attackers:
            with contextlib.suppress(OSError):
                for _ in range(64):
                    sock.sendall(bytes(1 << 20))
        time.sleep(0.5)
        assert memory(node) - before < MOST_GROWTH
        assert seconds_to_store(node, 1) < 3


def test_a_pdu_of_four_gigabytes_inside_an_association_is_cut_off_too(node):
    before = memory(node)
    attacker = Sender(node.port)
    attacker.connection.sendall(b"\x04\0\xff\xff\xff\xff")
    with contextlib.suppress(OSError):
        for _ in range(64):
            attacker.connection.sendall(bytes(1 << 20))
    assert memory(node) - before < MOST_GROWTH
    attacker.connection.close()
    assert seconds_to_store(node, 1) < 3


def test_twenty_five_idle_connections_do_not_keep_a_sender_waiting_and_are_dropped(node):
    with connections(node.port, 25) as idle:
        assert seconds_to_store(node, 1) < 3
        time.sleep(4)
        assert all(is_closed(sock) for sock in idle), "dropped at the ACSE time-out"


def test_a_thousand_idle_connections_leave_room_for_a_sender(node):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with connections(node.port, min(1000, hard - 200)):  # fewer only where this process may not open as many
        assert seconds_to_store(node, 1) < 5
        assert psutil.Process(node.process.pid).num_threads() < 200


@pytest.mark.parametrize("half", [b"\x01", b"\x01\0\0\0\x20\0" + b"x" * 100], ids=["a byte", "half a request"])
def test_a_dozen_half_sent_requests_do_not_keep_a_sender_waiting_and_are_dropped(node, half):
    with connections(node.port, 12, half) as attackers:
        assert seconds_to_store(node, 1) < 3
        time.sleep(4.5)
        assert all(is_closed(sock) for sock in attackers)


def test_a_dozen_half_sent_data_pdus_do_not_keep_a_sender_waiting_and_give_their_places_back(node):
    attackers = [Sender(node.port) for _ in range(12)]
    for attacker in attackers:
        attacker.request("1.2.3.9.1")
        attacker.connection.sendall(b"\x04\0\0\x01\0\0" + b"x" * 1000)
    assert seconds_to_store(node, 1) < 3
    deadline = time.monotonic() + 10
    while (
        node.rows("select count(*) as n from associations where ended is null")[0]["n"] and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert node.rows("select distinct ended from associations where ended != 'released'") == [{"ended": "aborted"}]
    assert all(path.stat().st_size == 0 for path in node.spool.incoming.iterdir()), "only blanks are left"
    for attacker in attackers:
        attacker.connection.close()


def test_a_dripping_request_is_cut_off_at_the_deadline(node):
    with connections(node.port, 1, b"\x01\0\0\0\x20\0") as (sock,):
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 10:
                sock.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


def test_an_endless_command_set_is_cut_off(node):
    before = memory(node)
    attacker = Sender(node.port)
    piece = b"\x04\0" + (16390).to_bytes(4, "big") + (16386).to_bytes(4, "big") + b"\x01\x01" + bytes(16384)
    with contextlib.suppress(OSError):
        for _ in range(200):
            attacker.connection.sendall(piece)
    with pytest.raises(TryAgain):
        attacker.send(instance(1))
    assert memory(node) - before < MOST_GROWTH
    attacker.connection.close()


def test_noise_of_any_kind_leaves_the_listener_well(node):
    noises = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\x01" * 40, bytes(5000), b"\xff" * 5000,
              b"\x01\0\0\0\0\x04\0\0\0\0", b"\x01\0\0\0\0\x44" + b"\0\x01" + b"A" * 66]  # fmt: skip
    for noise in noises:
        with connections(node.port, 3, noise):
            time.sleep(0.05)
    assert seconds_to_store(node, 1) < 3


def test_an_instance_that_nests_sequences_without_end_is_refused(node):
    bomb = (b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff") * 100_000
    before = memory(node)
    with Sender(node.port) as sender:
        assert sender.send(bomb, sop_uid="1.2.3.9.1")[0] == 0xC000
        assert sender.send(instance(1))[0] == 0
    assert memory(node) - before < MOST_GROWTH


def test_three_hundred_connections_that_come_and_go_leave_nothing_behind(node):
    process = psutil.Process(node.process.pid)

    def held() -> int:
        return process.num_fds() + process.num_threads()

    before = held()
    for _ in range(300):
        with connections(node.port, 1):
            pass
    with connections(node.port, 1, encode(instance(1))):
        pass
    deadline = time.monotonic() + 5
    while held() > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert held() < before + 10  # the database's pool may have opened another connection or two
