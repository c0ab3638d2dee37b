"""DICOM over TLS: who gets in, who does not and what each side is told, and that nobody holds up anybody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from node import peers, tls
from node.config import Config
from node.errors import ConfigError, TryAgain
from node.receive.association import Association
from node.receive.listener import Listener, Secure
from node.sections import Node, Peer
from tests import certificates
from tests.certificates import Signed
from tests.peers import Listening, free_port, listening, node_config
from tests.senders import Sender, encode, instance, write
from tests.unit.test_peers import LIMITS, Pacs

CLIENT_HELLO_HEADER = b"\x16\x03\x01\x02\x00"  # of a record of 512 bytes


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return certificates.sign(tmp_path_factory.mktemp("certificates"))


def secure_node(folder: Path, signed: Signed, **others: Any) -> AbstractContextManager[Listening]:
    settings = {"tls_port": free_port(), "acse_timeout": 3, "idle_pdu_timeout": 3, **signed.of("node"), **others}
    return listening(folder, **settings)


@pytest.fixture
def node(tmp_path: Path, signed: Signed) -> Iterator[Listening]:
    with secure_node(tmp_path, signed) as running:
        yield running


def refusals(node: Listening, count: int = 1) -> list[str]:
    """The reasons on record; the caller may be gone before they are."""
    deadline = time.monotonic() + 5
    while len(node.events("association.refused")) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return [event["reason"] for event in node.events("association.refused")]


def test_an_instance_comes_over_tls_byte_for_byte_and_the_event_names_the_certificate(node, signed):
    made = instance(pixels=300_000)
    with Sender(node.config.node.tls_port, files=signed.of("sender")) as sender:
        assert sender.connection.version() == "TLSv1.3"
        assert sender.send(made)[0] == 0
    (row,) = node.instances()
    assert row["file"].read_bytes().endswith(encode(made))
    assert [event["certificate"] for event in node.events("association.opened")] == ["ct-1"]
    assert node.rows("select ended from associations") == [{"ended": "released"}]


def test_plain_text_still_comes_in_on_its_own_port_and_its_event_names_no_certificate(node):
    with Sender(node.port) as sender:
        assert sender.send(instance())[0] == 0
    assert "certificate" not in node.events("association.opened")[0]


def test_without_plain_only_tls_is_listened_for(tmp_path, signed):
    with secure_node(tmp_path, signed, plain=False, port=free_port()) as node:
        assert node.port == node.config.node.tls_port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", node.config.node.port), timeout=2)
        with Sender(node.port, files=signed.of("sender")) as sender:
            assert sender.send(instance())[0] == 0


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("stranger", "not taken: unable to get local issuer certificate", "does not trust the CA of our certificate"),
        ("expired", "not taken: certificate has expired", "says that our certificate has expired"),
        (None, "shows no certificate", "wants a certificate of ours"),
    ],
)
def test_who_shows_no_good_certificate_is_refused_and_both_sides_read_why(node, signed, name, ours, theirs):
    files = signed.of(name) if name else {"ca": signed.folder / "ca.pem"}
    with pytest.raises(TryAgain, match=theirs):
        Sender(node.config.node.tls_port, files=files)
    (reason,) = refusals(node)
    assert ours in reason
    assert node.events("association.refused")[0]["address"] == "127.0.0.1"


def test_a_sender_that_does_not_trust_us_says_so_before_it_sends_anything(node, signed):
    with pytest.raises(TryAgain, match="over TLS: its certificate is not taken: "):
        Sender(node.config.node.tls_port, files=signed.of("sender", trusts="others"))
    assert "it does not trust the CA of our certificate" in refusals(node)[0]


def test_plain_text_on_the_tls_port_is_answered_in_plain_text_and_on_record(node):
    with pytest.raises(TryAgain, match="aborted the association"):
        Sender(node.config.node.tls_port)
    assert refusals(node) == ["it speaks plain text on the TLS port"]


def test_tls_on_the_plain_port_is_on_record_and_the_sender_reads_that_this_is_no_tls(node, signed):
    with pytest.raises(TryAgain, match="what it says is not TLS"):
        Sender(node.port, files=signed.of("sender"))
    assert refusals(node) == ["it speaks TLS on the port for plain text; TLS has its own (tls-port)"]


def test_tls_before_1_2_and_suites_without_forward_secrecy_are_refused(node, signed):
    for change in ("version", "suite"):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        files = signed.of("sender")
        old.load_cert_chain(files["certificate"], files["key"])
        old.set_ciphers("ALL:@SECLEVEL=0" if change == "version" else "AES256-GCM-SHA384")
        with warnings.catch_warnings(action="ignore"):  # that they are old is what is tested
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1 if change == "version" else ssl.TLSVersion.TLSv1_2
        at = ("127.0.0.1", node.config.node.tls_port)
        with socket.create_connection(at, timeout=5) as sock, pytest.raises(ssl.SSLError, match="(?i)alert"):
            old.wrap_socket(sock)
    assert refusals(node, 2) == [
        "TLS: it speaks nothing newer than TLS 1.1",
        "TLS: it offers no cipher suite of BCP 195",
    ]


def test_an_address_that_no_peer_calls_from_gets_an_alert_instead_of_a_handshake(tmp_path, signed):
    elsewhere = {"addresses": ["192.0.2.0/24"]}
    with secure_node(tmp_path, signed, each=elsewhere) as node:
        with pytest.raises(TryAgain, match="it lets nobody in from our address"):
            Sender(node.config.node.tls_port, files=signed.of("sender"))
        assert refusals(node) == ["TLS: no [[peer]] may call from this address"]


def test_a_peer_with_certificate_names_comes_in_only_over_tls_and_only_with_one_of_them(tmp_path, signed):
    with secure_node(tmp_path, signed, each={"certificate-names": ["CT-1", "ct-2"]}) as node:
        port = node.config.node.tls_port
        with Sender(port, files=signed.of("sender")) as sender:
            assert sender.send(instance())[0] == 0
        with pytest.raises(TryAgain, match=r"rejects the association.*[Cc]alling AE title"):
            Sender(port, files=signed.of("elsewhere"))
        with pytest.raises(TryAgain, match=r"rejects the association.*[Cc]alling AE title"):
            Sender(node.port)
        over_tls, plain = refusals(node, 2)
    assert "(ct-1 ct-2); it came over TLS with pacs.example" in over_tls and "it came in plain text" in plain


def test_a_fingerprint_admits_that_one_certificate_and_no_other_of_the_same_name(tmp_path, signed):
    der = ssl.PEM_cert_to_DER_cert((signed.folder / "sender.pem").read_text())
    digits = hashlib.sha256(der).hexdigest().upper()
    colons = "SHA256:" + ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    for fingerprint, comes_in in ((colons, True), ("sha256:" + "0" * 64, False)):
        told = contextlib.nullcontext() if comes_in else pytest.raises(TryAgain, match="rejects")
        each = {"certificate-names": [fingerprint]}
        with secure_node(tmp_path / str(comes_in), signed, each=each) as node, told:
            Sender(node.config.node.tls_port, files=signed.of("sender")).__exit__(None, None, None)


def test_callers_need_no_certificate_where_none_is_asked_for(tmp_path, signed):
    with secure_node(tmp_path, signed, tls_client_certificates="none") as node:
        with Sender(node.config.node.tls_port, files={"ca": signed.folder / "ca.pem"}) as sender:
            assert sender.send(instance())[0] == 0
        assert node.events("association.opened")[0]["certificate"] == "no certificate"


def drip(port: int, stop: threading.Event) -> None:
    """A handshake that never ends: a byte now and then."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, contextlib.suppress(OSError):
        for byte in CLIENT_HELLO_HEADER + bytes(512):
            sock.sendall(bytes((byte,)))
            if stop.wait(0.2):
                return


def test_a_handshake_that_drips_holds_up_nobody_and_ends_after_its_time(node, signed):
    stop = threading.Event()
    slow = [threading.Thread(target=drip, args=(node.config.node.tls_port, stop)) for _ in range(20)]
    began = time.monotonic()
    for thread in slow:
        thread.start()
    try:
        for number in range(5):
            with Sender(node.config.node.tls_port, files=signed.of("sender")) as sender:
                assert sender.send(instance(number))[0] == 0
        assert time.monotonic() - began < 3, "before the first slow handshake is over"
        for thread in slow:
            thread.join(max(0.0, began + 10 - time.monotonic()))
        assert not any(thread.is_alive() for thread in slow), "the drips outlived acse-timeout"
        assert "the handshake was not complete in time" in refusals(node)[0]
    finally:
        stop.set()


def test_a_stop_ends_handshakes_under_way(tmp_path, signed):
    stop = threading.Event()
    with secure_node(tmp_path, signed, acse_timeout=60) as node:
        slow = threading.Thread(target=drip, args=(node.config.node.tls_port, stop))
        slow.start()
        time.sleep(0.6)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    stop.set()
    slow.join(5)


def test_garbage_inside_of_tls_is_refused_like_garbage_in_plain_text(node, signed):
    context = tls.client_context(Node(**signed.of("sender")))
    sock = socket.create_connection(("127.0.0.1", node.config.node.tls_port), timeout=5)
    with context.wrap_socket(sock, server_hostname="127.0.0.1") as secured:
        secured.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert secured.recv(100)[:1] == b"\x07", "an A-ABORT"
    assert "unknown PDU type" in refusals(node)[0]


def test_a_pdu_of_four_gigabytes_inside_of_tls_is_cut_off(node, signed):
    attacker = Sender(node.config.node.tls_port, files=signed.of("sender"))
    attacker.connection.sendall(b"\x04\0\xff\xff\xff\xff" + bytes(4096))
    attacker.connection.settimeout(5)
    assert attacker.connection.recv(100)[:1] == b"\x07", "an A-ABORT"
    attacker.connection.close()


def test_handshakes_that_fail_in_every_way_leave_neither_threads_nor_descriptors_behind(node, signed):
    def held() -> int:
        return len(os.listdir("/proc/self/fd")) + threading.active_count()

    port = node.config.node.tls_port
    with pytest.raises(TryAgain):
        Sender(port, files=signed.of("stranger"))
    before = held()
    for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16", CLIENT_HELLO_HEADER + b"\1", b"\x16\3\1\2\0" + bytes(512)):
        for reset in (False, True):
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                    sock.sendall(noise)
                    if reset:  # the close is a reset
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for files in (signed.of("stranger"), signed.of("expired"), None):
        with pytest.raises(TryAgain):
            Sender(port, files=files)
    deadline = time.monotonic() + 10
    while held() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert held() <= before + 2  # the database's pool may have opened another connection
    with Sender(port, files=signed.of("sender")) as sender:
        assert sender.send(instance())[0] == 0


def test_an_association_that_is_hung_up_on_never_goes_on_in_plain_text(signed):
    left, right = socket.socketpair()
    context = tls.server_context(Node(**signed.of("node")), ask_for_certificates=False)
    secured = context.wrap_socket(left, server_side=True, do_handshake_on_connect=False)
    client = threading.Thread(target=lambda: secured.do_handshake())
    client.start()
    with tls.client_context(Node(**signed.of("sender"))).wrap_socket(right, server_hostname="localhost") as other:
        client.join(5)
        association = Association(secured, "127.0.0.1", Pacs(), LIMITS)
        association.hang_up()
        assert secured.version() is not None, "the socket is still one of TLS"
        with pytest.raises(OSError):
            secured.sendall(b"a patient's name")
        assert other.recv(100) == b""
    secured.close()


# Our side as the caller.


@contextlib.contextmanager
def secure_pacs(
    signed: Signed, name: str = "node", certificates: bool = True, **keys: Any
) -> Iterator[tuple[Pacs, Peer]]:
    pacs = Pacs()
    context = tls.server_context(Node(**signed.of(name)), certificates)
    listener = Listener("127.0.0.1", None, LIMITS, pacs, lambda address: True, secure=Secure(0, context))
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        yield (
            pacs,
            Peer(
                **{
                    "name": "pacs",
                    "ae-title": "PACS",
                    "host": "127.0.0.1",
                    "port": listener.tls_port,
                    "tls": True,
                    **keys,
                }
            ),
        )
    finally:
        stop.set()
        thread.join(15)


def caller(folder: Path, signed: Signed, **changes: Any) -> Config:
    return node_config(folder, **({"acse_timeout": 3, "dimse_timeout": 5} | signed.of("node") | changes))


def test_results_go_to_a_peer_over_tls_byte_for_byte_over_several_associations(tmp_path, signed):
    files = [
        write(tmp_path / "in", instance(number, pixels=size)) for number, size in enumerate((0, 2, 131_072, 3_000_001))
    ]
    files += [write(tmp_path / "in", instance(number)) for number in range(10, 110)]
    with secure_pacs(signed, associations=3) as (pacs, peer):
        assert peers.echo(caller(tmp_path, signed), peer).ok
        answers = list(peers.store(caller(tmp_path, signed), peer, files))
        assert all(answer.status == 0 for answer in answers) and len(answers) == len(files)
        assert pacs.associations == 4
    sent = {uid: content for uid, _, content in pacs.got}
    assert sent["1.2.3.9.3"] == encode(instance(3, pixels=3_000_001)) and len(sent) == len(files)


@pytest.mark.parametrize(
    ("name", "keys", "reason"),
    [
        ("elsewhere", {}, "IP address mismatch"),
        ("elsewhere", {"certificate-names": ["pacs-1"]}, "its certificate is for pacs.example, not for pacs-1"),
        ("stranger", {}, "unable to get local issuer certificate"),
        ("expired", {"certificate-names": ["ct-1"]}, "certificate has expired"),
    ],
)
def test_a_peer_with_a_wrong_certificate_gets_nothing_and_one_line_says_why(tmp_path, signed, name, keys, reason):
    with secure_pacs(signed, name, certificates=False, **keys) as (pacs, peer):
        told = peers.echo(caller(tmp_path, signed), peer)
        with pytest.raises(TryAgain, match="cannot be reached over TLS"):
            list(peers.store(caller(tmp_path, signed), peer, [write(tmp_path / "in", instance())]))
    assert not told.ok and reason in told.reason and "\n" not in told.reason
    assert pacs.associations == 0 and pacs.got == []


def test_certificate_names_admit_a_peer_whose_certificate_is_for_another_host(tmp_path, signed):
    with secure_pacs(signed, "elsewhere", **{"certificate-names": ["pacs.example"]}) as (_, peer):
        assert peers.echo(caller(tmp_path, signed), peer).ok


def test_a_peer_that_wants_a_certificate_of_ours_and_gets_none_is_said_to_want_it(tmp_path, signed):
    with secure_pacs(signed) as (_, peer):
        told = peers.echo(caller(tmp_path, signed, certificate=None, key=None), peer)
    assert "it wants a certificate of ours" in told.reason


def test_a_peer_that_speaks_no_tls_and_one_that_speaks_nothing_else_are_told_apart(tmp_path, signed):
    with listening(tmp_path / "plain") as node:
        peer = Peer(**{"name": "pacs", "ae-title": "OVERREAD", "host": "127.0.0.1", "port": node.port, "tls": True})
        assert "what it says is not TLS" in peers.echo(caller(tmp_path, signed), peer).reason
    with socket.create_server(("127.0.0.1", 0)) as server:  # as OpenSSL answers what is not TLS

        def alert() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(bytes.fromhex("15030300020246"))

        thread = threading.Thread(target=alert)
        thread.start()
        plain = Peer(**{"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": server.getsockname()[1]})
        assert "takes no plain text" in peers.echo(caller(tmp_path, signed), plain).reason
        thread.join(5)


def test_a_peer_that_never_answers_the_handshake_costs_acse_timeout(tmp_path, signed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        peer = Peer(**{"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": port, "tls": True})
        began = time.monotonic()
        told = peers.echo(caller(tmp_path, signed, acse_timeout=1), peer)
    assert "the handshake was not complete in time" in told.reason and time.monotonic() - began < 3


# What is wrong with the files shows at the start.


def files_like(signed: Signed, folder: Path, **changes: Any) -> Node:
    (folder / "text.pem").write_text("no certificate")
    return Node(**{**signed.of("node"), **changes})


def test_files_that_cannot_serve_are_named_with_the_key_of_the_configuration(tmp_path, signed):
    text = tmp_path / "text.pem"
    cases = [
        ({"key": signed.folder / "sender.key"}, "node.key", "does not belong to"),
        ({"key": tmp_path / "none.key"}, "node.key", "cannot be read (No such file"),
        ({"certificate": text}, "node.certificate", "no certificate and key"),
        ({"ca": text}, "node.ca", "holds no PEM certificate"),
        ({"ca": None}, "node.ca", "overread certs"),
    ]
    for changes, where, reason in cases:
        with pytest.raises(ConfigError) as caught:
            tls.server_context(files_like(signed, tmp_path, **changes), True)
        assert where in str(caught.value) and reason in str(caught.value)


def test_an_encrypted_key_is_refused_instead_of_asked_about(tmp_path, signed):
    from cryptography.hazmat.primitives import serialization

    plain = serialization.load_pem_private_key((signed.folder / "node.key").read_bytes(), None)
    locked = plain.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    with pytest.raises(ConfigError, match="is encrypted"):
        tls.server_context(files_like(signed, tmp_path, key=tmp_path / "locked.key"), True)
