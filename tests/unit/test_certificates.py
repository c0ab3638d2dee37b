"""What `overread certs` makes, that it overwrites nothing, and what `overread check` says of certificates."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node import certificates, check
from node import config as configuration
from node.certificates import Authority
from node.cli import app
from node.errors import ConfigError
from tests.certificates import BITS, sign
from tests.peers import need, node_config

PEERS = """
[node]
ae-title = "AI"
{more}
[[peer]]
name = "pacs"
ae-title = "PACS"
host = "192.0.2.7"
port = 2762
"""


@pytest.fixture(autouse=True)
def _small_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_BITS", BITS)
    monkeypatch.setattr(Authority.__init__, "__defaults__", (BITS,))


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_config(folder: Path, more: str = "") -> Path:
    (folder / "overread.toml").write_text(PEERS.format(more=more))
    return folder / "overread.toml"


def test_certs_makes_a_ca_and_what_it_signs_for_the_node_and_each_peer_with_keys_for_the_owner_only(tmp_path):
    told = run("certs", tmp_path / "c", "-c", write_config(tmp_path))
    assert told.exit_code == 0, told.output
    names = ["ca.key", "ca.pem", "node.key", "node.pem", "peer-pacs.key", "peer-pacs.pem"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == names
    for path in (tmp_path / "c").glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    openssl = need("openssl", "openssl")
    for purpose in ("sslserver", "sslclient"):
        checked = subprocess.run(
            [openssl, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", tmp_path / "c" / "ca.pem",
             tmp_path / "c" / "node.pem", tmp_path / "c" / "peer-pacs.pem"], capture_output=True, text=True,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr
    said = subprocess.run(
        [openssl, "x509", "-in", tmp_path / "c" / "peer-pacs.pem", "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "DNS:pacs" in said and "IP Address:192.0.2.7" in said


def test_what_certs_prints_is_configuration_that_works(tmp_path):
    printed = run("certs", tmp_path / "c", "-c", write_config(tmp_path)).output
    lines = [line.split("#")[0].strip() for line in printed.splitlines()]
    keys = [line for line in lines if " = " in line]
    of_peer = {line.split(" = ")[0]: line for line in keys if line.startswith(("tls =", "certificate-names"))}
    of_node = "\n".join(line for line in keys if line not in of_peer.values())
    text = PEERS.format(more=of_node) + 'may = ["echo", "store"]\n' + "\n".join(of_peer.values())
    (tmp_path / "overread.toml").write_text(text)
    config = configuration.load(tmp_path / "overread.toml")
    assert config.node.tls_port == 2762 and config.peer("pacs").certificate_names == ("pacs",)
    lines = [line for line in check.check(config, echo=False) if line.area == "tls"]
    assert [line.ok for line in lines if line.subject in ("certificate", "ca", "key")] == [True, True, True]


def test_certs_again_keeps_what_is_there_and_adds_what_is_new(tmp_path):
    folder = tmp_path / "c"
    assert run("certs", folder, "pacs", "-c", tmp_path / "none.toml").exit_code == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    told = run("certs", folder, "pacs", "ct-1", "-c", tmp_path / "none.toml")
    assert "kept" in told.output and "made" in told.output
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before and set(after) - set(before) == {
        "peer-ct-1.pem",
        "peer-ct-1.key",
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "peer-ct-1.pem", folder / "peer-ct-1.key")


@pytest.mark.parametrize("gone", ["ca.key", "peer-pacs.pem"])
def test_half_a_pair_is_an_error_and_nothing_is_overwritten(tmp_path, gone):
    Authority(tmp_path).issue("peer-pacs", "pacs")
    (tmp_path / gone).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=f"exists without {gone}"):
        Authority(tmp_path).issue("peer-pacs", "pacs")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_name_that_no_file_and_no_peer_can_have_is_refused(tmp_path):
    told = run("certs", tmp_path / "c", "../x", "-c", tmp_path / "none.toml")
    assert isinstance(told.exception, ConfigError) and "small letters" in str(told.exception)
    assert not list(tmp_path.iterdir())


def tls_lines(folder: Path, **node: Any) -> dict[str, tuple[bool | None, str]]:
    config = node_config(folder, **node)
    return {line.subject: (line.ok, line.text) for line in check.check(config, echo=False) if line.area == "tls"}


def test_check_says_that_tls_is_off(tmp_path):
    assert tls_lines(tmp_path)["off"][0] is None


@pytest.mark.parametrize(
    ("days", "ok", "says"), [(365, True, "valid until"), (12.5, None, "12 days: RENEW"), (-1, False, "expired on")]
)
def test_check_says_how_long_a_certificate_holds(tmp_path, days, ok, says):
    made = Authority(tmp_path / "c")
    own = made.issue("own", "overread", days=days)
    lines = tls_lines(tmp_path, certificate=own.certificate, key=own.key, ca=made.made.certificate, tls_port=2762)
    assert (
        lines["certificate"][0] is ok and says in lines["certificate"][1] and "CN=overread" in lines["certificate"][1]
    )
    assert lines["key"] == (True, "belongs to the certificate") and lines["ca"][0] is True


def test_check_names_a_key_that_does_not_fit_one_that_all_may_read_and_a_ca_that_is_none(tmp_path):
    signed = sign(tmp_path / "c")
    files = signed.of("node") | {"key": signed.folder / "sender.key", "tls_port": 2762}
    lines = tls_lines(tmp_path, **files)
    assert lines["key"][0] is False and "does not belong" in lines["key"][1] and lines["OpenSSL"][0] is False
    os.chmod(signed.folder / "node.key", 0o644)
    assert "chmod 600" in tls_lines(tmp_path, **signed.of("node"), tls_port=2762)["key"][1]
    (tmp_path / "ca.pem").write_text("nothing")
    lines = tls_lines(tmp_path, **(signed.of("node") | {"ca": tmp_path / "ca.pem"}), tls_port=2762)
    assert lines["ca"][0] is False and "holds no certificate" in lines["ca"][1]


def test_the_peers_line_says_tls_and_whose_certificate(tmp_path):
    signed = sign(tmp_path / "c")
    config = node_config(
        tmp_path, each={"tls": True, "certificate-names": ["Pacs-1"]}, tls_port=2762, **signed.of("node")
    )
    (line, *_) = [line for line in check.check(config, echo=False) if line.area == "peer"]
    assert ":104 over TLS;" in line.text and "over TLS with a certificate for pacs-1" in line.text


def test_what_a_certificate_says_is_read(tmp_path):
    made = Authority(tmp_path)
    facts = certificates.read(made.issue("own", "overread", days=10).certificate)
    assert facts.subject == "CN=overread" and facts.issuer.startswith("CN=Overread trial CA")
    assert abs((facts.not_after - datetime.datetime.now(datetime.UTC)).total_seconds() - 10 * 86400) < 3600
    assert certificates.key_of(tmp_path / "own.key") == facts.public_key
