"""DICOM over TLS with the TLS of others: DCMTK and Orthanc as senders and as destinations."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import part10, peers
from node.sections import Peer
from tests import certificates
from tests.certificates import Signed
from tests.conftest import missing
from tests.nodes import wait_until
from tests.peers import (
    ENVIRONMENT,
    Listening,
    _end,
    _wait_for_port,
    dcmtk,
    free_port,
    listening,
    need,
    node_config,
    orthanc,
)
from tests.senders import instance, write

PROFILES = {"non-downgrading": "+py", "extended": "+pz"}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return certificates.sign(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def node(tmp_path: Path, signed: Signed) -> Iterator[Listening]:
    each = {"certificate-names": ["ct-1"]}
    with listening(tmp_path / "node", plain=False, tls_port=free_port(), each=each, **signed.of("node")) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _with_tls() -> None:
    told = subprocess.run([need("storescu", "dcmtk"), "--version"], capture_output=True, text=True).stdout
    if "OpenSSL" not in told:
        missing("dcmtk", "is built without OpenSSL")


def options(signed: Signed, name: str, *more: str) -> list[str]:
    """DCMTK's options for TLS with the files of `name`."""
    files = signed.of(name)
    return ["+tls", str(files["key"]), str(files["certificate"]), "+cf", str(files["ca"]), *more]


def dataset(path: Path) -> bytes:
    return path.read_bytes()[part10.read_head(path).offset :]


@pytest.mark.parametrize("profile", PROFILES)
def test_dcmtk_sends_over_tls_and_every_byte_is_here(node, signed, tmp_path, profile):
    files = [write(tmp_path / "in", instance(number, pixels=size)) for number, size in enumerate((0, 2000, 3_000_000))]
    secure = options(signed, "sender", PROFILES[profile])
    assert dcmtk("echoscu", *secure, "-aec", "OVERREAD", "127.0.0.1", node.port).returncode == 0
    sent = dcmtk("storescu", "-v", *secure, "-aec", "OVERREAD", "+sd", "127.0.0.1", node.port, tmp_path / "in")
    assert sent.returncode == 0, sent.stderr
    assert {dataset(row["file"]) for row in node.instances()} == {dataset(path) for path in files}
    assert node.rows("select distinct ended from associations") == [{"ended": "released"}]
    assert {event["certificate"] for event in node.events("association.opened")} == {"ct-1"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (lambda signed: options(signed, "stranger"), "not taken: unable to get local issuer certificate"),
        (lambda signed: options(signed, "expired"), "not taken: certificate has expired"),
        (lambda signed: options(signed, "elsewhere"), "wants a certificate of certificate-names (ct-1)"),
        (lambda signed: ["+tla", "-ic"], "no certificate"),
        (lambda signed: [], "it speaks plain text on the TLS port"),
    ],
    ids=["other CA", "expired", "other name", "none", "plain text"],
)
def test_what_dcmtk_must_not_send_is_refused_with_one_line_and_nothing_of_it_stays(
    node, signed, tmp_path, arguments, reason
):
    write(tmp_path / "in", instance())
    given = arguments(signed)
    sent = dcmtk("storescu", "-v", *given, "-aec", "OVERREAD", "+sd", "127.0.0.1", node.port, tmp_path / "in")
    assert sent.returncode != 0
    (event,) = wait_until(lambda: node.events("association.refused"), 5, "the refusal on record")
    assert reason in event["reason"] and event["address"] == "127.0.0.1"
    assert node.instances() == [] and node.events("association.opened") == []
    with_right = options(signed, "sender")
    assert dcmtk("echoscu", *with_right, "-aec", "OVERREAD", "127.0.0.1", node.port).returncode == 0


@contextlib.contextmanager
def secure_storescp(folder: Path, signed: Signed, name: str) -> Iterator[Peer]:
    """DCMTK's storescp over TLS; it wants a certificate of our CA."""
    program, port = need("storescp", "dcmtk"), free_port()
    folder.mkdir()
    command = [program, *options(signed, name), "-od", str(folder), "-aet", "STORESCP", "+B", "+xa", str(port)]
    with open(folder.parent / "storescp.log", "wb") as log:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        _wait_for_port(port, process)
        yield Peer(**{"name": "pacs", "ae-title": "STORESCP", "host": "127.0.0.1", "port": port, "tls": True})
    finally:
        _end(process)


def test_results_reach_dcmtk_over_tls_byte_for_byte(tmp_path, signed):
    files = [
        write(tmp_path / "in", instance(number, pixels=size)) for number, size in enumerate((0, 131_072, 3_000_000))
    ]
    with secure_storescp(tmp_path / "out", signed, "node") as peer:
        config = node_config(tmp_path / "node", **signed.of("node"))
        assert peers.echo(config, peer).ok, (tmp_path / "storescp.log").read_text()
        assert all(answer.status == 0 for answer in peers.store(config, peer, files))
    assert {dataset(path) for path in (tmp_path / "out").iterdir()} == {dataset(path) for path in files}


def test_dcmtk_with_the_certificate_of_another_gets_nothing_and_we_say_why(tmp_path, signed):
    with secure_storescp(tmp_path / "out", signed, "elsewhere") as peer:
        told = peers.echo(node_config(tmp_path / "node", **signed.of("node")), peer)
        assert not told.ok and "IP address mismatch" in told.reason
        named = peer.model_copy(update={"certificate_names": ("pacs.example",)})
        assert peers.echo(node_config(tmp_path / "node", **signed.of("node")), named).ok


def test_dcmtk_that_gets_no_certificate_or_a_wrong_one_of_ours_is_told_apart_from_one_that_is_away(tmp_path, signed):
    with secure_storescp(tmp_path / "out", signed, "node") as peer:
        for files in ({"ca": signed.folder / "ca.pem"}, signed.of("stranger")):
            told = peers.echo(node_config(tmp_path / "node", **files), peer)
            assert not told.ok and "\n" not in told.reason
            # DCMTK closes right after its alert; where the close overtakes it, only that is left to tell.
            assert any(part in told.reason for part in ("certificate", "closed the connection", "broke")), told.reason
        assert peers.echo(node_config(tmp_path / "node", **signed.of("node")), peer).ok


def test_orthanc_sends_and_takes_over_tls(tmp_path, signed):
    files = [write(tmp_path / "in", instance(number, pixels=60_000)) for number in range(12)]
    ours = signed.of("sender")
    settings: dict[str, Any] = {
        "DicomTlsEnabled": True, "DicomTlsRemoteCertificateRequired": True, "DicomTlsCertificate": str(signed.of("node")["certificate"]),
        "DicomTlsPrivateKey": str(signed.of("node")["key"]), "DicomTlsTrustedCertificates": str(ours["ca"]),
    }  # fmt: skip
    each = {"certificate-names": ["overread"]}
    with (
        listening(tmp_path / "node", plain=False, tls_port=free_port(), each=each, **signed.of("node")) as node,
        orthanc(tmp_path / "pacs", **settings) as pacs,
    ):
        if [int(part) for part in pacs.ask("GET", "/system")["Version"].split(".")[:2]] < [1, 9]:
            missing("orthanc", "knows no TLS before 1.9")
        modality = {"AET": "OVERREAD", "Host": "127.0.0.1", "Port": node.port, "UseDicomTls": True}
        pacs.ask("PUT", "/modalities/node", json.dumps(modality))
        peer = Peer(
            **{"name": "pacs", "ae-title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port, "tls": True}
        )
        assert peers.echo(node_config(tmp_path / "us", **ours), peer).ok
        assert all(answer.stored for answer in peers.store(node_config(tmp_path / "us", **ours), peer, files))
        assert pacs.ask("GET", "/statistics")["CountInstances"] == 12
        (study,) = pacs.ask("GET", "/studies")
        pacs.ask("POST", "/modalities/node/echo", "{}")
        order = {"Resources": [study], "Synchronous": True, "Timeout": 60}
        told = pacs.ask("POST", "/modalities/node/store", json.dumps(order))
        assert (told["InstancesCount"], told["FailedInstancesCount"]) == (12, 0)
        assert len(node.instances()) == 12
        plain = peer.model_copy(update={"tls": False})
        assert not peers.echo(node_config(tmp_path / "us", **ours), plain).ok


def test_a_whole_node_gets_a_study_over_tls_and_says_where_it_listens(tmp_path, signed):
    """`overread serve` as people start it: the ready line, the study's row, and the files beside the configuration."""
    port = free_port()
    files = {key: os.path.relpath(path, tmp_path) for key, path in signed.of("node").items()}
    (tmp_path / "overread.toml").write_text(
        f'[node]\nhost = "127.0.0.1"\nplain = false\ntls-port = {port}\nspool = "spool"\ndatabase = "sqlite:///overread.db"\n'
        f'min-free-disk = 1\ncertificate = "{files["certificate"]}"\nkey = "{files["key"]}"\nca = "{files["ca"]}"\n'
        '[[peer]]\nname = "ct"\nae-title = "STORESCU"\nhost = "127.0.0.1"\nport = 104\nmay = ["store"]\n'
        'certificate-names = ["ct-1"]\n'
    )
    write(tmp_path / "in", instance())
    with open(tmp_path / "node.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "node.cli", "serve", "-c", str(tmp_path / "overread.toml")],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"ready: OVERREAD on 127.0.0.1:{port} over TLS\n", (tmp_path / "node.log").read_text()
        sent = dcmtk(
            "storescu", *options(signed, "sender"), "-aec", "OVERREAD", "+sd", "127.0.0.1", port, tmp_path / "in"
        )
        assert sent.returncode == 0, sent.stderr
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[0]
    assert (process.returncode, said) == (0, "")
