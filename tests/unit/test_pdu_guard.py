"""Reading PDUs from peers that mean harm."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.pdu_guard import LARGEST_READ, MALFORMED, P_DATA, BrokenPdu, PduReader, PeerGone, PeerSilent
from tests.peers import need

LONGEST = 131072


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def reader(sock: socket.socket, pdu_seconds: float = 5.0) -> PduReader:
    return PduReader(sock, LONGEST, pdu_seconds)


def pdu(kind: int, body: bytes) -> bytes:
    return bytes((kind, 0)) + len(body).to_bytes(4, "big") + body


def in_background(action: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=action, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_a_pdu_comes_back_whole_with_its_type(pair):
    ours, theirs = pair
    body = bytes(range(256)) * 500
    thread = in_background(theirs.sendall, pdu(P_DATA, body))
    kind, got = reader(ours).read(5)
    thread.join(5)
    assert (kind, bytes(got)) == (P_DATA, body)


def test_two_pdus_in_one_packet_are_two_pdus(pair):
    ours, theirs = pair
    theirs.sendall(pdu(P_DATA, b"one") + pdu(5, b"four"))
    guard = reader(ours)
    assert bytes(guard.read(5)[1]) == b"one"
    assert guard.read(5)[0] == 5


def test_a_declared_length_of_four_gigabytes_is_refused_before_any_memory_is_taken(pair):
    ours, theirs = pair
    theirs.sendall(b"\x04\x00\xff\xff\xff\xff" + b"x" * 1000)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenPdu, match="4294967295 bytes is declared"):
            reader(ours).read(5)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_length_within_bounds_takes_no_memory_before_its_bytes_come(pair):
    ours, theirs = pair
    theirs.sendall(b"\x04\x00" + LONGEST.to_bytes(4, "big") + b"x" * 10)
    guard = reader(ours, pdu_seconds=0.2)
    with pytest.raises(BrokenPdu):
        guard.read(5)
    assert len(guard._buffer) <= LARGEST_READ


def test_an_association_request_may_be_longer_than_a_data_pdu_but_not_much(pair):
    ours, theirs = pair
    thread = in_background(theirs.sendall, pdu(1, b"r" * 200_000))
    assert len(reader(ours).read(5)[1]) == 200_000
    thread.join(5)
    theirs.sendall(b"\x01\x00" + (300_000).to_bytes(4, "big"))
    with pytest.raises(BrokenPdu):
        reader(ours).read(5)


def test_a_pdu_that_drips_is_cut_off_at_its_deadline_however_steadily_it_drips(pair):
    ours, theirs = pair

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in pdu(P_DATA, b"x" * 1000):
                theirs.sendall(bytes((byte,)))
                time.sleep(0.02)

    in_background(drip)
    began = time.monotonic()
    with pytest.raises(BrokenPdu, match="not complete after"):
        reader(ours, pdu_seconds=0.5).read(5)
    assert 0.4 < time.monotonic() - began < 2


def test_a_header_that_stops_in_the_middle_is_cut_off_too(pair):
    ours, theirs = pair
    theirs.sendall(b"\x04\x00\x00")
    with pytest.raises(BrokenPdu, match="not complete after"):
        reader(ours, pdu_seconds=0.2).read(5)


def test_silence_is_told_apart_from_a_broken_pdu(pair):
    with pytest.raises(PeerSilent):
        reader(pair[0]).read(0.1)


@pytest.mark.parametrize("sent", [b"", b"\x04", pdu(4, b"abc")[:-1]])
def test_a_connection_that_ends_is_noticed_at_any_byte(pair, sent):
    ours, theirs = pair
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(PeerGone):
        reader(ours).read(5)


@pytest.mark.parametrize("kind", [0, 8, 0x47, 255])
def test_an_unknown_pdu_type_is_refused_by_its_first_byte(pair, kind):
    ours, theirs = pair
    theirs.sendall(bytes((kind, 0, 0, 0, 0, 1)))
    with pytest.raises(BrokenPdu, match="unknown PDU type"):
        reader(ours).read(5)


class Counted(socket.socket):
    """Notes how much each read asks for."""

    asked: list[int]

    def recv_into(self, buffer, *arguments):  # type: ignore[override]
        self.asked.append(len(buffer))
        return super().recv_into(buffer, *arguments)


def test_no_read_asks_for_more_than_64_kib(pair):
    ours, theirs = pair
    counted = Counted(fileno=ours.detach())
    counted.asked = []
    in_background(theirs.sendall, pdu(P_DATA, b"x" * LONGEST))
    with counted:
        reader(counted).read(5)
    assert max(counted.asked) <= LARGEST_READ


def test_a_descriptor_over_1023_is_read_like_any_other(pair):
    ours, theirs = pair
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2100:
        pytest.skip("this system allows fewer than 2,100 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2100), hard))
    with socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 2000)) as high:
        theirs.sendall(pdu(P_DATA, b"high"))
        assert bytes(reader(high).read(5)[1]) == b"high"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    from subprocess import run

    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    run([need("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out",
         str(cert), "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)  # fmt: skip
    return key, cert


def test_bytes_that_a_tls_socket_already_decrypted_are_not_waited_for(pair, certificate):
    ours, theirs = pair
    key, cert = certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=str(cert))
    client.check_hostname = False

    def send() -> None:
        with client.wrap_socket(theirs) as sock:
            # One TLS record with two PDUs: after the first, the second lies decrypted and the descriptor is silent.
            sock.sendall(pdu(P_DATA, b"first") + pdu(P_DATA, b"second"))
            time.sleep(1)

    thread = in_background(send)
    with server.wrap_socket(ours, server_side=True) as sock:
        guard = reader(sock)
        assert bytes(guard.read(5)[1]) == b"first"
        assert sock.pending() > 0
        assert bytes(guard.read(0.5)[1]) == b"second"
    thread.join(5)


def test_a_request_whose_items_do_not_add_up_made_the_library_assert():
    from node.receive.negotiation import read_request
    from tests.fuzz import pdus

    whole = pdus.request([(1, b"1.2.840.10008.1.1", (b"1.2.840.10008.1.2",))], user=pdus.item(0x50, bytes(8), says=4000))
    with pytest.raises(MALFORMED) as caught:
        read_request(memoryview(whole)[6:])
    assert isinstance(caught.value, AssertionError), "where it is none of its own any more, MALFORMED need not have it"
